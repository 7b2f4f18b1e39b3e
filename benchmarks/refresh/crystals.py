"""The crystals of the benchmark of a refresh: a table as a user brings it, and the same after some have changed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipelines.params import IngestParams
from pipelines.sources import matminer_archive

STRAIN = 1.002
"""What all lengths of a changed crystal are multiplied with: another crystal, of the same size and symmetry."""
LENGTH = re.compile(r"(_cell_length_[abc] +)([\d.]+)")


def table(source: Path | None, count: int) -> pl.DataFrame:
    """`material_id` and `cif` of so many crystals: a random sample of a Parquet file with these columns, or of the
    embedded elastic set, those that are too few again and again with slight strains."""
    if source is None:
        cifs = [as_cif(entry.structure) for entry in matminer_archive.read(IngestParams(), Path())]
    else:
        cifs = pl.read_parquet(source, columns=["cif"])["cif"].to_list()
    order = pl.Series(range(len(cifs))).shuffle(seed=0).to_list()
    made = [strained(as_canonical(cifs[order[number % len(cifs)]]), 1 + 0.001 * (number // len(cifs)))
            for number in range(count)]
    return pl.DataFrame({"material_id": [f"mp-{number}" for number in range(count)], "cif": made})


def units(frame: pl.DataFrame) -> pa.Table:
    """The units of `descriptions` that these crystals are."""
    return frame.with_columns(isotopes=pl.lit([], pl.List(pl.String))).to_arrow()


def changed(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with the changing crystals strained."""
    return pl.DataFrame({"material_id": frame["material_id"], "cif": [
        strained(cif, STRAIN) if changes(material_id) else cif for material_id, cif in frame.iter_rows()]})


def changes(material_id: str) -> bool:
    """Whether a crystal is one of the hundredth, chosen by a hash, that changes."""
    return int(hashlib.sha256(material_id.encode()).hexdigest(), 16) % 100 == 0


def strained(cif: str, factor: float) -> str:
    """A CIF with all lengths of the cell multiplied."""
    return LENGTH.sub(lambda found: f"{found[1]}{float(found[2]) * factor:.6f}", cif)


def as_canonical(cif: str) -> str:
    """A CIF in P1 of pymatgen's in the lines of `features.crystal.to_cif`, which the describer reads; its cell and its
    atoms as they are."""
    lines = cif.splitlines()
    cell = [line for line in lines if line.startswith(("_cell_length", "_cell_angle"))]
    start = lines.index(" _atom_site_occupancy") + 1
    columns = [line.strip() for line in lines[:start] if line.startswith(" _atom_site_")]
    places = [columns.index(f"_atom_site_fract_{axis}") for axis in "xyz"]
    sites = [line.split() for line in lines[start:] if line.strip()]
    atoms = [f"  {site[0]}  {site[1]}  {'  '.join(site[place] for place in places)}  1" for site in sites]
    head = ["data_crystal", "_symmetry_space_group_name_H-M   'P 1'", *cell, "_symmetry_Int_Tables_number   1", "loop_",
            " _symmetry_equiv_pos_site_id", " _symmetry_equiv_pos_as_xyz", "  1  'x, y, z'", "loop_"]
    names = ["type_symbol", "label", "fract_x", "fract_y", "fract_z", "occupancy"]
    return "\n".join([*head, *(f" _atom_site_{name}" for name in names), *atoms]) + "\n"


def as_cif(poscar: str) -> str:
    """A POSCAR's text as CIF."""
    from pymatgen.io.cif import CifWriter
    from pymatgen.io.vasp.inputs import Poscar

    return str(CifWriter(Poscar.from_str(poscar).structure))
