"""Files of DVC that a kill has left half-written."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from features.errors import UserError
from features.paths import Paths
from features.store import versions
from pipelines import commands
from pipelines.refresh.renew import renew
from pipelines.repair import repair
from tests.conftest import make_project
from tests.pipelines.refresh.test_renew import commit_all

LOCK = "schema: '2.0'\nstages:\n  split:\n    cmd: python -m pipelines split\n"


def dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([commands.program("dvc"), *arguments], cwd=root, env=commands.environment(),
                          capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one stage, and the one that publishes."""
    root = tmp_path_factory.mktemp("made") / "project"
    make_project(root, only=["mp-30", "mp-149", "mp-22862"])
    outs = ["data/features/materials", "data/features/rejects/materials.parquet"]
    stages = {"ingest": {"cmd": "python -m pipelines ingest --executor serial", "deps": ["data/input"], "outs": outs},
              "publish": {"cmd": "python -m pipelines publish", "deps": outs,
                          "outs": [{"data/published.json": {"persist": True}}]}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    assert dvc(root, "init", "--no-scm", "--quiet").returncode == 0
    assert renew(root).headline() == "crystals: 3 added; 1 stage ran"
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_whatever_a_kill_has_left_of_dvc_is_mended_at_once(root: Path) -> None:
    """The three of issue 17, each of which blocked every later `dvc repro`."""
    lock = Paths(root).lock.read_bytes()
    run = next((Paths(root).dvc_cache / "runs").glob("*/*"))
    empty(Paths(root).dvc_tmp / "rwlock")
    empty(Paths(root).lock)
    shutil.rmtree(run)
    run.mkdir()
    assert dvc(root, "repro").returncode != 0
    with pytest.raises(UserError, match="repair"):
        commands.dvc_status(root)
    mended = repair(root, quick=True)
    assert [line.split(" was ")[0].split(":")[0].removeprefix(f"{root}/") for line in mended] == [
        ".dvc/tmp/rwlock", "dvc.lock", ".dvc/cache/runs"]
    done = dvc(root, "repro")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(Paths(root).lock.read_bytes()) == yaml.safe_load(lock)
    assert repair(root) == []


def test_a_refresh_mends_by_itself(root: Path) -> None:
    empty(Paths(root).dvc_tmp / "rwlock")
    empty(Paths(root).lock)
    renew(root)
    assert dvc(root, "status", "--json").stdout.strip() == "{}"


def rwlock(root: Path, pid: int, cmd: str = "dvc repro") -> Path:
    path = Paths(root).dvc_tmp / "rwlock"
    path.write_text(json.dumps({"write": {str(root / "data"): {"pid": pid, "cmd": cmd}}, "read": {}}))
    return path


def test_locks_of_processes_that_are_gone_are_not_believed(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    path = rwlock(root, process.pid)
    assert repair(root) == [f"{path} held locks of processes that were killed and is removed"]


def test_a_process_that_got_the_number_of_a_killed_one_does_not_block(root: Path) -> None:
    path = rwlock(root, os.getpid())
    os.utime(path, (time.time() - 86_400,) * 2)  # this process is younger than the lock
    assert len(repair(root)) == 1
    assert not path.exists()


def test_nothing_is_mended_while_dvc_is_at_work(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        rwlock(root, process.pid, "/bin/dvc repro train")
        with pytest.raises(UserError, match=r"DVC is at work here \(/bin/dvc repro train, process \d+\); try again"):
            repair(root)
        process.communicate(b"")


def test_a_lock_is_taken_from_the_published_version_then_from_git(root: Path) -> None:
    commit_all(root)
    good = Paths(root).lock.read_bytes()
    Paths(root).lock.write_bytes(good[:len(good) // 2])
    assert "the published version" in repair(root, quick=True)[0]
    assert set(yaml.safe_load(Paths(root).lock.read_bytes())["stages"]) == {"ingest"}  # as when it was published
    shutil.rmtree(Paths(root).versions)
    empty(Paths(root).lock)
    assert "taken from git" in repair(root, quick=True)[0]
    assert Paths(root).lock.read_bytes() == good


@pytest.mark.parametrize("content", [b"", b"stages:\n", b"[]", b"schema: '2.0'\nstages: {a: null}\n", b"\x00",
                                     b"\xff\xfe", LOCK.encode()[:20], LOCK.replace("cmd", "cmf").encode(),
                                     LOCK.replace("2.0", "2.1").encode(), (LOCK + "    outt: []\n").encode()])
def test_a_lock_that_nobody_has_is_removed(root: Path, content: bytes) -> None:
    shutil.rmtree(Paths(root).versions)
    Paths(root).published.unlink()
    Paths(root).lock.write_bytes(content)
    assert "`dvc repro` runs each stage" in repair(root, quick=True)[0]
    assert not Paths(root).lock.exists()


def test_damaged_objects_of_the_cache_are_made_again(root: Path) -> None:
    objects = Paths(root).dvc_cache / "files" / "md5"
    listing = next(objects.glob("*/*.dir"))
    listing.write_bytes(listing.read_bytes()[:30])
    first, second, *_ = (path for path in objects.glob("*/*") if not path.name.endswith(".dir"))
    empty(first)
    second.unlink()
    second.mkdir()
    assert "3 damaged objects" in repair(root, quick=True)[0]
    shutil.rmtree(Paths(root).features)
    done = dvc(root, "repro")
    assert done.returncode == 0, done.stderr
    assert versions.current(root) != root


def test_what_dvc_would_wait_for_is_named_first(root: Path) -> None:
    os.mkfifo(root / "data/input/pipe.cif")
    with pytest.raises(UserError, match=r"pipe\.cif is a pipe"):
        repair(root, quick=True)
