"""Time travel: the tables of any revision, without a checkout."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from features.catalog import validate
from features.errors import UserError
from features.paths import Paths
from features.store import git, objects, revisions, sums, tables, versions
from features.store.sums import Damaged
from pipelines.repair import outputs
from tests.features.history import LAST
from tests.features.history import git as run_git


def strength(where: Path) -> float:
    """Bulk modulus of the crystal that has another one since v2."""
    return float(tables.read(where, "materials", ids=["mp-10695"])["k_vrh"][0].as_py())


def object_of(root: Path, revision: str, table: str) -> Path:
    """The list of a table's files in DVC's cache."""
    md5 = objects.outs(git.commit(root, revision).lock)[0][f"data/features/{table}"].md5
    return root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def test_any_revision_is_read_and_nothing_changes(past: Path) -> None:
    from dvc.repo import Repo

    (past / "params.yaml").write_text("ingest: {path: another}\n")  # a dirty tree
    before = run_git(past, "status", "--porcelain")
    second = run_git(past, "rev-parse", "v2").strip()
    names = ("v1", "HEAD~2", "v2", second[:9], "HEAD~1", "heads/main", "v3")
    found = {name: revisions.at(past, name) for name in names}
    assert {strength(found[name]) for name in ("v1", "HEAD~2")} == {68.2531}
    assert {strength(found[name]) for name in ("v2", second[:9], "HEAD~1", "v3")} == {78.7531}
    assert [len(tables.read(found[name], "descriptions")) for name in ("v1", "v3")] == [31, 30]
    assert LAST in tables.read(found["v2"], "materials")["material_id"].to_pylist()
    assert "data/v1" in Paths(found["v1"]).params.read_text()
    assert tables.read_parts([Paths(found["v1"]).rejects("materials")])["message"].to_pylist() == ["not in v1"]

    published = revisions.at(past)
    assert found["v3"] == found["heads/main"] == published == revisions.at(past, published.name)
    assert revisions.at(past, "work") == past
    part = tables.files(found["v1"], "materials")[0]
    assert part.stat().st_nlink > 1  # a name more of the cache's own file
    assert len(list(Paths(past).revisions.glob("[0-9a-f]*"))) == 2
    assert run_git(past, "status", "--porcelain") == before
    (past / ".gitignore").write_text("")  # whatever the project's own says
    assert ".revisions" not in run_git(past, "status", "--porcelain", "--untracked-files=all")
    with Repo(str(past)) as repo:
        assert repo.status() == {}


def test_what_is_only_on_the_remote_is_fetched_when_that_is_asked_for(past: Path, tmp_path: Path) -> None:
    shutil.rmtree(past / ".dvc" / "cache")
    with pytest.raises(UserError, match=r"^3 of 3 outputs of revision 'v1' \(\d+\.?\d* kB\) are not in DVC's cache; "
                                        r"`python -m features fetch v1` brings them"):
        revisions.at(past, "v1")
    assert strength(revisions.at(past, "v1", fetch=True)) == 68.2531

    object_of(past, "v2", "descriptions").unlink(missing_ok=True)
    remote = (past / ".dvc" / "config").read_text()
    (past / ".dvc" / "config").write_text(remote.replace("store", "empty").replace("remote\n", f"{tmp_path}/empty\n"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"of revision 'v2' is gone \(\d of 3 outputs are\): neither DVC's cache"):
        revisions.at(past, "v2", fetch=True)
    (past / ".dvc" / "config").write_text("")
    with pytest.raises(UserError, match="DVC has no remote to fetch them from"):
        revisions.at(past, "v2", fetch=True)


def test_a_cache_on_another_disk(past: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Links are symbolic there, and go with what they lead to."""
    cache = shutil.move(past / ".dvc" / "cache", tmp_path / "elsewhere")
    (past / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {cache}\n")

    def other_disk(*_paths: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    where = revisions.at(past, "v1")
    part = tables.files(where, "materials")[0]
    assert part.is_symlink()
    assert part.resolve().is_relative_to(cache)
    assert strength(where) == 68.2531
    shutil.rmtree(cache)
    with pytest.raises(UserError, match="are not in DVC's cache"):
        revisions.at(past, "v1")
    before = where.stat().st_ino
    assert strength(revisions.at(past, "v1", fetch=True)) == 68.2531
    assert where.stat().st_ino == before  # others may read it


@pytest.mark.parametrize("harmed", ["folder", "file"])
def test_a_damaged_object_is_named(past: Path, harmed: str) -> None:
    path = object_of(past, "v1", "materials")
    if harmed == "file":
        md5 = objects.outs(git.commit(past, "v1").lock)[0]["data/features/rejects/materials.parquet"].md5
        path = path.parents[1] / md5[:2] / md5[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"a", b"b", 1))
    with pytest.raises(UserError, match=f"{path} of DVC's cache is damaged"):
        revisions.at(past, "v1")
    assert not Paths(past).revisions.exists()


@pytest.mark.parametrize(("revision", "said"), [
    ("-x", "'-x' is no name of a revision"),
    ("^HEAD", r"'\^HEAD' is no name of a revision"), ("", "'' is no name"), ("v1\nv2", "is no name"),
    ("nope", "git knows no revision 'nope'"), ("HEAD~99", "git knows no revision"),
    ("both", "it is a tag and a branch"),
    ("v1:dvc.lock", "git knows no revision"), ("0123456789abcdef", "git knows no revision"),
    ("bare", "has no dvc.lock here"), ("torn", "the dvc.lock of revision 'torn' cannot be read"),
    ("outside", r"its output data/\.\./\.\./etc lies outside the project"),
])
def test_what_is_no_revision_with_tables_is_one_line(past: Path, revision: str, said: str) -> None:
    if revision == "both":
        run_git(past, "branch", "both", "v1")
        run_git(past, "tag", "both", "v2")
    elif revision in ("bare", "torn", "outside"):
        lock = {"torn": "stages:\n  ingest: {outs", "bare": "", "outside": (
            "stages: {a: {outs: [{path: data/../../etc, md5: 00000000000000000000000000000000}]}}")}[revision]
        Paths(past).lock.write_text(lock)
        if not lock:
            Paths(past).lock.unlink()
        run_git(past, "commit", "-aqm", revision)
        run_git(past, "tag", revision)
    with pytest.raises(UserError, match=said):
        revisions.at(past, revision)


def test_without_git(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(past / ".git")
    with pytest.raises(UserError, match=f"{past} is in no git repository"):
        revisions.at(past, "v1")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="git is not installed"):
        revisions.at(past, "v1")


def test_a_project_inside_a_repository_and_another_checkout_of_it(past: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    run_git(outer, "init", "-q")
    shutil.rmtree(past / ".git")
    shutil.move(past, outer / "inner")
    run_git(outer, "add", "-A")
    run_git(outer, "commit", "-qm", "all")
    where = revisions.at(outer / "inner", "HEAD")
    assert strength(where) == 78.7531
    run_git(outer, "worktree", "add", "-q", str(tmp_path / "second"))
    beside = revisions.at(tmp_path / "second" / "inner", "HEAD")  # nothing of DVC's cache is there
    assert beside == Paths(tmp_path / "second" / "inner").revisions / beside.name
    assert strength(beside) == 78.7531


def test_several_builders_at_once(past: Path) -> None:
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            try:
                os._exit(0 if strength(revisions.at(past, "v1")) == 68.2531 else 1)
            except BaseException as error:  # a fork must not go on as a test
                print(error, file=sys.stderr)
                os._exit(2)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert [path.name for path in Paths(past).revisions.glob("*") if path.name != ".gitignore"] == [
        revisions.key(git.commit(past, "v1"))]


def test_a_revision_that_is_damaged_later_is_mended(past: Path) -> None:
    part = tables.files(revisions.at(past, "v1"), "materials")[0]
    part.chmod(0o644)
    with part.open("r+b") as file:  # which is the cache's own file, too
        file.seek(200)
        file.write(b"damage")
    with pytest.raises(Damaged, match="pipelines repair"):
        tables.read(revisions.at(past, "v1"), "materials")
    (line,) = outputs.mend_revisions(past)
    assert line.startswith(f"{part} was damaged: somebody reads that revision, so that it stays")
    versions._held.clear()
    (line,) = outputs.mend_revisions(past)
    assert line.startswith(f"{part} was damaged: that revision is removed, and laid out again")
    assert strength(revisions.at(past, "v1", fetch=True)) == 68.2531
    assert list(outputs.mend_revisions(past)) == []


def test_a_damaged_revision_that_is_nowhere_else_loses_only_what_is_damaged(past: Path) -> None:
    where = revisions.at(past, "v1")
    for table in ("materials", "descriptions"):  # as of a commit before there were sums
        (Paths(where).table(table) / sums.SUMS).unlink()
    listed = {out: objects.md5_of(where / out) for out in versions.outputs(where)}
    Paths(where).lock.write_text(yaml.safe_dump({"stages": {"all": {"outs": [
        {"path": path, "md5": md5} for path, md5 in listed.items()]}}}))
    commit = git.Commit("", Paths(where).lock.read_bytes(), Paths(where).params.read_bytes())
    where = where.rename(where.with_name(revisions.key(commit)))
    versions._held.clear()
    assert revisions.damages(where) == []
    shutil.rmtree(past / ".dvc" / "cache")
    (past / ".dvc" / "config").write_text("")  # no remote

    part = tables.files(where, "materials")[0]
    replaced = part.read_bytes()
    part.unlink()
    part.write_bytes(replaced.replace(b"mp-1", b"mp-2", 1))  # which Parquet does not notice
    Paths(where).rejects("materials").unlink()
    said = [problem.what.partition(" is not what the commit has, or missing") for problem in validate.problems(where)]
    assert sorted(path for path, is_so, _ in said if is_so) == [
        str(Paths(where).table("materials")), str(Paths(where).rejects("materials"))]
    (line,) = outputs.mend_revisions(past)
    assert "that revision stays, materials put aside, since neither DVC's cache nor its remote has all of it" in line
    assert tables.names(where) == ["descriptions"]
    assert len(tables.read(where, "descriptions")) == 31
    assert len(list(outputs.mend_revisions(past))) == 1  # still told


def test_a_lock_that_is_damaged_later_is_put_right_by_the_next_reader(past: Path) -> None:
    where = revisions.at(past, "v1")
    whole = Paths(where).lock.read_bytes()
    Paths(where).lock.write_bytes(whole[:-300])
    (line,) = outputs.mend_revisions(past)
    assert line == f"{Paths(where).lock} was damaged: the next reader of that revision puts it right"
    assert Paths(revisions.at(past, "v1")).lock.read_bytes() == whole
    assert list(outputs.mend_revisions(past)) == []


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_folder_in_the_place_of_a_revision_is_neither_read_nor_removed(past: Path, kind: str) -> None:
    folder = revisions.at(past, "v1")
    away = folder.rename(past.parent / "away")
    if kind == "link":
        folder.symlink_to(away)
    else:
        folder.write_text("mine")
    with pytest.raises(UserError, match=f"{folder} is no folder of this program's making"):
        revisions.at(past, "v1")
    assert list(outputs.mend_revisions(past)) == []
    assert not versions.remove_unread(folder)
    assert folder.exists()


def test_a_revision_that_is_published_is_read_from_there_though_publish_makes_a_table_too(past: Path) -> None:
    lock = yaml.safe_load(Paths(past).lock.read_text())
    lock["stages"]["publish"]["outs"].insert(0, {"path": "data/features/profiles", "md5": f"{'0' * 32}.dir"})
    Paths(past).lock.write_text(yaml.safe_dump(lock))
    run_git(past, "commit", "-qam", "with profiles")
    assert revisions.at(past, "HEAD") == revisions.at(past)


def test_variables_of_a_hook_lead_nowhere_else(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = past.parent / "there"
    there.mkdir()
    run_git(there, "init", "-q")
    head = git.resolve(past, "HEAD")
    monkeypatch.setenv("GIT_DIR", str(there / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(there))
    monkeypatch.setenv("GIT_INDEX_FILE", str(there / ".git" / "index"))
    assert git.resolve(past, "HEAD") == head
    assert git.worktrees(past) == [past]


def test_a_terminal_is_asked(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(past / ".dvc" / "cache")
    asked: list[str] = []
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda question, **_options: bool(asked.append(question)))
    with pytest.raises(UserError, match="features fetch v1"):
        revisions.at(past, "v1")
    (question,) = asked
    assert re.fullmatch(r"3 of 3 outputs of revision 'v1' \([\d.]+ kB\) are only on the remote\. Fetch them\?",
                        question)


def test_it_stays_while_it_is_read(past: Path) -> None:
    where = revisions.at(past, "v1")
    assert not versions.remove_unread(where)
    assert strength(where) == 68.2531
    (where.with_name(f".{where.name}.old") / "left").mkdir(parents=True)  # by a removal that was killed
    versions._held.clear()
    assert versions.remove_unread(where)
