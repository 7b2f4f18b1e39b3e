"""Crystals without text, before a model that was trained with `drop_text` 0, and the error without any text."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from features.errors import UserError
from features.paths import Paths
from features.store import tables
from model import checkpoint
from model.evaluation import stage as evaluation
from model.evaluation.metrics import predict_all
from model.explain import explain_stage
from model.forward import load_splits
from model.params import TrainParams
from model.training import fit, train
from tests.conftest import CRYSTALS, set_params
from tests.model.small import SMALL, described, no_text, predicted, small_project

NEVER_DROPPED = {**SMALL, "epochs": 1, "masking": {"drop_text": 0.0}}


def test_the_structure_branch_predicts_where_text_is_missing(
        project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mp-30 has no text in the tables; mp-149 has none before `predict`."""
    root = Path(shutil.copytree(project, tmp_path / "project"))
    set_params(root, train=NEVER_DROPPED)
    train.train(root)
    evaluation.evaluate(root)
    (row,) = tables.read(root, "predictions", ids=["mp-30"]).to_pylist()
    assert row["y_fused"] == row["y_structure_only"]
    scores = json.loads((Paths(root).results / "metrics.json").read_text())["test"]
    assert scores["mae_no_text"] == pytest.approx(scores["mae_own_structure_branch"])
    described(monkeypatch, no_text)
    (result,) = predicted(checkpoint.load(root), [CRYSTALS / "mp-149.cif"])
    assert result.value == result.structure_only
    assert "predicted from the structure alone" in str(result.warnings)


def test_a_model_that_cannot_predict_without_text_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_project(tmp_path, train={**NEVER_DROPPED, "loss": {"structure": 0.0}})
    train.train(root)
    evaluation.evaluate(root)
    explain_stage(root)  # nothing is left out of a text for good, so all is predicted
    effects = tables.read(root, "attributions").to_pylist()
    assert {row["label"] for row in effects if row["kind"] == "modality"} == {"structure", "text"}
    assert all(np.isfinite(row["effect"]) for row in effects)
    described(monkeypatch, no_text)
    (result,) = predicted(checkpoint.load(root), [CRYSTALS / "mp-149.cif"])
    assert result.value is None
    assert "no branch of the model has learned to predict without one" in str(result.error)


@pytest.mark.parametrize(("params", "cause"), [
    (NEVER_DROPPED, r"train\.masking\.drop_text 0"),
    ({**SMALL, "fusion": "text_only"}, r"train\.fusion text_only"),
])
def test_training_refuses_crystals_without_text(project: Path, params: dict[str, Any], cause: str) -> None:
    with pytest.raises(UserError, match=rf"1 crystals have no text, and with {cause} and train\.loss\.structure 0"):
        load_splits(project, TrainParams.model_validate({**params, "loss": {"structure": 0.0}}))


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_reader_of_the_text_learns_from_crystals_that_have_one(project: Path, part: str) -> None:
    """One crystal of the part has none; structure networks beside it take it as it is."""
    params = TrainParams.model_validate({**SMALL, "epochs": 1, "members": {"fused": 0, "structure": 1, "text": 1}})
    splits = load_splits(project, params)
    splits[part].n_texts = np.where(np.arange(len(splits[part])) == 0, 0, splits[part].n_texts)
    _, reader = params.networks()[1]
    fitted = fit.fit(reader, splits, torch.device("cpu"), quiet=True)
    assert np.isfinite([*fitted.history[0].values()]).all()
    splits[part].n_texts[:] = 0
    with pytest.raises(UserError, match=f"no crystal of the split '{part}' has a text"):
        fit.fit(reader, splits, torch.device("cpu"), quiet=True)


def test_readers_alone_refuse_crystals_without_text(project: Path) -> None:
    with pytest.raises(UserError, match=r"all members of the model read the text alone: set train\.members\.structure"):
        load_splits(project, TrainParams.model_validate({**SMALL, "members": {"fused": 0, "text": 1}}))


def test_the_error_without_text_is_that_of_an_empty_table(project: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(project, tmp_path / "project"))
    set_params(root, train={**SMALL, "epochs": 1})
    train.train(root)
    evaluation.evaluate(root)
    written = json.loads((Paths(root).results / "metrics.json").read_text())["test"]
    trained = checkpoint.load(root)
    test = load_splits(root, trained.params)["test"]
    test.n_texts = np.zeros_like(test.n_texts)
    assert written["mae_no_text"] == pytest.approx(np.abs(predict_all(trained, test)["fused"] - test.targets).mean())
    assert written["mae_no_text"] != pytest.approx(written["mae"])
