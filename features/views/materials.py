"""Feature view `materials`: one canonical crystal per row, with its properties and where it came from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from features import crystal, formats
from features.bounds import BOUNDS, Bounds
from features.errors import RowError
from features.params import LONGEST_S, Section
from features.reading import MB
from features.rules import (
    CRYSTAL_SYSTEMS,
    SYMBOLS,
    Rule,
    each_of,
    finite,
    matching,
    no_gaps,
    not_blank,
    one_of,
    present,
    relation,
    within,
)
from features.view import FeatureView, column, rowwise

PROPERTIES: Mapping[str, tuple[str, str | None]] = {
    "formation_energy_per_atom": ("formation energy at 0 K from the elements", "eV/atom"),
    "energy_above_hull": ("energy above the convex hull of stable phases", "eV/atom"),
    "band_gap": ("band gap", "eV"),
    "k_voigt": ("bulk modulus, Voigt average", "GPa"),
    "k_reuss": ("bulk modulus, Reuss average", "GPa"),
    "k_vrh": ("bulk modulus, Voigt-Reuss-Hill average", "GPa"),
    "g_voigt": ("shear modulus, Voigt average", "GPa"),
    "g_reuss": ("shear modulus, Reuss average", "GPa"),
    "g_vrh": ("shear modulus, Voigt-Reuss-Hill average", "GPa"),
    "homogeneous_poisson": ("Poisson ratio of the isotropic average", None),
    "universal_anisotropy": ("universal elastic anisotropy index", None),
    "n": ("refractive index", None),
    "e_electronic": ("electronic part of the dielectric constant, polycrystalline average", None),
    "e_total": ("dielectric constant, polycrystalline average", None),
    "e_ij_max": ("largest longitudinal piezoelectric modulus", "C/m²"),
    "efermi": ("Fermi energy", "eV"),
    "total_magnetization": ("magnetisation of the cell", "µB"),
}
"""Numeric properties under the names of the Materials Project API. Anything else goes to `other_properties`."""

SOURCE_SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier in the source"),
    column("structure", pa.string(), "text of the structure as the source has it"),
    column("format", pa.string(), "cif, poscar, extxyz or json (a pymatgen dict)"),
    column("properties", pa.string(), "numeric properties, a JSON object"),
    column("source", pa.string(), "name of the source"),
    column("source_version", pa.string(), "version or digest of the source"),
    column("license", pa.string(), "licence of the entry"),
    column("citation", pa.string(), "DOIs of the works to cite, separated by blanks"),
    column("last_updated", pa.string(), "when the source last changed the entry, ISO 8601 in UTC"),
    column("error", pa.string(), "why the source itself rejects the entry, as `kind: message`"),
])
"""What every source in `pipelines/sources` yields: an entry not yet looked into, so that a bad one is one reject."""

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier, as in the source"),
    column("cif", pa.string(), "canonical crystal (features/crystal.py), a CIF in P1"),
    column("structure_hash", pa.string(), "sha256 of the canonical crystal: equal for equal crystals"),
    column("formula", pa.string(), "atoms of the primitive cell, by rising electronegativity"),
    column("reduced_formula", pa.string(), "reduced formula"),
    column("chemsys", pa.string(), "chemical system, elements in alphabetical order"),
    column("elements", pa.list_(pa.string()), "elements in alphabetical order"),
    column("isotopes", pa.list_(pa.string()), "isotopes that the source names and the canonical crystal takes as the "
           "element: D, T"),
    column("flags", pa.list_(pa.string()), "what the file says that may matter beside the crystal, in short, see "
           "docs/cif.md"),
    column("flag_messages", pa.list_(pa.string()), "the same in words, one for each of `flags`"),
    column("nsites", pa.int32(), "number of atoms in the primitive cell"),
    column("volume", pa.float64(), "volume of the primitive cell", "Å³"),
    column("density", pa.float64(), "mass density", "g/cm³"),
    column("space_group", pa.string(), "Hermann-Mauguin symbol, symprec 0.01 Å"),
    column("space_group_number", pa.int32(), "number of the space group in the International Tables"),
    column("crystal_system", pa.string(), "crystal system"),
    column("source", pa.string(), "name of the source"),
    column("source_version", pa.string(), "version or digest of the source"),
    column("license", pa.string(), "licence of the entry"),
    column("citation", pa.string(), "DOIs of the works to cite"),
    column("last_updated", pa.timestamp("us"), "when the source last changed the entry, in UTC; missing if it does not "
           "say"),
    *(column(name, pa.float64(), text, unit) for name, (text, unit) in PROPERTIES.items()),
    column("other_properties", pa.map_(pa.string(), pa.float64()), "numeric properties the source has beyond these"),
])

RANGES: Mapping[str, tuple[float | None, float | None]] = {
    "formation_energy_per_atom": (-20, 20),
    "energy_above_hull": (0, 20),
    "band_gap": (0, 30),
    **{f"{modulus}_{average}": (0, 2000) for modulus in "kg" for average in ("voigt", "reuss", "vrh")},
    "homogeneous_poisson": (-1, 0.5),
    "universal_anisotropy": (0, None),
    "n": (1, 100),
    "e_electronic": (1, 10_000),
    "e_total": (1, 100_000),
    "e_ij_max": (0, 1000),
    "efermi": (-50, 50),
    "total_magnetization": (-1000, 1000),
}
"""Where a property has physical sense, with room. A source's own odd values stay, and are remarked on."""

