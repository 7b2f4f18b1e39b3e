"""What is stored of a document of the Materials Project, and the entry that it becomes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from features.views.materials import PROPERTIES
from pipelines.sources import moment

GNOME_BATCH = "gnome_r2scan_statics"
LICENSES = {"BY-C": "CC-BY-4.0", "BY-NC": "CC-BY-NC-4.0"}
MP_DOI = "10.1063/1.4812323"
DOIS = {
    "elasticity": ("10.1038/sdata.2015.9", ("k_voigt", "k_reuss", "k_vrh", "g_voigt", "g_reuss", "g_vrh",
                                            "homogeneous_poisson", "universal_anisotropy")),
    "dielectric": ("10.1038/sdata.2016.134", ("n", "e_electronic", "e_total")),
    "piezoelectric": ("10.1038/sdata.2015.53", ("e_ij_max",)),
}
GNOME_DOI = "10.1038/s41586-023-06735-9"

NESTED = {f"{modulus[0]}_{average}": (f"{name}_modulus", average)
          for modulus, name in (("k", "bulk"), ("g", "shear")) for average in ("voigt", "reuss", "vrh")}
"""Properties that the API keeps one level down: `k_vrh` is `bulk_modulus.vrh`."""

BASE_FIELDS = ("material_id", "last_updated", "builder_meta", "origins", "nsites", "volume", "density")
"""What is fetched of every document besides its properties."""

RECORD_SCHEMA = pa.schema([
    pa.field("material_id", pa.string()),
    pa.field("last_updated", pa.string()),
    pa.field("built_for", pa.string()),
    pa.field("license", pa.string()),
    pa.field("batch", pa.string()),
    pa.field("mark", pa.string()),
    pa.field("properties", pa.string()),
    pa.field("note", pa.string()),
])
"""A document without its structure: what a listing keeps."""

Record = dict[str, Any]


def wanted(fields: Sequence[str]) -> tuple[str, ...]:
    """Names of the properties to keep: those asked for, or all that `materials` has a column for."""
    return tuple(sorted(set(fields or PROPERTIES)))


def api_fields(properties: Sequence[str]) -> list[str]:
    """Fields of the API that hold these properties, with what every record needs."""
    return [*BASE_FIELDS, *sorted({NESTED.get(name, (name,))[0] for name in properties} - set(BASE_FIELDS))]


def record(document: Mapping[str, Any], properties: Sequence[str]) -> Record:
    """What is stored of a document. Raises `ValueError` if it is none."""
    material_id = document.get("material_id")
    if not isinstance(material_id, str):
        raise ValueError("a document without a material_id")
    meta = document.get("builder_meta") or {}
    values = {name: value for name in properties if (value := _number(document, name)) is not None}
    reasons = document.get("deprecation_reasons") or []
    return {
        "material_id": material_id,
        "last_updated": moment(document.get("last_updated")),
        "built_for": meta.get("database_version"),
        "license": meta.get("license"),
        "batch": meta.get("batch_id"),
        "mark": mark(document),
        "properties": json.dumps(values, sort_keys=True),
        "note": ", ".join(str(reason) for reason in reasons),
    }


def mark(document: Mapping[str, Any]) -> str:
    """A digest that changes whenever the structure may have changed.

    A structure is that of one calculation, and a calculation never changes. Where the document does not name the
    calculation, every new build of the document counts as a change.
    """
    meta = document.get("builder_meta") or {}
    origin: list[Any] = [[str(o.get("task_id")), moment(o.get("last_updated"))] for o in document.get("origins") or []
                         if o.get("name") == "structure"]
    calculation = origin or [meta.get("database_version"), moment(meta.get("build_date"))]
    content: list[Any] = [document.get("material_id"), moment(document.get("last_updated")), calculation,
                          document.get("nsites"), document.get("volume"), document.get("density")]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def structure_text(document: Mapping[str, Any]) -> str:
    """The structure as JSON for pymatgen: lattice, sites and species, nothing that can be computed from them.

    What does not look like a structure is stored as it came; the `materials` view says what is wrong with it.
    """
    content: Any = document.get("structure")
    with contextlib.suppress(TypeError, KeyError):
        content = {"lattice": {"matrix": content["lattice"]["matrix"]},
                   "sites": [{"species": site["species"], "abc": site["abc"]} for site in content["sites"]]}
    return "" if content is None else json.dumps(content, sort_keys=True)


def is_commercial(record: Record) -> bool:
    """Whether the entry may be used commercially, as everything but the GNoME batch may."""
    return record["batch"] != GNOME_BATCH and record["license"] != "BY-NC"


def license_of(record: Record) -> str:
    """Licence of an entry under its SPDX name."""
    return LICENSES["BY-C" if is_commercial(record) else "BY-NC"]


def citation(record: Record, values: Mapping[str, float]) -> str:
    """DOIs of the works to cite: for the properties that the entry has, its batch, and the Materials Project."""
    dois = [doi for doi, names in DOIS.values() if any(name in values for name in names)]
    if record["batch"] == GNOME_BATCH:
        dois.append(GNOME_DOI)
    return " ".join([*dois, MP_DOI])


def _number(document: Mapping[str, Any], name: str) -> float | None:
    """A property as a finite number (true is 1), None if the document has none."""
    outer, *inner = NESTED.get(name, (name,))
    value = document.get(outer)
    for part in inner:
        value = value.get(part) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
