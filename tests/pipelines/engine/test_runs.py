"""The record of what runs did."""

import contextlib
import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from features.errors import UserError
from features.paths import Paths
from pipelines import __main__ as command
from pipelines.engine import runs, stages
from pipelines.engine.runs import history, latest, recorded
from tests.conftest import make_project


def test_a_run_leaves_what_it_did(tmp_path: Path) -> None:
    with recorded(tmp_path, "ingest") as run:
        assert latest(tmp_path)["ingest"].outcome == "running"
        run.counts = {"wanted": 3}
    with pytest.raises(UserError), recorded(tmp_path, "ingest"):
        raise UserError("two\nlines")
    first, second = history(tmp_path)
    assert (first.outcome, first.counts, first.note) == ("done", {"wanted": 3}, "")
    assert (second.outcome, second.counts, second.note) == ("failed", {}, "two lines")
    assert first.seconds is not None
    assert latest(tmp_path) == {"ingest": second}


def test_a_killed_run_is_known_by_its_silence(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with recorded(tmp_path, "describe"):
            os._exit(1)
    os.waitpid(child, 0)
    assert latest(tmp_path)["describe"].outcome == "killed"


@pytest.mark.parametrize("line", [
    {"pid": 1, "host": "another", "started": "2019-01-02T03:04:05+00:00"},  # a container of years ago
    {"pid": os.getpid(), "host": platform.node(), "started": "2999-01-02T03:04:05+00:00"}])  # its number is taken again
def test_a_record_without_a_lock_is_of_a_killed_run(tmp_path: Path, line: dict[str, Any]) -> None:
    Paths(tmp_path).data.mkdir()
    Paths(tmp_path).runs.write_text(json.dumps({"id": "a", "stage": "describe", **line}) + "\n")
    assert latest(tmp_path)["describe"].outcome == "killed"


def test_who_holds_the_lock_is_at_work_whatever_the_record_says(tmp_path: Path) -> None:
    """In a container the first process of each has number 1, and clocks of hosts differ."""
    with recorded(tmp_path, "describe") as run:
        path = Paths(tmp_path).runs
        path.write_text(path.read_text().replace(f'"pid": {run.pid}', '"pid": 1')
                        .replace(run.host, "another").replace(run.started, "2999-01-02T03:04:05+00:00"))
        (record,) = history(tmp_path)
        assert (record.outcome, record.pid, record.host) == ("running", 1, "another")
    assert latest(tmp_path)["describe"].outcome == "done"


def test_no_lock_stays(tmp_path: Path) -> None:
    """Neither of a run that ended, nor of a killed one that somebody has looked for."""
    test_a_killed_run_is_known_by_its_silence(tmp_path)
    with recorded(tmp_path, "ingest"):
        assert len(list(Paths(tmp_path).run_locks.iterdir())) == 1
    assert list(Paths(tmp_path).run_locks.iterdir()) == []


def test_a_run_that_ends_while_it_is_looked_at_was_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as running:
        running.enter_context(recorded(tmp_path, "ingest"))
        held = runs.is_held

        def ends_before(lock: Path) -> bool:
            running.close()
            return held(lock)

        monkeypatch.setattr(runs, "is_held", ends_before)
        assert latest(tmp_path)["ingest"].outcome == "done"


def test_a_program_that_goes_on_for_a_killed_run_is_at_work(tmp_path: Path) -> None:
    """As a training whose parent was killed."""
    child = os.fork()
    if child == 0:
        with recorded(tmp_path, "train") as run:
            assert run.lock is not None
            program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[run.lock])
            (tmp_path / "pid").write_text(str(program.pid))
            os._exit(1)
    os.waitpid(child, 0)
    assert latest(tmp_path)["train"].outcome == "running"
    program = int((tmp_path / "pid").read_text())
    os.kill(program, signal.SIGKILL)
    limit = time.monotonic() + 60
    while latest(tmp_path)["train"].outcome == "running" and time.monotonic() < limit:
        time.sleep(0.05)
    assert latest(tmp_path)["train"].outcome == "killed"


def test_a_stage_of_the_model_hands_its_lock_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path, only=["mp-30"])
    handles: list[int] = []

    def program(command: list[str], *, pass_fds: list[int], **_: Any) -> subprocess.CompletedProcess[str]:
        handles.extend(pass_fds)
        (lock,) = Paths(root).run_locks.iterdir()
        assert os.path.samestat(os.fstat(pass_fds[0]), lock.stat())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(stages.subprocess, "run", program)
    stages.run_model("evaluate", root)
    assert len(handles) == 1


def test_a_damaged_line_costs_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recorded(tmp_path, "ingest"):
        pass
    path = Paths(tmp_path).runs
    whole = path.read_text()
    path.write_text(whole + whole[:40] + "\n")
    assert [run.outcome for run in history(tmp_path)] == ["done"]
    assert "line 6 is damaged and left out" in capsys.readouterr().err


def cut_to(root: Path, size: int) -> None:
    """The record as it was, its last line cut to so many bytes."""
    path = Paths(root).runs
    *whole, last = path.read_bytes().rstrip(b"\n").split(b"\n")
    path.write_bytes(b"\n".join([*whole, last[:size]]))


