"""Tables and versions that killed processes or a damaged disk have left."""

import os
import shutil
from pathlib import Path

import pytest

from features import catalog
from features.catalog import query
from features.errors import UserError
from features.paths import Paths
from features.store import documents, tables, versions
from pipelines.engine import runs
from pipelines.repair import repair
from tests.features.store.test_versions import make, numbers
from tests.pipelines.repair.test_dvc import dvc, made, root  # noqa: F401 (fixtures)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A project without DVC, whose two tables are published."""
    (tmp_path / "params.yaml").write_text("{}\n")
    make(tmp_path, 1, "one", "two")
    versions.publish(tmp_path)
    return tmp_path


def flip(path: Path) -> None:
    """Change one bit in the middle, as a disk does: the file's times stay."""
    content, status = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 4
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_a_killed_process_has_left_is_put_back_or_removed(plain: Path) -> None:
    features = Paths(plain).features
    Paths(plain).table("one").rename(features / ".one.old")
    (features / ".two.new").mkdir()
    (Paths(plain).results).mkdir()
    (Paths(plain).results / ".page.html.123.tmp").write_text("half")
    assert repair(plain) == [f"{features / 'one'} is back in its place"]
    assert sorted(path.name for path in features.iterdir() if path.name.startswith(".")) == []
    assert list(Paths(plain).results.iterdir()) == []
    assert repair(plain) == []


def test_what_is_left_of_the_record_of_runs_is_mended(plain: Path) -> None:
    """A kill between a run's lock and its first line; a folder in the record's place."""
    locks = Paths(plain).run_locks
    locks.mkdir()
    (locks / "killed.lock").touch()
    Paths(plain).runs.mkdir()
    assert repair(plain, quick=True) == [f"{Paths(plain).runs} was a folder and is put aside"]
    assert list(locks.iterdir()) == []
    with runs.recorded(plain, "split"), pytest.raises(UserError, match="'split' is at work here"):
        repair(plain)
    assert runs.latest(plain)["split"].outcome == runs.DONE


def test_a_damaged_name_of_the_version_is_mended(plain: Path) -> None:
    Paths(plain).published.write_text("")
    with pytest.raises(UserError, match="repair"):
        query(plain, "select * from one")
    assert "the last published one" in repair(plain, quick=True)[0]
    assert numbers(plain) == {1}


def test_what_nobody_else_has_stays_and_is_made_again(plain: Path) -> None:
    """The work tree and the version share the file: both are damaged. Nothing is removed, and no mixture is read."""
    part = next(Paths(plain).table("one").glob("part-*"))
    flip(part)
    make(plain, 2, "two")
    lines = repair(plain)
    assert lines[0] == f"{part} was damaged, and no sound copy is here; the stage that made it makes it again"
    assert "data/features/one of the published version" in lines[1]
    assert "readers of it are told so until" in lines[1]
    with pytest.raises(UserError, match=r"part-00000\.parquet is damaged"):
        query(plain, "select * from one")
    make(plain, 1, "one", "two")
    versions.publish(plain)
    assert numbers(plain) == {1}
    assert repair(plain) == []


def test_a_damaged_version_is_mended_from_a_sound_work_tree(plain: Path) -> None:
    part = next(Paths(versions.current(plain)).table("one").glob("part-*"))
    shutil.copy(part, part.with_suffix(".copy"))
    part.with_suffix(".copy").replace(part)  # no longer the work tree's file
    flip(part)
    assert "is taken from the work tree" in repair(plain)[0]
    assert numbers(plain) == {1}


def test_a_damaged_work_tree_is_mended_from_the_version(plain: Path) -> None:
    part = next(Paths(plain).table("one").glob("part-*"))
    shutil.copy(part, part.with_suffix(".copy"))
    part.with_suffix(".copy").replace(part)
    flip(part)
    assert f"{part} was damaged and taken from version" in repair(plain)[0]
    assert repair(plain) == []


def test_a_copy_of_another_version_is_not_taken(plain: Path) -> None:
    make(plain, 2, "one")
    part = next(Paths(plain).table("one").glob("part-*"))
    flip(part)
    assert "no sound copy is here" in repair(plain)[0]
    assert tables.damages(plain, "one")


def test_a_file_of_somebody_elses_is_left_alone(plain: Path) -> None:
    note = Paths(plain).table("one") / "notes.txt"
    note.write_text("mine")
    assert repair(plain) == []
    assert note.read_text() == "mine"
    stranger = Paths(plain).table("one") / "part-00001.parquet"
    shutil.copy(Paths(plain).table("one") / "part-00000.parquet", stranger)
    assert repair(plain) == [f"{stranger} is no part of the table and is put aside"]
    assert versions.current(plain) != plain
    assert tables.read(plain, "one").num_rows == 2


@pytest.mark.parametrize("name", ["metrics.json", "methods.json"])
def test_damaged_results_are_said(plain: Path, name: str) -> None:
    documents.write(Paths(plain).results / name, {"mae": 0.0307})
    versions.publish(plain)
    flip(Paths(plain).results / name)
    assert f"{name} was damaged" in repair(plain)[0]


def test_damaged_segments_are_dropped(root: Path) -> None:  # noqa: F811
    segment = next(Paths(root).rowstore("materials").glob("*/rows-*"))
    flip(segment)
    assert "damaged segments: 1, which are dropped; the next run of 'ingest' computes" in repair(root)[0]
    assert not segment.exists()


def test_one_damaged_file_of_rejects_costs_no_other(root: Path) -> None:  # noqa: F811
    shutil.rmtree(Paths(root).versions)
    rejects = Paths(root).rejects("materials")
    before = rejects.read_bytes()
    flip(rejects)
    assert f"{rejects} was damaged and taken from DVC's cache" in repair(root)[0]
    assert rejects.read_bytes() == before
    assert catalog.query(root, "select count(*) n from rejects").to_pylist() == [{"n": 0}]


def test_a_damaged_cache_is_not_believed(root: Path) -> None:  # noqa: F811
    """The object of the cache is damaged as well: DVC would check it out again and again."""
    shutil.rmtree(Paths(root).versions)
    part = max(Paths(root).table("materials").glob("part-*"), key=lambda path: path.stat().st_size)
    before = part.read_bytes()
    (same,) = [path for path in (Paths(root).dvc_cache / "files").rglob("*") if path.is_file()
               and path.read_bytes() == before]
    flip(part)
    same.chmod(0o644)
    flip(same)
    line = repair(root)[0]
    assert "no sound copy is here; `dvc repro` makes it again" in line
    assert "(and 1 in DVC's cache)" in line
    done = dvc(root, "repro")
    assert done.returncode == 0, done.stderr
    assert part.read_bytes() == before
    assert repair(root) == []
    assert catalog.query(root, "select count(*) n from materials").to_pylist() == [{"n": 3}]


def test_a_damaged_table_is_taken_from_the_cache_of_dvc(root: Path) -> None:  # noqa: F811
    shutil.rmtree(Paths(root).versions)
    part = max(Paths(root).table("materials").glob("part-*"), key=lambda path: path.stat().st_size)
    before = part.read_bytes()
    flip(part)
    assert "taken from DVC's cache" in repair(root)[0]
    assert part.read_bytes() == before
    assert catalog.query(root, "select count(*) n from materials").to_pylist() == [{"n": 3}]
    assert dvc(root, "status", "--json").stdout.strip() == "{}"
