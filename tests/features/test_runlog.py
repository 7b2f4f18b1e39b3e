"""The log of a run: lines that programs read, bounded, and never the reason of a failure; and what a terminal shows."""

import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from features import progress, runlog
from features.errors import UserError
from features.paths import Paths
from features.progress import conclude, detail, say
from model.__main__ import app as model_app
from pipelines.__main__ import app
from pipelines.engine import runs, stages
from tests.conftest import make_project

SUMMARY = re.compile(r"materials: 3 wanted = 2 computed \+ 0 reused \+ 1 rejected, in [\d.]+ s\n")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A project with two crystals and a broken one."""
    root = make_project(tmp_path, only=["mp-30", "mp-149"])
    (root / "data" / "input" / "broken.cif").write_text("data_x\n_cell_length_a 3\n")
    yield root
    progress.show()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def log_of(root: Path) -> list[dict[str, Any]]:
    (path,) = Paths(root).logs.iterdir()
    return lines(path)


def command(*arguments: str) -> None:
    app(list(arguments), standalone_mode=False)


def test_a_stage_leaves_its_log(root: Path) -> None:
    stages.run("ingest", root, "serial")
    said = log_of(root)
    (run,) = runs.history(root)
    assert {(line["run"], line["stage"]) for line in said} == {(run.id, "ingest")}
    assert [line["time"] for line in said] == sorted(line["time"] for line in said)
    assert said[0]["message"] == "begins"
    assert re.fullmatch(r"ends after [\d.]+ s", said[-1]["message"])
    (reject,) = [line for line in said if "row" in line]
    assert (reject["row"], reject["level"]) == ("broken", "debug")
    assert reject["message"].startswith("ingest: broken is rejected, ")


def test_a_failure_stands_in_it_and_is_raised(root: Path) -> None:
    with pytest.raises(UserError, match="slurm"):
        stages.run("ingest", root, "slurm")
    last = log_of(root)[-1]
    assert (last["level"], last["message"][:25]) == ("error", "UserError: no executor 's")


def test_the_last_files_stay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlog, "KEEP", 3)
    for number in range(5):
        with runlog.logged(root, f"stage{number}"):
            say(str(number))
    assert {line["stage"] for path in Paths(root).logs.iterdir() for line in lines(path)} == {
        "stage2", "stage3", "stage4"}


def test_a_file_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlog, "LIMIT", 2000)
    with runlog.logged(root, "describe"):
        for number in range(1000):
            detail(f"row {number}", str(number))
        conclude("the end")
    (path,) = Paths(root).logs.iterdir()
    assert path.stat().st_size < 2500
    assert [line["message"] for line in lines(path)][-1] == "the end"


@pytest.mark.parametrize("where", ["open", "write"])
def test_a_log_that_cannot_be_written_costs_one_line(root: Path, where: str, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runlog, "os", SimpleNamespace(**{**vars(os), where: full}))
    report = stages.run("ingest", root, "serial")
    assert report.computed == 2
    assert [line for line in capsys.readouterr().err.splitlines() if "log" in line] == [
        "the log of this run cannot be written (No space left on device); the run goes on without it"]


def test_who_works_for_a_run_writes_into_its_log(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with runlog.logged(root, "train", "a" * 32):
        monkeypatch.setenv(runlog.RUN, runlog.environment()[runlog.RUN])
        with runlog.logged(root, "train"):  # as in the process of `python -m model train`
            pass
    assert {line["run"] for line in log_of(root)} == {"a" * 32}
    monkeypatch.setenv(runlog.RUN, "../../elsewhere.jsonl")
    with runlog.logged(root, "evaluate"):
        pass
    assert len(list(Paths(root).logs.iterdir())) == 2
    assert not list(root.glob("*.jsonl"))


def test_no_project_no_log(tmp_path: Path) -> None:
    with runlog.logged(tmp_path / "nowhere", "train"):
        say("something")
    assert not list(tmp_path.iterdir())


def test_quiet_shows_the_summary_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("ingest", "--root", str(root), "--quiet")
    assert SUMMARY.fullmatch(capsys.readouterr().err)


def test_verbose_shows_batches_and_rejects(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("ingest", "--root", str(root), "--verbose", "--executor", "serial")
    said = capsys.readouterr().err
    assert "ingest: broken is rejected, " in said
    assert "ingest: 3 of 3 rows\n" in said
    assert SUMMARY.search(said)


def test_the_environment_says_the_same(root: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(progress.QUIET, "1")
    (root / "data" / "input" / "properties.csv").write_text("material_id,k_vrh,remark\nmp-30,1,a\nmp-149,2,b\n")
    command("ingest", "--root", str(root))
    assert SUMMARY.fullmatch(capsys.readouterr().err)
    monkeypatch.delenv(progress.QUIET)
    command("ingest", "--root", str(root))
    assert "column 'remark'" in capsys.readouterr().err


def test_not_both(root: Path) -> None:
    with pytest.raises(UserError, match="exclude each other"):
        command("ingest", "--root", str(root), "--quiet", "--verbose")


@pytest.mark.parametrize("stage", ["train", "evaluate", "explain"])
def test_stages_of_the_model_have_a_log(root: Path, stage: str) -> None:
    """They cannot begin here, which is their last line."""
    with pytest.raises(UserError):
        model_app([stage, "--root", str(root), "--quiet"], standalone_mode=False)
    said = log_of(root)
    assert {line["stage"] for line in said} == {stage}
    assert said[-1]["message"].startswith("UserError: ")