DIGIT = 5e-7
"""g/cm³; to what the density is rounded."""


def _mass(pl: Any, more: float) -> Any:
    """Mass of an atom on average, in u."""
    return pl.col("volume") * (pl.col("density") + more) / 1.66053907 / pl.col("nsites")


CONTRACT: tuple[Rule, ...] = (
    *present("material_id", "cif", "structure_hash", "formula", "reduced_formula", "chemsys", "elements", "isotopes",
             "flags", "flag_messages", "nsites", "volume", "density", "space_group", "space_group_number",
             "crystal_system", "source", "source_version", "license", "citation", "other_properties"),
    *no_gaps("elements", "isotopes", "flags", "flag_messages"),
    matching("material_id", r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}", "an id of letters, digits and . _ + -"),
    not_blank("cif"),
    matching("structure_hash", "[0-9a-f]{64}", "a sha256 in hexadecimal digits"),
    not_blank("reduced_formula"),
    relation("chemsys is made of the elements, in alphabetical order", ("chemsys", "elements"), lambda pl: (
        (pl.col("elements").list.sort().list.join("-") == pl.col("chemsys")) & (pl.col("elements").list.len() > 0))),
    each_of("elements", SYMBOLS, "the symbol of an element"),
    relation("formula names the elements", ("formula", "elements"), lambda pl: (
        pl.col("formula").str.extract_all("[A-Z][a-z]?").list.unique().list.sort().list.join("-")
        == pl.col("elements").list.sort().list.join("-"))),
    each_of("isotopes", ("D", "T")),
    relation("each flag has its message", ("flags", "flag_messages"),
             lambda pl: pl.col("flags").list.len() == pl.col("flag_messages").list.len()),
    within("nsites", 1),
    within("volume", 0, unit="Å³", open_low=True),
    *finite("volume", "density"),
    within("density", 0, unit="g/cm³"),  # a molecule in a huge box has none that the digits show
    relation("volume (Å³) and density (g/cm³) give each atom a mass of 1 to 300 u", ("volume", "density", "nsites"),
             lambda pl: ((_mass(pl, DIGIT) >= 1) & (_mass(pl, -DIGIT) <= 300))),
    relation("density is at most 25 g/cm³, as no known crystal at normal pressure has more", ("density",),
             lambda pl: pl.col("density") <= 25, column="density", hard=False),
    within("space_group_number", 1, 230),
    one_of("crystal_system", tuple(CRYSTAL_SYSTEMS)),
    relation("space_group_number belongs to the crystal_system", ("space_group_number", "crystal_system"), lambda pl: (
        pl.col("space_group_number").is_between(*(
            pl.col("crystal_system").replace_strict({name: ends[end] for name, ends in CRYSTAL_SYSTEMS.items()},
                                                    default=None, return_dtype=pl.Int32) for end in (0, 1))))),
    *finite(*PROPERTIES, "other_properties"),
    *(within(name, low, high, PROPERTIES[name][1] or "", said=True) for name, (low, high) in RANGES.items()),
)

LONGEST_UNIT = 24
"""Characters of a unit: `10^-6 mm^2/(V s)` has 16."""
ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


