"""Cells are run once, again where something that decides them has changed, and checked."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from features.errors import UserError
from model.experiments import cell as cells
from model.experiments import check, fingerprints
from model.experiments.cell import Bench
from model.experiments.matrix import Cell
from model.experiments.reports import Report
from model.experiments.results import Finished, Results
from model.experiments.run import accept, alone, pending, run
from pipelines.engine import stages
from tests.conftest import set_params
from tests.model.experiments.tiny import CONTENT, matrix
from tests.model.test_identity import change_footers


@pytest.fixture(scope="module")
def finished(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """All cells of the tiny matrix."""
    root = Path(shutil.copytree(project, tmp_path_factory.mktemp("experiments") / "project"))
    set_params(root, split={"folds": 3})
    stages.run("split", root, "serial")
    on = Bench(root, matrix(folds=3), "abc")
    done = run(on)
    assert (done.finished, done.failed, done.left) == (27, 0, 0)
    Report.of(root, on.matrix).write(root, on.matrix)
    return on


@pytest.fixture
def copied(finished: Bench, tmp_path: Path) -> Bench:
    """The same, to be changed."""
    cells.forget()
    return replace(finished, root=Path(shutil.copytree(finished.root, tmp_path / "project")))


def test_a_finished_cell_is_not_run_again(finished: Bench) -> None:
    before = {path.name: path.read_bytes() for path in Results(finished.root).folder.glob("*.parquet")}
    assert len(before) == 6
    assert run(finished).finished == 0
    assert {path.name: path.read_bytes() for path in Results(finished.root).folder.glob("*.parquet")} == before


def test_a_changed_parameter_runs_its_arm_again(finished: Bench) -> None:
    arms = {**CONTENT["arms"], "fused": {**CONTENT["arms"]["fused"], "train": {"fusion": "gated", "epochs": 2}}}
    changed = replace(finished, matrix=matrix(folds=3, arms=arms))
    assert {cell.arm for cell in pending(changed)} == {"fused"}
    more = replace(finished, matrix=matrix(folds=3, seeds=3))
    assert {(cell.arm, cell.seed) for cell in pending(more)} == {("dedicated", 2), ("fused", 2)}


def test_a_changed_table_runs_those_again_that_read_it(copied: Bench) -> None:
    change_footers(copied.root, "text_embeddings", inputs_digest="other")
    assert {cell.arm for cell in pending(copied)} == {"fused"}
    cells.forget()
    change_footers(copied.root, "structures", inputs_digest="other")
    assert {cell.arm for cell in pending(copied)} == {"dedicated", "fused", "ridge_words"}


def test_changed_code_runs_cells_again_unless_one_comes_out_the_same(
        copied: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    only = ["arm=ridge_words", "control=none"]
    monkeypatch.setattr(fingerprints, "code_of", lambda _arm: "0" * 12)
    assert len(pending(copied, only)) == 3
    assert accept(copied, only) == (3, [])
    assert pending(copied, only) == {}
    monkeypatch.setattr(fingerprints, "code_of", lambda _arm: "1" * 12)
    monkeypatch.setattr("model.experiments.baselines.PENALTIES", (1000.0,))
    taken, (differing,) = accept(copied, only)
    assert taken == 0
    assert "ridge_words none seed 0 fold 0 comes out otherwise" in differing
    assert len(pending(copied, only)) == 3


def test_comments_and_docstrings_are_not_code(tmp_path: Path) -> None:
    texts = ['"""Old."""\ndef f():\n    """Old."""\n    return 1  # old\n', '"""New."""\ndef f():\n    return 1\n',
             "def f():\n    return 2\n"]
    meanings = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.py"
        path.write_text(text)
        meanings.append(fingerprints._meaning(path))
    assert meanings[0] == meanings[1] != meanings[2]


def test_predictions_are_out_of_fold_and_whole(finished: Bench) -> None:
    population = Results(finished.root).population("tiny", "k_vrh")
    for path in Results(finished.root).folder.glob("*.parquet"):
        rows = pq.read_table(path).to_pylist()
        for seed in {row["seed"] for row in rows}:
            mine = [row for row in rows if row["seed"] == seed]
            assert sorted(i for row in mine for i in row["material_id"]) == population.ids
            asked = [{part: population.asked(part, row["fold"], 0.3) for part in ("test", "validation")}
                     for row in mine]
            assert [row["material_id"] for row in mine] == [one["test"] for one in asked]
            assert [len(row["validated"]) for row in mine] == [len(one["validation"]) for one in asked]
        assert all(np.isfinite(row["predicted"]).all() for row in rows)


def test_wrong_text_changes_what_reads_it(finished: Bench) -> None:
    one = {(f.cell.arm, f.cell.control): f.predicted for f in Results(finished.root).all()
           if (f.cell.seed, f.cell.fold) == (0, 0)}
    # a fusion begins at the structure: after one epoch the text's part is small
    assert not np.array_equal(one["fused", "none"], one["fused", "shuffled_text"])
    assert not np.allclose(one["ridge_words", "none"], one["ridge_words", "shuffled_text"])


def test_a_data_set_without_tables_is_left_out_and_said(
        copied: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    other = {"targets": ["k_vrh"], "params": {"ingest": {"dataset": "dielectric"}}}
    few = {"of": "other", "crystals": 20, "targets": ["k_vrh"]}
    sets = {"tiny": {"targets": ["k_vrh"]}, "other": other, "few": few}
    on = replace(copied, matrix=matrix(folds=3, datasets=sets))
    assert {cell.dataset for cell in pending(on)} == {cell.dataset for cell in pending(copied)}
    assert capsys.readouterr().err.count("data set other has no tables yet") == 1
    with pytest.raises(UserError, match="data set other has no tables yet"):
        pending(on, ["dataset=other"])


def test_several_processes_give_the_same_bytes(finished: Bench, tmp_path: Path) -> None:
    other = replace(finished, root=Path(shutil.copytree(
        finished.root, tmp_path / "project", ignore=shutil.ignore_patterns("docs"))))
    only = ["arm=dedicated", "seed=0", "fold=0,fold=1"]
    assert run(other, workers=2, only=only).finished == 2
    mine = {one.cell: one.predicted.tobytes() for one in Results(finished.root).all()}
    assert all(mine[one.cell] == one.predicted.tobytes() for one in Results(other.root).all())


def test_time_that_is_up_and_cells_that_cannot_be_run(copied: Bench) -> None:
    shutil.rmtree(Results(copied.root).folder)
    assert run(copied, minutes=0).finished == 0
    diverging = {"learning_rate": 100.0, "weight_decay": 1.0, "epochs": 12, "warmup_steps": 0}
    arms = {"dedicated": {"kind": "network", "train": {"fusion": "structure_only", **diverging}},
            "ridge_words": {"kind": "ridge_words", "seeds": 1}}
    bad = replace(copied, matrix=matrix(folds=3, arms=arms, mixtures={}))
    done = run(bad, only=["seed=0", "fold=0"])
    assert (done.finished, done.failed) == (1, 1)  # one diverges, the other is run all the same


def test_a_killed_run_loses_only_the_cell_that_it_was_at(copied: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(Results(copied.root).folder)
    only, real = ["arm=ridge_words", "control=none"], cells.run

    def killed(on: Bench, cell: Cell, fingerprint: str | None = None) -> Finished:
        if cell.fold == 2:
            raise KeyboardInterrupt
        return real(on, cell, fingerprint)

    monkeypatch.setattr(cells, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        run(copied, only=only)
    assert [cell.fold for cell in pending(copied, only)] == [2]
    monkeypatch.setattr(cells, "run", real)
    assert run(copied, only=only).finished == 1


def test_two_runs_do_not_write_at_once(finished: Bench) -> None:
    with alone(finished.root), pytest.raises(UserError, match="being run here already"):
        run(finished)


def test_check_finds_all_well(finished: Bench) -> None:
    check.check(finished, np.random.default_rng(0))


def test_check_catches_a_tampered_prediction(copied: Bench) -> None:
    results = Results(copied.root)
    path = results.path(Cell("tiny", "k_vrh", "ridge_words", "none", 0, 0))
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["predicted"][0] += 0.001
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)
    with pytest.raises(UserError, match="are not those that were stored"):
        check.check(copied)


def test_check_catches_predictions_that_the_cell_does_not_make(copied: Bench) -> None:
    results = Results(copied.root)
    for path in results.folder.glob("*.parquet"):
        results.write(path, [replace(one, predicted=one.predicted + np.float32(0.01)) for one in results.read(path)])
    with pytest.raises(UserError, match="is not what the stored predictions say"):
        check.check(copied)
    Report.of(copied.root, copied.matrix).write(copied.root, copied.matrix)
    with pytest.raises(UserError, match=r"run again, predicts otherwise, by up to 0\.01"):
        check.check(copied)


def test_one_rerun_answers_for_all_targets_of_an_arm(copied: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only code has changed; of changed tables each target is asked, for nobody knows that they were the same."""
    two = {"k_vrh": {"transform": "log10"}, "g_vrh": {"transform": "log10"}}
    on = replace(copied, matrix=matrix(folds=3, targets=two, datasets={"tiny": {"targets": list(two)}}))
    only, real, again = ["arm=ridge_words"], cells.run, []
    run(on, only=only)

    def counted(on: Bench, cell: Cell, fingerprint: str | None = None) -> Finished:
        again.append((cell.target, cell.control))
        return real(on, cell, fingerprint)

    monkeypatch.setattr(cells, "run", counted)
    monkeypatch.setattr(fingerprints, "code_of", lambda _arm: "0" * 12)
    assert accept(on, only) == (18, [])
    assert sorted(control for _, control in again) == ["formula", "none", "shuffled_text"]
    again.clear()
    cells.forget()
    change_footers(on.root, "structures", inputs_digest="other")
    assert accept(on, only) == (18, [])
    assert sorted(again) == [(target, control) for target in ("g_vrh", "k_vrh")
                             for control in ("formula", "none", "shuffled_text")]
    assert pending(on, only) == {}
