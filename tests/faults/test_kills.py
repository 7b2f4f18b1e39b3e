"""A run that is killed at any moment, before each of Python's own operations on the disk: a process that really dies.

`python -m tests.faults kills` has the same at every write of every library.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from features.errors import UserError
from features.paths import Paths
from features.store import tables
from features.store.rowstore import RowStore
from pipelines.engine.materialize import materialize
from pipelines.executors import Serial
from tests.faults.disk import Control, roomy
from tests.faults.forks import KILLED, OK, in_a_fork
from tests.faults.scenes import AFTER, BEFORE
from tests.pipelines.toy import ToyParams, toy_view, units


def run(root: Path, table: Any) -> None:
    materialize(toy_view(), ToyParams(copies=2), root, table, Serial())


def table_of(root: Path) -> dict[str, bytes] | None:
    """The table as a reader sees it; None if there is none."""
    folder = Paths(root).table("toys")
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None


def rejects_of(root: Path) -> bytes | None:
    path = Paths(root).rejects("toys")
    return path.read_bytes() if path.exists() else None


def litter(root: Path) -> list[str]:
    """Whatever is neither a part, a segment, the rejects nor the lock."""
    return [str(path.relative_to(root)) for path in root.rglob("*")
            if path.suffix == ".tmp" or (path.name.startswith(".") and path.name != ".rowstore")]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many appends, and merges of merged ones, within a run of few rows."""
    monkeypatch.setattr("pipelines.engine.materialize.SEGMENT_ROWS", 4)
    monkeypatch.setattr("features.store.rowstore.MERGED", 3)
    monkeypatch.setattr("features.store.placement.MIN_PARTS", 2)


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder in which flushing to the disk costs nothing, if there is one."""
    with tempfile.TemporaryDirectory(dir=roomy()) as folder:
        yield Path(folder)


@pytest.mark.parametrize("first", [True, False], ids=["first run", "later run"])
def test_killed_before_any_operation(in_memory: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    merges: list[int] = []
    merge = RowStore._merge
    monkeypatch.setattr(RowStore, "_merge", lambda store, segments: merges.append(1) or merge(store, segments))
    clean, base = in_memory / "clean", in_memory / "base"
    base.mkdir()
    if not first:
        run(base, BEFORE)
    run(clean, AFTER)
    assert merges
    old, new = (table_of(base), rejects_of(base)), (table_of(clean), rejects_of(clean))
    states = []
    for kill_at in range(1, 10_000):
        root = Path(shutil.copytree(base, in_memory / "root"))
        control = Control(in_memory / "control", root)
        control.at(kill_at)
        ended = in_a_fork(lambda root=root: run(root, AFTER), control).code
        assert ended in (OK, KILLED)
        states.append((_which(table_of(root), old[0], new[0]), _which(rejects_of(root), old[1], new[1])))
        for segment in Paths(root).rowstore("toys").rglob("r*-*.parquet"):
            pq.read_table(segment)  # whole
        run(root, AFTER)
        assert (table_of(root), rejects_of(root)) == new, kill_at
        assert litter(root) == [], kill_at
        shutil.rmtree(root)
        if ended == OK:
            break
    assert kill_at > 60
    # what a reader sees, in this order; for an instant, between two renames, there is no table
    instant = [] if first else [("absent", "old")]
    assert list(dict.fromkeys(states)) == [("old", "old"), *instant, ("new", "old"), ("new", "new")]
    assert states.count(("absent", "old")) == len(instant)


def _which(content: Any, old: Any, new: Any) -> str:
    """Which version is there. Fails if it is neither."""
    names = {"old": old, "new": new} | ({} if old is None else {"absent": None})
    (name,) = [name for name, version in names.items() if version == content]
    return name


def test_a_run_that_fails_brings_back_the_table_of_a_killed_one(tmp_path: Path) -> None:
    run(tmp_path, BEFORE)
    before = table_of(tmp_path)
    folder = Paths(tmp_path).table("toys")
    folder.rename(folder.with_name(".toys.old"))
    with pytest.raises(UserError, match="nothing is published"):
        run(tmp_path, units([("b", 2, "bad")]))
    assert table_of(tmp_path) == before


def test_rejects_that_cannot_be_put_in_place_leave_the_old_table(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, BEFORE)
    before = table_of(tmp_path), rejects_of(tmp_path)
    replace = os.replace

    def fails(source: Path, target: Path) -> None:
        if Path(target) == Paths(tmp_path).rejects("toys"):
            raise OSError(errno.EIO, "Input/output error", str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(OSError, match="Input/output"):
            run(tmp_path, AFTER)
    assert (table_of(tmp_path), rejects_of(tmp_path)) == before
    assert litter(tmp_path) == []


def test_rows_and_rejects_on_the_disk_are_what_was_wanted(tmp_path: Path) -> None:
    for table in (BEFORE, AFTER):
        run(tmp_path, table)
        rows = set(tables.read(tmp_path, "toys")["material_id"].to_pylist())
        rejects = pq.read_table(Paths(tmp_path).rejects("toys"))["material_id"].to_pylist()
        assert sorted([*rows, *rejects]) == sorted(table["material_id"].to_pylist())
        assert rejects
