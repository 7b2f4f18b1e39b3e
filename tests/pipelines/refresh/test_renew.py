"""A refresh brings everything up to date, or leaves everything as it was."""

import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import yaml

from features.catalog.diff import compare
from features.errors import UserError
from features.paths import Paths
from features.store import tables
from features.store.rowstore import RowStore
from pipelines import commands
from pipelines.engine import runs
from pipelines.engine.plan import unseen
from pipelines.refresh import report
from pipelines.refresh.last_good import LastGood, outputs
from pipelines.refresh.renew import Options, put_back, renew, save_lock
from tests.conftest import CRYSTALS, make_project, set_params

EIGHT = ["mp-30", "mp-127", "mp-149", "mp-984", "mp-361", "mp-22862", "mp-938", "mp-786"]
"""The first of them comes later."""


def stage(name: str, table: str, dep: str) -> dict[str, object]:
    return {"cmd": f"python -m pipelines {name} --executor serial", "deps": [dep], "params": [name],
            "outs": [f"data/features/{table}", f"data/features/rejects/{table}.parquet"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two quick stages that have run once."""
    root = tmp_path_factory.mktemp("made") / "project"
    make_project(root, only=EIGHT[1:], split={})
    stages = {"ingest": stage("ingest", "materials", "data/input"),
              "split": stage("split", "splits", "data/features/materials")}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    shutil.copy(Path(__file__).parents[3] / ".dvcignore", root)
    subprocess.run([commands.program("dvc"), "init", "--no-scm", "--quiet"], cwd=root, check=True)
    first = renew(root)
    assert first.headline() == "crystals: 7 added; 2 stages ran"
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "project"))


def contents(root: Path) -> dict[str, bytes]:
    """Everything that a refresh may change for users."""
    files = [path for path in sorted(Paths(root).features.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes()
            for path in [*files, Paths(root).lock, Paths(root).params]}


def add_a_crystal(root: Path) -> None:
    shutil.copy(CRYSTALS / "mp-30.cif", root / "data/input")


def test_nothing_new(root: Path) -> None:
    before = contents(root)
    done = renew(root)
    assert (done.headline(), report.markdown(done)) == ("nothing new", "# Nothing new\n")
    assert contents(root) == before
    assert not LastGood(root).exists()


def test_what_is_new_is_reported(root: Path) -> None:
    add_a_crystal(root)
    (root / "data/input/broken.cif").write_text("data_broken\n_cell_length_a oops\n")
    done = renew(root)
    assert done.headline() == "crystals: 1 added; 1 newly rejected; 2 stages ran"
    assert [(change.table, change.added, change.changed, change.removed) for change in done.changes.tables] == [
        ("materials", ["mp-30"], [], []), ("splits", ["mp-30"], [], [])]
    assert [done.stages["ingest"][name] for name in ("computed", "rejected")] == [1, 1]
    assert "volume" in [moved.column for moved in done.changes.tables[0].drift]
    page = report.markdown(done)
    assert "Added: mp-30" in page
    assert "broken" in page
    assert json.loads((Paths(root).refresh / "report.json").read_text())["stages"]["split"]["computed"] == 1
    assert runs.latest(root)["refresh"].note == done.headline()


def test_a_failed_refresh_leaves_the_last_good_version(root: Path) -> None:
    before = contents(root)
    add_a_crystal(root)
    lines = fail_at_split(root)
    with pytest.raises(UserError, match=r"dvc repro failed: .*No module named nothing_of_this_name"):
        renew(root)
    assert contents(root) == before
    assert tables.read(root, "materials").num_rows == tables.read(root, "splits").num_rows
    assert {name: run.outcome for name, run in runs.latest(root).items()} == {
        "ingest": "done", "split": "done", "refresh": "failed"}  # split from before
    (root / "dvc.yaml").write_text(lines)
    done = renew(root)
    assert (done.headline(), list(done.stages)) == ("crystals: 1 added; 1 stage ran", ["split"])  # what had run is kept


def alive(process: psutil.Process) -> bool:
    """Not ended; where nobody collects orphans, they stay as zombies."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def fail_at_split(root: Path, first: str = "") -> str:
    """Let the second stage run a command and then fail; gives `dvc.yaml` as it was."""
    lines = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(lines.replace("python -m pipelines split", f"{first}python -m nothing_of_this_name"))
    return lines


def kill_in_the_middle(root: Path) -> str:
    """Kill a refresh, and all that it started, in its second stage; gives `dvc.yaml` as it was."""
    lines = fail_at_split(root, "sleep 600 && ")
    process = in_the_middle(root, sys.executable, "-m", "pipelines", "refresh")
    children = psutil.Process(process.pid).children(recursive=True)
    for one in [*children, process]:
        one.kill()
    process.wait()
    limit = time.monotonic() + 60
    while any(psutil.pid_exists(child.pid) for child in children) and time.monotonic() < limit:
        time.sleep(0.1)  # DVC takes orphans that nobody has collected yet for alive
    return lines


def in_the_middle(root: Path, *command: str) -> subprocess.Popen[bytes]:
    """Run a command until its first stage is done."""
    seen = len(runs.history(root))
    process = subprocess.Popen(command, cwd=root, env=commands.environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while not [run for run in runs.history(root)[seen:] if (run.stage, run.outcome) == ("ingest", "done")]:
        assert process.poll() is None
        time.sleep(0.1)
    return process


def test_a_killed_refresh_is_finished_or_put_back(root: Path) -> None:
    before = contents(root)
    add_a_crystal(root)
    lines = kill_in_the_middle(root)
    assert contents(root) != before
    assert runs.latest(root)["refresh"].outcome == "killed"
    (root / "dvc.yaml").write_text(lines)
    fail_at_split(root)
    with pytest.raises(UserError, match="No module named nothing_of_this_name"):
        renew(root)  # it fails as well, and goes back to what was before both
    assert contents(root) == before
    with pytest.raises(UserError, match="left anything to put back"):
        put_back(root)


def test_what_was_finished_and_committed_after_a_kill_stays(root: Path) -> None:
    commit_all(root)
    add_a_crystal(root)
    (root / "dvc.yaml").write_text(kill_in_the_middle(root))
    subprocess.run([commands.program("dvc"), "repro", "--quiet"], cwd=root, env=commands.environment(), check=True)
    git(root, "commit", "--quiet", "-m", "by hand", "dvc.lock")
    finished = contents(root)
    shutil.copytree(root, copy := root.with_name("copy"))
    with pytest.raises(UserError, match="has been finished and committed; nothing is put back"):
        put_back(copy)
    set_params(root, split={"seed": 5})
    fail_at_split(root)
    with pytest.raises(UserError, match="nothing_of_this_name"):
        renew(root)
    after = contents(root)
    assert {name for name in finished if after[name] != finished[name]} == {"params.yaml"}


def repro(root: Path) -> bytes:
    """What a user does by hand; the lock that it makes."""
    subprocess.run([commands.program("dvc"), "repro", "--quiet"], cwd=root, env=commands.environment(), check=True)
    return Paths(root).lock.read_bytes()


def checkout(root: Path) -> None:
    """Bring the outputs to what `dvc.lock` says."""
    subprocess.run([commands.program("dvc"), "checkout", "--quiet", "--force"], cwd=root, env=commands.environment(),
                   check=True)


def copies_of_locks(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in Paths(root).refresh.glob("dvc.lock.*")]


def test_an_uncommitted_lock_is_back_after_a_failure(root: Path) -> None:
    commit_all(root)
    set_params(root, split={"seed": 7})
    repro(root)
    before = contents(root)
    assert git(root, "status", "--porcelain", "--", "dvc.lock") == " M dvc.lock\n"
    add_a_crystal(root)
    fail_at_split(root)
    with pytest.raises(UserError, match="nothing_of_this_name"):
        renew(root)
    assert contents(root) == before
    assert copies_of_locks(root) == []


@pytest.mark.parametrize("way", ["refresh", "put-back"])
def test_a_lock_made_by_hand_after_a_kill_is_not_lost(root: Path, way: str,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    """The user finishes what the killed refresh began, and does not commit it; then it is put back all the same."""
    before = contents(root)
    add_a_crystal(root)
    (root / "dvc.yaml").write_text(kill_in_the_middle(root))
    by_hand = repro(root)
    finished = contents(root)
    if way == "refresh":
        set_params(root, split={"seed": 5})
        lines = fail_at_split(root)
        with pytest.raises(UserError, match="nothing_of_this_name"):
            renew(root)
        (root / "dvc.yaml").write_text(lines)
        Paths(root).params.write_bytes(before["params.yaml"])
    else:
        put_back(root)
    assert contents(root) == before
    assert copies_of_locks(root) == [by_hand]
    (copy,) = Paths(root).refresh.glob("dvc.lock.*")
    assert f"dvc.lock as it was is copied to {copy}" in capsys.readouterr().err
    shutil.copy(copy, Paths(root).lock)  # what the message says
    checkout(root)
    assert contents(root) == finished


def test_a_lock_from_before_a_kill_is_not_lost(root: Path) -> None:
    """Uncommitted when the refresh began; the user takes the committed one instead of it, knowing of no other."""
    commit_all(root)
    set_params(root, split={"seed": 7})
    uncommitted = repro(root)
    add_a_crystal(root)
    (root / "dvc.yaml").write_text(kill_in_the_middle(root))
    git(root, "checkout", "--quiet", "dvc.lock")
    checkout(root)
    with pytest.raises(UserError, match="nothing is put back"):
        put_back(root)
    assert copies_of_locks(root) == [uncommitted]


def test_a_refresh_that_goes_on_and_is_good_leaves_no_copy(root: Path) -> None:
    add_a_crystal(root)
    (root / "dvc.yaml").write_text(kill_in_the_middle(root))
    repro(root)
    assert renew(root).headline().startswith("crystals: 1 added")
    assert copies_of_locks(root) == []


def test_a_lock_that_git_has_is_not_copied(root: Path) -> None:
    commit_all(root)
    lock, good = Paths(root).lock, LastGood(root)
    assert save_lock(root, good, lock) is None
    lock.write_bytes(other := lock.read_bytes() + b"# by hand\n")
    copy = save_lock(root, good, lock)
    assert copy is not None
    assert copies_of_locks(root) == [other]


def test_a_wrong_parameter_of_any_stage_is_said_before_anything_runs(root: Path) -> None:
    add_a_crystal(root)
    before = len(runs.history(root))
    set_params(root, train={"patienc": 3})
    with pytest.raises(UserError, match=r"params\.yaml: .*patienc"):
        renew(root)
    assert {run.stage for run in runs.history(root)[before:]} <= {"refresh"}


def test_a_refresh_that_is_told_to_end_puts_everything_back(root: Path) -> None:
    before = contents(root)
    add_a_crystal(root)
    fail_at_split(root, "sleep 600 && ")
    process = in_the_middle(root, sys.executable, "-m", "pipelines", "refresh")
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    assert process.wait() == 130
    assert not any(map(alive, children))
    assert contents(root) == before


def test_nothing_is_touched_while_dvc_is_at_work(root: Path) -> None:
    fail_at_split(root, "sleep 600 && ")
    add_a_crystal(root)
    process = in_the_middle(root, commands.program("dvc"), "repro")
    while Paths(root).table("splits").exists():  # DVC removes what the next stage will make
        time.sleep(0.05)
    before = contents(root)
    with pytest.raises(UserError, match="DVC is at work here"):
        renew(root)
    with runs.recorded(root, "split"), pytest.raises(UserError, match=r"stage .split. is at work here .* stop it$"):
        renew(root)
    store = RowStore(Paths(root).rowstore("splits"), pa.schema([]), 1)
    with store.locked(), pytest.raises(UserError, match="somebody is computing 'splits' here"):
        renew(root)
    assert contents(root) == before
    assert not LastGood(root).exists()
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.wait()


def test_a_record_that_was_never_ended_does_not_stand_in_the_way(root: Path) -> None:
    """As after each restart of a container that was stopped while a stage ran."""
    with Paths(root).runs.open("a") as file:
        file.write(json.dumps({"id": "a", "stage": "split", "started": "2019-01-02T03:04:05+00:00", "pid": 1,
                               "host": "another"}) + "\n")
    assert renew(root).nothing_new


def test_what_was_not_there_is_not_there_afterwards(root: Path) -> None:
    """As in a fresh clone: `dvc.lock` is there, the data are not."""
    shutil.rmtree(root / "data/features")
    shutil.rmtree(root / ".dvc/cache")
    lock = Paths(root).lock.read_bytes()
    fail_at_split(root)
    with pytest.raises(UserError, match="nothing_of_this_name"):
        renew(root)
    assert not list(Paths(root).features.rglob("part-*.parquet"))
    assert Paths(root).lock.read_bytes() == lock


def test_broken_parameters_do_not_keep_the_tables_from_being_put_back(root: Path) -> None:
    before = contents(root)
    add_a_crystal(root)

    def breaking(name: str, function: Any, *arguments: Any) -> Any:
        if name == "validate":
            Paths(root).params.write_text("ingest: {")
            raise UserError("not valid")
        return function(*arguments)

    with pytest.raises(UserError, match="not valid"):
        renew(root, step=breaking)
    after = contents(root)
    assert {name for name in after if after[name] != before.get(name)} == {"params.yaml"}
    Paths(root).params.write_bytes(before["params.yaml"])
    put_back(root)
    assert contents(root) == before
    assert not LastGood(root).exists()


def test_what_dvc_does_not_see_is_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unseen(root) == []
    version = importlib.metadata.version
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda name: "99.0" if name == "spglib" else version(name))
        assert unseen(root) == ["ingest"]
    monkeypatch.setattr("pipelines.refresh.renew.unseen", lambda *_: ["split"])
    done = renew(root)
    assert (list(done.stages), done.nothing_new) == (["split"], True)  # it ran, and made the same bytes


def test_a_cancelled_refresh_ends_what_it_started(root: Path) -> None:
    def raising(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.run(["bash", "-c", "echo $$ > pid; echo begun; sleep 600"], root, raising)
    with pytest.raises(ProcessLookupError):
        os.kill(int((root / "pid").read_text()), 0)


def git(root: Path, *arguments: str) -> str:
    return subprocess.run([commands.program("git"), *arguments], cwd=root, check=True, capture_output=True,
                          text=True).stdout


def commit_all(root: Path) -> None:
    """Make a repository of the project."""
    for line in ("init --quiet", "config user.name Nobody", "config user.email nobody@localhost",
                 "add dvc.yaml dvc.lock params.yaml", "commit --quiet -m first"):
        git(root, *line.split())


def test_commit_tag_and_push(root: Path, tmp_path: Path) -> None:
    commit_all(root)
    subprocess.run([commands.program("dvc"), "remote", "add", "--default", "store", str(tmp_path / "store")], cwd=root,
                   check=True, capture_output=True)
    add_a_crystal(root)
    every = Options(commit=True, tag=True, push=True)
    renew(root, Options(commit=True))
    assert git(root, "log", "-1", "--format=%s") == "Refresh: crystals: 1 added; 2 stages ran\n"
    assert git(root, "status", "--porcelain", "--", "dvc.lock", "params.yaml") == ""
    assert git(root, "tag") == ""
    assert renew(root, every).nothing_new  # what was not done is done now
    (tag,) = git(root, "tag").split()
    assert tag.startswith("data-")
    assert len(list((tmp_path / "store").rglob("*"))) > 10
    assert renew(root, every).nothing_new
    assert git(root, "tag").split() == [tag]
    set_params(root, split={"seed": 5})
    renew(root)
    renew(root, Options(commit=True))
    assert git(root, "log", "-1", "--format=%s") == "Refresh: what an earlier one made\n"


def test_what_cannot_be_published_is_said_before_anything_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_a_crystal(root)
    with pytest.raises(UserError, match="git rev-parse: fatal: not a git repository"):
        renew(root, Options(commit=True))
    with pytest.raises(UserError, match="there is no DVC remote"):
        renew(root, Options(push=True))
    for name, value in {"HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "1",
                        "GIT_CONFIG_KEY_0": "user.useConfigOnly", "GIT_CONFIG_VALUE_0": "true"}.items():
        monkeypatch.setenv(name, value)
    git(root, "init", "--quiet")
    with pytest.raises(UserError, match="git var: Committer identity unknown"):
        renew(root, Options(commit=True))
    assert not LastGood(root).exists()


def test_an_output_outside_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {ingest: {cmd: a, outs: [{path: ../elsewhere}]}}")
    with pytest.raises(UserError, match="lies outside the project"):
        outputs(tmp_path)


def test_changes_count_crystals_not_rows(root: Path, made: Path) -> None:
    assert compare(made, root).tables == []
    set_params(root, split={"seed": 5})
    renew(root)
    (change,) = compare(made, root).tables
    assert (change.table, change.added, change.removed) == ("splits", [], [])
    assert 0 < len(change.changed) <= change.rows[0] == change.rows[1]
