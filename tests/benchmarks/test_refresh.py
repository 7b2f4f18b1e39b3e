"""The crystals of the benchmark of a refresh, and what it says of measured and extrapolated seconds."""

import itertools
from pathlib import Path

import polars as pl
import pytest

from benchmarks.refresh import crystals
from benchmarks.refresh.__main__ import figures
from features import crystal
from pipelines.params import IngestParams
from pipelines.sources import matminer_archive


def test_a_hundredth_of_the_crystals_changes_and_stays_alike(tmp_path: Path) -> None:
    few = itertools.islice(matminer_archive.read(IngestParams(), Path()), 20)
    pl.DataFrame({"cif": [crystals.as_cif(entry.structure) for entry in few]}).write_parquet(tmp_path / "few.parquet")
    table = crystals.table(tmp_path / "few.parquet", 1500)
    assert table["cif"].n_unique() == 1500  # from the second round on they are strained
    after = crystals.changed(table)
    moved = table.filter(table["cif"] != after["cif"])["material_id"].to_list()
    assert moved == [name for name in table["material_id"] if crystals.changes(name)]
    assert 5 <= len(moved) <= 30
    one = table.with_columns(after=after["cif"]).filter(pl.col("material_id") == moved[0]).row(0, named=True)
    before, now = (crystal.from_cif(one[column]) for column in ("cif", "after"))
    assert now.volume / before.volume == pytest.approx(crystals.STRAIN**3, rel=1e-5)
    assert now.composition == before.composition


def test_the_describer_reads_the_cell_and_the_atoms_of_the_source() -> None:
    from pymatgen.io.vasp.inputs import Poscar

    entry = next(iter(matminer_archive.read(IngestParams(), Path())))
    wanted = Poscar.from_str(entry.structure).structure
    read = crystal.from_cif(crystals.as_canonical(crystals.as_cif(entry.structure)))
    assert read.matches(wanted)
    assert read.lattice.parameters == pytest.approx(wanted.lattice.parameters, abs=1e-6)


def test_what_is_not_measured_is_said() -> None:
    results = {"nothing": [4.0, 4.5, 9.0], "refresh": {"seconds": 30.0, "stages": {"describe": 20.0}}, "build": 100.0,
               "full": False, "descriptions": [0.1, 0.2, 0.3], "equal": True}
    by_key = {figure.key: figure for figure in figures(results, 20_000, 3)}
    assert by_key["refresh.20000.nothing"].value == 4.5
    assert "extrapolated" in by_key["refresh.20000.rebuild"].note
    assert by_key["refresh.20000.share"].value == pytest.approx(100 * 30 / by_key["refresh.20000.rebuild"].value)
    assert by_key["refresh.20000.share"].most == 2
    full = {figure.key: figure for figure in figures({**results, "full": True}, 20_000, 3)}
    assert (full["refresh.20000.rebuild"].value, full["refresh.20000.rebuild"].note) == (100, "measured")
    assert not full["refresh.20000.share"].is_met