@pytest.mark.parametrize("fails", [False, True])
def test_a_last_line_that_is_cut_off_is_of_no_killed_run(tmp_path: Path, fails: bool) -> None:
    with contextlib.suppress(UserError), recorded(tmp_path, "ingest") as run:
        run.counts = {"wanted": 3}
        if fails:
            raise UserError("no")
    path, outcome = Paths(tmp_path).runs, "failed" if fails else "done"
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").split(b"\n")[-1]
    said = []
    for size in range(len(last)):
        path.write_bytes(whole)
        cut_to(tmp_path, size)
        said.append(latest(tmp_path)["ingest"].outcome)
    named = last.index(outcome.encode()) + len(outcome) + 1
    assert said == ["killed"] * 16 + ["ended"] * (named - 16) + [outcome] * (len(last) - named)
    assert latest(tmp_path)["ingest"].note == "the end of its record is cut off"


def test_what_follows_a_cut_line_is_read(tmp_path: Path) -> None:
    with recorded(tmp_path, "ingest"):
        pass
    cut_to(tmp_path, 57)
    with recorded(tmp_path, "split"):
        pass
    assert [(run.stage, run.outcome) for run in history(tmp_path)] == [("ingest", "ended"), ("split", "done")]


ODD = [b"[1, 2]", b"3", b"null", b'"x"', b"{}", b'{"id": 3}', b'{"id": ["a"], "stage": "x"}', b"[" * 100_000,
       b"\0" * 50,
       b"\xff\xfe", b'{"id": "a", "stage": "x", "started": 5, "pid": 1, "host": "h"}', b"9" * 10_000,
       b'{"id": "a", "stage": "x", "started": "s", "pid": 1, "host": "h", "counts": [1]}', b'{"id": "' + b"a" * 100_000]


@pytest.mark.parametrize("line", ODD, ids=range(len(ODD)))
def test_an_odd_line_costs_itself(tmp_path: Path, line: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with recorded(tmp_path, "ingest"):
        pass
    path = Paths(tmp_path).runs
    path.write_bytes(line + path.read_bytes() + line)
    assert [run.outcome for run in history(tmp_path)] == ["done"]
    assert "line 1 is damaged and left out" in capsys.readouterr().err


def test_of_a_very_long_record_the_last_runs_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("ingest", "describe", "split"):
        with recorded(tmp_path, stage):
            pass
    path = Paths(tmp_path).runs
    monkeypatch.setattr(runs, "MOST", len(path.read_bytes()) // 2)
    path.write_bytes(path.read_bytes() + b"odd")
    assert [run.stage for run in history(tmp_path)] == ["split"]
    assert runs._count_lines(path.open("rb"), 10**6) == 12


@pytest.mark.parametrize("said", ["a\u2028b", "caf\udce9.cif"])  # breaks a line for Python; of a name that is no UTF-8
def test_any_reason_can_be_recorded(tmp_path: Path, said: str) -> None:
    with pytest.raises(UserError), recorded(tmp_path, "ingest"):
        raise UserError(said)
    assert latest(tmp_path)["ingest"].note == " ".join(said.split())


def test_a_record_that_cannot_be_finished_fails_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with recorded(tmp_path, "ingest"):
        monkeypatch.setattr(runs, "_append", full)
    assert "cannot be written (No space left on device): it will not say that this run of 'ingest' was done" in \
        capsys.readouterr().err


def test_status_says_which_run_made_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_project(tmp_path, only=["mp-30", "mp-149"])

    def told() -> str:
        command.status(root)
        (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ingest")]
        return row

    for stage in ("ingest", "split"):
        stages.run(stage, root, "serial")
    assert "of this run" in told()
    first = runs.latest(root)["ingest"].started[:19].replace("T", " ")
    with pytest.raises(UserError), recorded(root, "ingest"):
        raise UserError("the source is away")
    assert f"of the run of {first}" in told()
    table = Paths(root).table("materials") / "part-00000.parquet"
    table.write_bytes(Paths(root).table("splits").joinpath("part-00000.parquet").read_bytes())
    assert "of no run that is recorded here" in told()
    shutil.rmtree(table.parent)
    assert "of " not in told()


def test_counts_of_an_older_version_are_not_shown_as_a_sum(tmp_path: Path) -> None:
    """It counted rejects among the computed ones, too."""
    old, new = (runs.Run("a", "ingest", "2026-01-01T00:00:00", 1, "h", counts={
        "wanted": 9, "reused": 2, "computed": computed, "rejected": 3}) for computed in (7, 4))
    assert command._told(old)[2:6] == ("9", "", "", "3")
    assert command._told(new)[2:6] == ("9", "4", "2", "3")


def test_a_folder_that_is_no_project_gets_no_record(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml does not exist"):
        stages.run("ingest", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_stages_are_recorded(tmp_path: Path) -> None:
    root = make_project(tmp_path, only=["mp-30", "mp-149"])
    report = stages.run("ingest", root, "serial")
    assert runs.latest(root)["ingest"].counts == {"wanted": 2, "reused": 0, "computed": 2, "rejected": 0,
                                                  "digest": report.digest}
