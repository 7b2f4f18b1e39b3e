"""Two versions of the tables, compared."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.catalog.diff import compare
from features.paths import Paths
from pipelines.engine.materialize import materialize
from pipelines.executors import Serial
from tests.pipelines.toy import ToyParams, toy_view, units

NUMBERS: dict[str, int] = {f"m{k}": k for k in range(100)}


def made(root: Path, rows: dict[str, Any]) -> Path:
    materialize(toy_view(), ToyParams(), root, units(rows), Serial())
    return root


def test_rows_are_added_changed_and_removed(tmp_path: Path) -> None:
    old = made(tmp_path / "old", NUMBERS)
    new = made(tmp_path / "new", {**{name: k for name, k in NUMBERS.items() if k != 3}, "m7": 1000, "n": 0})
    (change,) = compare(old, new).tables
    assert (change.table, change.rows) == ("toys", (100, 100))
    assert (change.added, change.changed, change.removed) == (["n"], ["m7"], ["m3"])
    assert 1 <= change.parts[0] <= 3 < change.parts[1]
    assert compare(old, made(tmp_path / "same", NUMBERS)).tables == []


def test_more_part_files_change_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = made(tmp_path / "old", NUMBERS)
    monkeypatch.setattr("features.store.placement.ROWS_PER_PART", 8)
    (change,) = compare(old, made(tmp_path / "new", NUMBERS)).tables
    assert (change.parts, change.added, change.changed, change.removed) == ((16, 16), [], [], [])


def test_drift_is_the_distance_of_distributions(tmp_path: Path) -> None:
    old = made(tmp_path / "old", NUMBERS)
    new = made(tmp_path / "new", {name: k + 25 for name, k in NUMBERS.items()})
    (change,) = compare(old, new).tables
    moved = change.drift[0]
    assert moved.column == "value"
    assert moved.distance == pytest.approx(0.25)
    assert moved.mean[1] == pytest.approx(moved.mean[0] + 50)  # value is twice the number
    assert moved.missing == (0.0, 0.0)


def test_rejects_that_were_none_before(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    materialize(toy_view(), ToyParams(), old, units([("a", 1, "good"), ("b", 2, "bad")]), Serial())
    materialize(toy_view(), ToyParams(), new, units([("a", 1, "good"), ("b", 2, "bad"), ("c", 3, "bad")]), Serial())
    changes = compare(old, new)
    assert changes.tables == []
    assert [row["material_id"] for row in changes.newly_rejected] == ["c"]


def test_a_table_that_only_one_has(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (change,) = compare(tmp_path / "empty", made(tmp_path / "new", NUMBERS)).tables
    assert (change.rows, len(change.added), change.drift) == ((0, 100), 100, [])


def test_rows_that_are_not_those_of_crystals(tmp_path: Path) -> None:
    """They are called by their words."""
    for folder, value, tests in (("old", 0.5, ("deletion", "insertion")), ("new", 0.7, ("deletion", "synthetic fact"))):
        rows = pa.table({"method": ["replacement"] * 2, "test": tests, "value": [value, 0.1]})
        path = Paths(tmp_path / folder).table("faithfulness") / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(rows, path)
    (change,) = compare(tmp_path / "old", tmp_path / "new").tables
    assert (change.added, change.changed, change.removed) == (
        ["replacement synthetic fact"], ["replacement deletion"], ["replacement insertion"])
