"""What takes space and nobody needs goes, beside whoever reads or writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from features.commands.gc import gc
from features.errors import UserError
from features.housekeeping.gc import Plan, plan
from features.paths import Paths
from features.store import git, revisions, tables, versions
from features.store.rowstore import RowStore
from features.view import Reject
from features.views.splits import VIEW
from tests.features import history

READER = """
import sys
from pathlib import Path
from features.store import revisions, tables
where = revisions.at(Path(sys.argv[1]), "v1")
print("reads", flush=True)
sys.stdin.readline()
print(len(tables.read(where, "materials")), flush=True)
"""
REVISIONS, VERSIONS, ROWS = "other git revisions, laid out for readers", "earlier published versions", \
    "rows of earlier shapes of tables"
FETCHABLE, LOST = "objects of DVC's cache that remote 'store' has", "objects of DVC's cache that no remote has"


def counts(made: Plan, dry: bool = False) -> dict[str, int]:
    return {kind.name: count for kind, count, _ in made.carry_out(dry)}


def older(root: Path, name: str = "0" * 16) -> Path:
    """A version that was published before the one before the last."""
    folder = next(folder for folder in versions.newest_first(root) if folder.name != published(root))
    made = Path(shutil.copytree(folder, folder.with_name(name)))
    os.utime(made, (0, 0))
    return made


def published(root: Path) -> str:
    """Id of the version."""
    manifest = versions.read_manifest(root)
    assert manifest is not None
    return manifest.version


def cached(root: Path) -> set[str]:
    return {f"{path.parent.name}{path.name}" for path in (root / ".dvc" / "cache" / "files" / "md5").glob("*/*")}


@contextlib.contextmanager
def reader(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that reads v1; at the end it has read it."""
    with subprocess.Popen([sys.executable, "-c", READER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reads\n"
        yield process
        out, _ = process.communicate("go on\n")
        assert out == "31\n"


def test_beside_a_reader_and_a_dry_run_first(past: Path) -> None:
    before = revisions.at(past, "v2")
    for folder in (before, *Paths(past).versions.glob("*")):
        assert folder.exists()
    del before
    revisions.versions._held.clear()  # this process has done with it
    all_objects = cached(past)
    with reader(past):
        would = plan(past).carry_out(dry=True)
        assert cached(past) == all_objects
        assert counts(plan(past), dry=True)[REVISIONS] == 2
        did = plan(past).carry_out()
        assert {kind.name: count for kind, count, _ in did} | {REVISIONS: 2} == {
            kind.name: count for kind, count, _ in would}  # but for the one that is read
        assert [path.name for path in Paths(past).revisions.glob("[0-9a-f]*")] == [
            revisions.key(git.commit(past, "v1"))]
        assert len(cached(past)) < len(all_objects)
    assert counts(plan(past)) == {REVISIONS: 1}
    assert counts(plan(past)) == {}
    assert len(tables.read(revisions.at(past), "materials")) == 30  # what is published is as it was
    with pytest.raises(UserError, match="features fetch v1"):
        revisions.at(past, "v1")
    assert len(tables.read(revisions.at(past, "v1", fetch=True), "materials")) == 31


def test_the_command_says_what_it_frees(past: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gc(past, dry_run=True)
    would = capsys.readouterr()
    assert re.search(rf"^{re.escape(FETCHABLE)} +\d+ +[\d.]+ kB +fetched again when", would.out, re.MULTILINE)
    with pytest.raises(UserError, match="nothing was removed, since nobody could be asked; --yes"):
        gc(past)
    objects = cached(past)
    capsys.readouterr()
    gc(past, yes=True)
    did = capsys.readouterr()
    assert would.err.rstrip().removesuffix(" would be freed") == did.err.splitlines()[-1].removesuffix(" freed")
    assert len(cached(past)) < len(objects)
    gc(past, yes=True)
    assert capsys.readouterr().err == "nothing is to be removed\n"


def test_what_no_remote_has_stays_until_it_is_given_up(past: Path, tmp_path: Path) -> None:
    config = past / ".dvc" / "config"
    (tmp_path / "empty").mkdir()
    config.write_text(config.read_text().replace("url = ", "url = ../../empty #"))
    all_objects = cached(past)
    made = plan(past)
    assert LOST not in counts(made, dry=True)
    assert any("--lose removes them" in note for note in made.notes)
    kept = plan(past, ["v1"], lose=True)
    gone = counts(kept)[LOST]
    assert 0 < gone == len(all_objects) - len(cached(past))
    assert len(tables.read(revisions.at(past, "v1"), "materials")) == 31
    with pytest.raises(UserError, match="of revision 'v2' is gone"):
        revisions.at(past, "v2", fetch=True)
    shutil.rmtree(past / ".dvc" / "cache")  # but for what v1's folder has of it
    revisions.versions._held.clear()
    made = plan(past)
    assert any("whose tables are neither in DVC's cache nor on its remote, stay" in note for note in made.notes)
    assert REVISIONS not in counts(made)
    assert counts(plan(past, lose=True))["other git revisions whose tables are nowhere else"] == 1
    with pytest.raises(UserError, match="git knows no revision 'nope'"):
        plan(past, ["nope"])


def test_a_cache_that_others_may_share_is_left_alone(past: Path, tmp_path: Path) -> None:
    (past / ".dvc" / "cache").rename(tmp_path / "shared")
    (past / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    older(past)
    made = plan(past, lose=True)
    assert made.kinds[0].name == VERSIONS
    assert any("may be shared with other projects" in note for note in made.notes)


def test_rows_of_earlier_shapes_go_unless_a_run_has_them_or_a_version_needs_them(past: Path) -> None:
    top = Paths(past).rowstore("splits")
    rows = pa.Table.from_pylist([{"material_id": "mp-149", "group": "Si", "fold": 0, "split": "train"}], VIEW.schema)
    for version in (VIEW.version, 7, 8, 9):
        store = RowStore(top, VIEW.schema if version != 9 else VIEW.schema.remove(3), version)
        with store.locked():
            store.append_rows(rows.select(store.schema.names), pa.array([b"x" * 32], pa.binary(32)))
    table = Paths(past).table("splits")
    tables.publish(table, VIEW.schema, VIEW.key, iter([rows]), iter([{"parts": 1, "version": 7}]))
    draft = RowStore(top, VIEW.schema, VIEW.version).folder / ".rows.x.tmp"
    draft.write_bytes(b"half")
    os.utime(draft, (0, 0))
    with RowStore(top, VIEW.schema, 7).locked():
        draft.write_bytes(b"half")
        os.utime(draft, (0, 0))
        made = plan(past)
        assert any("somebody is computing 'splits'" in note for note in made.notes)
        assert counts(made)[ROWS] == 0
    assert counts(plan(past))[ROWS] == 2
    assert sorted(int(path.name[1:].split("-")[0]) for path in top.glob("v*")) == [VIEW.version, 7]
    assert not draft.exists()


def test_nothing_that_a_stage_may_need_goes_while_one_is_at_work(past: Path) -> None:
    state = Paths(past).training / "0123.pt"
    state.parent.mkdir()
    state.write_bytes(b"x" * 1000)
    assert not any("trainings" in kind.name for kind in plan(past).kinds)  # it may be gone on with
    os.utime(state, (time.time() - 30 * 86400,) * 2)
    lock = Paths(past).run_locks / "1.lock"
    lock.parent.mkdir()
    older(past)
    ready = plan(past)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        made = plan(past, lose=True)
        assert any("a stage or a refresh is at work" in note for note in made.notes)
        assert {kind.name for kind in made.kinds} == {VERSIONS}
        done = counts(ready)  # it began between plan and removal
        assert [done[name] for name in (FETCHABLE, "states of trainings that were given up")] == [0, 0]
    freed = {kind.name: size for kind, _, size in plan(past).carry_out()}
    assert freed["states of trainings that were given up"] == 1000
    assert not state.exists()


def test_a_file_of_several_names_frees_nothing_until_its_last_one_goes(past: Path) -> None:
    history.put(past, "materials", history.MATERIALS, history.rows()[0], [Reject("a", "b", "c")])
    older(past)
    ((kind, count, freed), *_) = [done for done in plan(past).carry_out(dry=True) if done[0].name == VERSIONS]
    assert count >= 1
    own = sum(path.stat().st_size for folder in kind.paths for path in folder.rglob("*")
              if path.is_file() and path.stat().st_nlink == 1)
    assert freed >= own > 0


def test_versions_that_somebody_may_read_or_that_are_nowhere_else_stay(past: Path) -> None:
    sound, changed, lockless = (older(past, digit * 16) for digit in "123")
    (Paths(changed).table("materials") / "part-00000.parquet").write_bytes(b"of no commit")
    Paths(lockless).lock.unlink()
    os.utime(lockless, (0, 0))
    profiles = Paths(sound).table("profiles")  # which stand in no dvc.lock at that time
    shutil.copytree(Paths(sound).table("descriptions"), profiles)
    before = {folder.name for folder in versions.newest_first(past)[:versions.STAYING]}
    assert published(past) in before
    made = plan(past)
    assert any(note.startswith("2 earlier published versions, which are neither in DVC's cache") for note in made.notes)
    Paths(past).published.unlink()
    assert counts(plan(past))[VERSIONS] == 1
    assert {folder.name for folder in versions.newest_first(past)} == {*before, changed.name, lockless.name}
    assert counts(plan(past, lose=True))[f"{VERSIONS} that are nowhere else"] == 2
    assert {folder.name for folder in versions.newest_first(past)} == before


def test_a_damaged_table_and_a_view_that_is_gone(past: Path) -> None:
    rows = pa.Table.from_pylist([{"material_id": "mp-149", "group": "Si", "fold": 0, "split": "train"}], VIEW.schema)
    for table, version in (("materials", 7), ("of_no_view", 1)):
        store = RowStore(Paths(past).rowstore(table), VIEW.schema, version)
        with store.locked():
            store.append_rows(rows, pa.array([b"x" * 32], pa.binary(32)))
    for part in (Paths(past).table("materials"), Paths(revisions.at(past)).table("materials")):
        (part / "part-00000.parquet").unlink()
    made = plan(past)
    assert any("rows of earlier shapes of 'materials' are left alone, since" in note for note in made.notes)
    assert counts(made)[ROWS] == 1
    assert [path.parent.name for path in Paths(past).rowstores.glob("*/v*")] == ["materials"]


def test_what_another_checkout_of_the_repository_needs_stays(past: Path, tmp_path: Path) -> None:
    history.git(past, "worktree", "add", "-q", str(tmp_path / "second"), "v1")
    counts(plan(past, lose=True))
    assert len(tables.read(revisions.at(tmp_path / "second", "HEAD"), "materials")) == 31
    with pytest.raises(UserError, match="features fetch v2"):
        revisions.at(past, "v2")
