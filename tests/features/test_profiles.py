"""Profiles say of each column what a look at all of its values says, and cost nothing where nothing changed."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from features import profiles
from features.__main__ import app
from features.errors import UserError
from features.paths import Paths
from features.store import tables
from features.view import column
from pipelines.engine import stages
from tests.conftest import make_project

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("hardness", pa.float64(), "Mohs hardness", "Mohs"),
    column("vector", pa.list_(pa.float16()), "a vector"),
    column("flags", pa.list_(pa.string()), "words"),
    column("layered", pa.bool_(), "whether it has layers"),
    column("other_properties", pa.map_(pa.string(), pa.float64()), "more"),
])
ROWS = [
    {"material_id": "mp-48", "hardness": 1.5, "vector": [1, 2, 3], "flags": ["soft", "layered"], "layered": True,
     "other_properties": [("price", 3.0)]},
    {"material_id": "mp-66", "hardness": 10.0, "vector": [1, math.inf], "flags": [], "layered": False,
     "other_properties": [("price", 9e4), ("age", 1e9)]},
    {"material_id": "mp-149", "hardness": math.nan, "vector": None, "flags": ["soft"], "layered": False,
     "other_properties": []},
    {"material_id": "mp-2534", "hardness": None, "vector": [0, math.nan, 1], "flags": ["soft"], "layered": None,
     "other_properties": None},
]


def store(root: Path, name: str, rows: list[dict[str, Any]]) -> None:
    parts = [pa.Table.from_pylist(rows[:2], SCHEMA), pa.Table.from_pylist(rows[2:], SCHEMA)]
    footers = [{"view": name, "version": 1, "parts": 2, "units": {"age": "a"}}] * 2
    tables.publish(Paths(root).table(name), SCHEMA, ("material_id",), iter(parts), iter(footers))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store(tmp_path, "gems", ROWS)
    store(tmp_path, "stones", ROWS[:3])
    return tmp_path


def test_numbers_texts_lists_and_maps(root: Path) -> None:
    found = {row["column_name"]: row for row in profiles.profile(root, "gems")}
    hardness, ids, vector = found["hardness"], found["material_id"], found["vector"]
    assert (hardness["unit"], hardness["rows"], hardness["missing"], hardness["not_finite"]) == ("Mohs", 4, 1, 1)
    assert (hardness["min"], hardness["max"], hardness["mean"], hardness["std"]) == (1.5, 10.0, 5.75, 4.25)
    assert (hardness["distinct"], hardness["quantiles"][3], sum(hardness["counts"])) == (2, 5.75, 2)
    assert (ids["measure"], ids["distinct"], ids["min"], ids["max"]) == ("characters", 4, 5, 7)
    assert (vector["measure"], vector["missing"], vector["not_finite"]) == ("items", 1, 2)
    assert (vector["min"], vector["max"]) == (2, 3)
    assert vector["distinct"] is None
    assert vector["words"] is None
    assert found["flags"]["words"] == [{"value": "soft", "count": 3}, {"value": "layered", "count": 1}]
    assert found["layered"]["words"] == [{"value": "false", "count": 2}, {"value": "true", "count": 1}]
    assert (found["other_properties"]["missing"], found["other_properties"]["max"]) == (1, 2)
    assert [(found[f"other_properties.{name}"]["unit"], found[f"other_properties.{name}"]["missing"],
             found[f"other_properties.{name}"]["max"]) for name in ("age", "price")] == [("a", 3, 1e9), (None, 2, 9e4)]


@pytest.mark.parametrize("numbers", [
    np.arange(1, 8), np.arange(1000), np.geomspace(1e-3, 1e5, 97), np.linspace(-3, 3, 51), np.array([4.0]),
    np.array([1.0, np.nextafter(1.0, 2)]), np.array([-1e300, 0, 1e300])])
def test_a_histogram_has_each_number_in_its_bin(numbers: Any) -> None:
    edges, counts = profiles.histogram(np.sort(numbers.astype(float)))
    assert edges is not None
    assert counts is not None
    assert edges == sorted(set(edges))
    assert len(edges) == len(counts) + 1 <= profiles.BINS + 1
    inside = [((low <= numbers) & (numbers < high)).sum() for low, high in itertools.pairwise(edges[:-1])]
    assert counts == [*inside, (numbers >= edges[-2]).sum() if len(counts) > 1 else len(numbers)]
    assert edges[0] <= numbers.min()
    assert numbers.max() <= edges[-1]


def test_bytes_depend_on_the_tables_alone_and_only_changed_ones_are_read(root: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    threads = pa.cpu_count()
    read: list[str] = []
    profile = profiles.profile
    monkeypatch.setattr(profiles, "profile", lambda root, name: read.append(name) or profile(root, name))

    def written() -> bytes:
        profiles.write(root)
        (part,) = Paths(root).table("profiles").glob("part-*")
        return part.read_bytes()

    try:
        pa.set_cpu_count(1)
        first = written()
        assert read == ["gems", "stones"]
        assert written() == first
        assert read == ["gems", "stones"]
        store(root, "stones", ROWS)
        second = written()
        assert read == ["gems", "stones", "stones"]
        pa.set_cpu_count(4)
        profiles.remove(Paths(root).table("profiles"))
        assert written() == second != first
    finally:
        pa.set_cpu_count(threads)


def test_the_command_shows_stored_profiles_or_counts_them_now(tmp_path: Path) -> None:
    root = make_project(tmp_path, only=["mp-30", "mp-127", "mp-149"])
    stages.run("ingest", root, "serial")
    before = CliRunner().invoke(app, ["profiles", "materials", "--root", str(root)]).stdout
    (line,) = [line.split() for line in before.splitlines() if line.startswith("nsites")]
    assert line == ["nsites", "0", "of", "3", "2", "value", "1", "1", "2", "1.3333333"]
    assert "Cu (1), Na (1), Si (1)" in before
    profiles.write(root)
    assert CliRunner().invoke(app, ["profiles", "materials", "--root", str(root)]).stdout == before
    wrong = CliRunner().invoke(app, ["profiles", "nowhere", "--root", str(root)])
    assert isinstance(wrong.exception, UserError)
    assert str(wrong.exception) == "no table 'nowhere'; there are: materials, rejects"