class MaterialsParams(Section):
    """Of section `ingest` this decides a row; the rest of it chooses which rows there are."""

    contradictions: Literal["reject", "keep"] = "reject"
    """What becomes of a CIF that contradicts itself, whose sites do not make up its formula, for example: a reject, or
    a row with a flag."""

    units: dict[str, str] = Field(default_factory=dict, json_schema_extra={"runtime": True})
    """Units of properties of the user's own, such as `hardness: GPa`. They decide no row, and are written into the
    footers of the table, from where they reach whatever names the property."""

    timeout_s: float = Field(default=120.0, gt=0, le=LONGEST_S, json_schema_extra={"runtime": True})
    """Longest time for one crystal."""

    memory_mb: int = Field(default=4000, ge=500, le=1_000_000, json_schema_extra={"runtime": True})
    """Most memory of a worker process; a crystal that needs more is a reject."""

    max_sites: int = Field(default=BOUNDS.sites, ge=1, le=20_000, json_schema_extra={"runtime": True})
    """Most atoms of the cell in a file; a larger one is a reject. Memory and time grow with the square of them."""

    max_operations: int = Field(default=BOUNDS.operations, ge=1, le=20_000, json_schema_extra={"runtime": True})
    """Most symmetry operations that a file may list; F m -3 m has 192."""

    @field_validator("units")
    @classmethod
    def _units(cls, units: dict[str, str]) -> dict[str, str]:
        for name, unit in units.items():
            if name in PROPERTIES:
                raise ValueError(f"{name} is a property of the Materials Project and in "
                                 f"{PROPERTIES[name][1] or 'no unit'}; another unit belongs under another name")
            if not unit.strip() or len(unit) > LONGEST_UNIT or not unit.isprintable():
                raise ValueError(f"the unit of {name} is a short text, such as GPa, of {LONGEST_UNIT} characters at "
                                 "most")
        return {name: unit.strip() for name, unit in sorted(units.items())}


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: MaterialsParams) -> dict[str, Any]:
    """Parse an entry of a source, bring its crystal into the canonical presentation and describe it in numbers."""
    if unit["error"]:
        kind, _, message = unit["error"].partition(": ")
        raise RowError(kind, message)
    if not ID_PATTERN.fullmatch(unit["material_id"]):
        raise RowError("bad_id", "an id, such as the name of a file, holds letters, digits and . _ + - only, and at "
                                 "most 128 of them: rename it")
    properties = {name: value for name, value in json.loads(unit["properties"]).items() if value is not None}
    reading = formats.parse(unit["structure"], unit["format"], keep_contradictions=params.contradictions == "keep",
                            bounds=Bounds(params.max_sites, params.max_operations))
    parsed = reading.structure
    return material_row(crystal.canonical_structure(parsed)) | {
        "flags": list(reading.flags),
        "flag_messages": list(reading.flags.values()),
        "isotopes": sorted({specie.name for specie in parsed.composition.elements} & {"D", "T"}),
        "material_id": unit["material_id"],
        **{name: unit[name] for name in ("source", "source_version", "license", "citation")},
        "last_updated": _utc(unit["last_updated"]),
        **{name: properties.pop(name, None) for name in PROPERTIES},
        "other_properties": sorted(properties.items()),
    }


def _utc(moment: str | None) -> datetime | None:
    return datetime.fromisoformat(moment).astimezone(UTC).replace(tzinfo=None) if moment else None


def material_row(structure: Any) -> dict[str, Any]:
    """The columns of `materials` that follow from a canonical structure alone."""
    cif = crystal.to_cif(structure)
    structure = crystal.from_cif(cif)
    space_group, space_group_number, crystal_system = crystal.space_group(structure)
    composition = structure.composition
    elements = sorted(element.symbol for element in composition)
    return {
        "cif": cif,
        "structure_hash": crystal.structure_hash(structure),
        "formula": re.sub(r"(?<=[A-Za-z])1(?= |$)", "", composition.formula).replace(" ", ""),
        "reduced_formula": composition.reduced_formula,
        "chemsys": "-".join(elements),
        "elements": elements,
        "nsites": len(structure),
        "volume": round(structure.volume, 6),
        "density": round(float(structure.density), 6),
        "space_group": space_group,
        "space_group_number": space_group_number,
        "crystal_system": crystal_system,
    }


def unit_of(name: str, footer: Mapping[str, Any]) -> str:
    """Unit of a property; empty if it has none or nobody has said it. `footer`: of a part of the table."""
    if name in PROPERTIES:
        return PROPERTIES[name][1] or ""
    return str(footer.get("units", {}).get(name, ""))


VIEW = FeatureView(
    name="materials",
    stage="ingest",
    key=("material_id",),
    inputs={},
    schema=SCHEMA,
    version=4,
    contract=CONTRACT,
    params=MaterialsParams,
    compute=compute,
    libraries=("pymatgen-core", "spglib", "gemmi"),
    baselined=("numpy",),
    notes=lambda params: {"units": params.units} if params.units else {},
    batch_size=32,
    timeout_s=lambda params: params.timeout_s,
    memory_bytes=lambda params: params.memory_mb * MB,
    preload=("pymatgen.core", "pymatgen.symmetry.analyzer"),
)
