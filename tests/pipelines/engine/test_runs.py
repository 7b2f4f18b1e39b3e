"""The record of what runs did."""

import os
from pathlib import Path

import pytest

from features.errors import UserError
from features.paths import Paths
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


def test_a_process_that_began_later_is_another_one(tmp_path: Path) -> None:
    with recorded(tmp_path, "describe") as run:
        path = Paths(tmp_path).runs
        path.write_text(path.read_text().replace(run.started, "2026-01-02T03:04:05+00:00"))
        assert latest(tmp_path)["describe"].outcome == "killed"


def test_a_damaged_line_costs_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recorded(tmp_path, "ingest"):
        pass
    path = Paths(tmp_path).runs
    whole = path.read_text()
    path.write_text(whole + whole[:40] + "\n")
    assert [run.outcome for run in history(tmp_path)] == ["done"]
    assert "line 6 is damaged and left out" in capsys.readouterr().err


def test_a_folder_that_is_no_project_gets_no_record(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml does not exist"):
        stages.run("ingest", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_stages_are_recorded(tmp_path: Path) -> None:
    root = make_project(tmp_path, only=["mp-30", "mp-149"])
    report = stages.run("ingest", root, "serial")
    assert runs.latest(root)["ingest"].counts == {"wanted": 2, "reused": 0, "computed": 2, "rejected": 0,
                                                  "digest": report.digest}
