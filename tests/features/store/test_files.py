"""The one way to write a file whole."""

import os
from pathlib import Path
from typing import Any

import pytest

from features.paths import Paths
from features.store import tables
from features.store.files import beside, remove_drafts, write_text
from pipelines.engine.materialize import materialize
from pipelines.executors import Serial
from tests.pipelines.toy import ToyParams, toy_view, units


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is put on the disk, moved and removed, in this order, with the name of the file or folder."""
    log: list[tuple[str, str]] = []
    fsync, replace, rename, unlink = os.fsync, os.replace, os.rename, os.unlink

    def note(name: str, path: Any) -> None:
        log.append((name, Path(path).name))

    monkeypatch.setattr(os, "fsync", lambda handle: (note("fsync", os.readlink(f"/proc/self/fd/{handle}")),
                                                     fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (note("move", b), replace(a, b))[1])
    monkeypatch.setattr(os, "rename", lambda a, b: (note("move", b), rename(a, b))[1])
    monkeypatch.setattr(os, "unlink", lambda path, **more: (note("remove", path), unlink(path, **more))[1])
    return log


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, operations: list[tuple[str, str]]) -> None:
    path = tmp_path / "folder" / "a.txt"
    write_text(path, "old\r\n")
    write_text(path, "new\r\n")
    assert path.read_bytes() == b"new\r\n"
    kinds = [(kind, name if not name.endswith(".tmp") else "draft") for kind, name in operations]
    once = [("fsync", "draft"), ("move", "a.txt"), ("fsync", "folder"), ("remove", "draft")]
    assert kinds == once * 2


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def half(place: Path) -> None:
        with beside(place) as draft:
            draft.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half(path)
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"a.txt": "old"}


def test_two_writers_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with beside(path) as one, beside(path) as other:
        one.write_text("one")
        other.write_text("the other")
    assert path.read_text() == "one"  # the last to end


def test_drafts_of_killed_writers_are_removed_by_name(tmp_path: Path) -> None:
    for name in (".a.txt.1234.tmp", ".b.txt.1234.tmp", "a.txt"):
        (tmp_path / name).touch()
    remove_drafts(tmp_path, "a.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.txt.1234.tmp", "a.txt"]
    remove_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_merged_segments_are_on_the_disk_before_the_others_go(tmp_path: Path, operations: list[tuple[str, str]],
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.materialize.SEGMENT_ROWS", 4)
    monkeypatch.setattr("features.store.rowstore.MERGED", 4)
    materialize(toy_view(), ToyParams(), tmp_path, units({f"m{k}": k for k in range(16)}), Serial())
    (merged,) = [path.name for path in Paths(tmp_path).rowstore("toys").rglob("rows-*.parquet")]
    first = next(index for index, (kind, name) in enumerate(operations)
                 if kind == "remove" and name.startswith("rows-"))
    before = operations[:first]
    assert any(kind == "fsync" and name.startswith(f".{merged.rsplit('-', 1)[0]}.") for kind, name in before)
    assert before.index(("move", merged)) < max(index for index, one in enumerate(before) if one == (
        "fsync", next(Paths(tmp_path).rowstore("toys").rglob("rows-*.parquet")).parent.name))


def test_a_table_is_on_the_disk_before_the_old_one_goes(tmp_path: Path, operations: list[tuple[str, str]]) -> None:
    materialize(toy_view(), ToyParams(), tmp_path, units({"a": 1}), Serial())
    parts = [path.name for path in tables.files(tmp_path, "toys")]
    operations.clear()
    materialize(toy_view(), ToyParams(), tmp_path, units({"a": 2}), Serial())
    moved = operations.index(("move", "toys"))
    assert {("fsync", part) for part in parts} | {("fsync", ".toys.new")} <= set(operations[:moved])
    removed = next(index for index, (kind, name) in enumerate(operations) if kind == "remove" and name in parts)
    assert ("fsync", "features") in operations[moved:removed]
    assert operations.index(("move", "toys.parquet")) < removed
