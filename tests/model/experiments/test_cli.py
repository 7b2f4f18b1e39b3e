"""`python -m model.experiments`, as it is typed."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from features.errors import UserError
from model.experiments import __main__ as cli
from model.experiments.summary import COLUMNS
from tests.model.experiments.tiny import CONTENT

REPO = Path(__file__).parents[3]


@pytest.fixture
def root(project: Path, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(project, tmp_path / "project"))
    small = {"arms": {"ridge_words": {"kind": "ridge_words", "seeds": 1}}, "mixtures": {},
             "reference": "ridge_words", "headline": "ridge_words"}
    (root / "matrix.yaml").write_text(yaml.safe_dump({**CONTENT, **small}))
    return root


def call(*arguments: str) -> None:
    cli.app(list(arguments), standalone_mode=False)


def test_run_report_check(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--root", str(root), "--matrix", str(root / "matrix.yaml"))
    with pytest.raises(UserError, match="no experiment has been run here"):
        call("report", *where)
    with pytest.raises(UserError, match="no experiment has been run here"):
        call("--check", *where)
    call("run", *where)
    assert "5 cells finished, 0 left" in capsys.readouterr().err
    with pytest.raises(UserError, match="is not what the stored predictions say"):
        call("--check", *where)
    call("report", *where)
    assert "ridge_words" in capsys.readouterr().out
    with (root / "docs" / "experiments.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == COLUMNS
    assert (row["members"], row["seeds"], row["folds"], row["minus_dedicated"]) == ("1", "1", "5", "")
    call("--check", *where)
    assert "comes out the same, to the last bit" in capsys.readouterr().err
    call("compare", "ridge_words", "ridge_words", *where)
    assert capsys.readouterr().out.split()[-5:] == ["tiny", "k_vrh", "0.0000", "0.0000", "0.0000"]
    with pytest.raises(UserError, match="there are too few cells for any target"):
        call("compare", "ridge_words", "ridge_words", "--members", "2", *where)
    call("accept", *where)
    assert "0 cells taken over" in capsys.readouterr().err


def test_a_mistake_is_one_line_and_exit_code_2(root: Path) -> None:
    for arguments, said in (([], "say what to do: run, report, compare, accept, prepare, or --check"),
                            (["run", "--matrix", "none.yaml"], "none.yaml does not exist")):
        done = subprocess.run([sys.executable, "-m", "model.experiments", *arguments], cwd=REPO, capture_output=True,
                              text=True, check=False)
        assert (done.returncode, done.stderr) == (2, f"error: {said}\n")
