"""Trees on texts: what is kept of them predicts as scikit-learn does, and they take part in a model like a network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from pydantic import ValidationError

from features.paths import Paths
from features.store import tables
from model import checkpoint
from model.evaluation import stage as evaluation
from model.explain import explain_stage
from model.input.words import Words
from model.nets.ensemble import Ensemble
from model.nets.text_facts import SIZE
from model.nets.trees import TextTrees
from model.params import TrainParams, TreesParams
from model.training import train, trees
from model.training.boosting import boosted
from pipelines.engine import stages
from tests.conftest import CRYSTALS, set_params
from tests.features.texts import MOS2, SRTIO3
from tests.model.nets.test_words import row
from tests.model.small import SMALL, predicted

PARAMS = TreesParams(trees=30)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, SIZE))
Y = np.where(X[:, 3] > 0, X[:, 5], -2 * X[:, 140]) + RNG.normal(0, 0.1, 200)


def grown(outliers: float = 0.0) -> tuple[object, int, TextTrees]:
    y = Y.copy()
    y[:10] += outliers
    model, count = boosted(X[:150], y[:150], (X[150:], y[150:]), PARAMS, 0)
    return model, count, trees.kept(model, count, PARAMS)


@pytest.mark.parametrize(("outliers", "loss"), [(0.0, "squared_error"), (500.0, "absolute_error")])
def test_what_is_kept_predicts_as_they_did(outliers: float, loss: str) -> None:
    model, count, net = grown(outliers)
    assert model.loss == loss  # type: ignore[attr-defined]
    expected = list(model.staged_predict(X))[count - 1]  # type: ignore[attr-defined]
    np.testing.assert_allclose(net.predict(torch.from_numpy(X)).numpy(), expected, rtol=0, atol=1e-9)
    again = TextTrees(PARAMS)
    again.load_state_dict(safetensors.torch.load(safetensors.torch.save(net.state_dict())))
    assert torch.equal(again.predict(torch.from_numpy(X)), net.predict(torch.from_numpy(X)))


def test_the_validation_crystals_choose_how_many() -> None:
    model, count, _ = grown()
    errors = [np.abs(values - Y[150:]).mean() for values in model.staged_predict(X[150:])]  # type: ignore[attr-defined]
    assert errors[count - 1] == min(errors)


def test_a_hidden_sentence_is_not_read_and_a_missing_text_predicts_nothing() -> None:
    x = RNG.uniform(0, 12, (200, SIZE))  # what is learned is the number of sentences, the last statistic
    model, count = boosted(x[:150], x[:150, -1], (x[150:], x[150:, -1]), PARAMS, 0)
    net = trees.kept(model, count, PARAMS)
    texts = Words.of([row(MOS2), row(SRTIO3)]).batch(np.array([0, 1, -1]))
    whole = net.text_branch(texts)
    assert whole.mask.squeeze(1).tolist() == [True, True, False]
    hidden = torch.zeros_like(texts.mask)
    hidden[0, 0] = True
    part = net.text_branch(texts, hidden)
    assert part.values[0] < whole.values[0]
    assert torch.equal(part.values[1], whole.values[1])
    prediction = net.fuse(whole, whole)
    assert prediction.fused.isfinite().tolist() == [True, True, False]
    assert not prediction.structure.isfinite().any()
    assert not net.text_branch(texts, texts.mask).present.any()


def test_they_count_beside_networks_by_their_weight() -> None:
    section = {"members": {"fused": 0, "structure": 1, "text": 1, "trees": 1}, "text": "words",
               "crystalformer": {"dim": 16, "heads": 2, "layers": 1}, "words": {"dim": 16, "heads": 2},
               "trees": {"trees": 30}}
    model = Ensemble(TrainParams.model_validate(section), 1).eval()
    _, _, model.nets[2] = grown()
    model.weights.copy_(torch.tensor([0.0, 0.0, 0.25, 0.75]))
    texts = Words.of([row(MOS2)]).batch(np.array([0]))
    words = model.text_tokens(texts)
    atoms = [words[2], words[2], words[2]]
    atoms[:2] = [type(one)(torch.zeros(1, 1, 16), torch.ones(1, 1, dtype=torch.bool)) for one in atoms[:2]]
    together = model.fuse(atoms, words)
    text = model.networks()[1].fuse(atoms[1], words[1]).fused
    torch.testing.assert_close(together.fused, 0.25 * text + 0.75 * words[2].values[:, 0, 0])
    torch.testing.assert_close(together.text, together.fused)


def test_trees_need_words() -> None:
    with pytest.raises(ValidationError, match=r"members\.trees read words and numbers: set text to words"):
        TrainParams.model_validate({"members": {"trees": 1}})


def test_a_model_with_trees_goes_through_all_stages(project: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(project, tmp_path / "project"))
    stages.run("tokenize", root, "serial")
    set_params(root, train={**SMALL, "epochs": 1, "text": "words", "trees": {"trees": 20, "leaf": 1},
                            "members": {"fused": 0, "structure": 1, "trees": 2}})
    train.train(root)
    model = checkpoint.load(root)
    assert model.net.kinds == ["structure", "trees", "trees"]
    assert [weight > 0 for weight in model.net.weights.tolist()][::2] == [False, False]
    model.net.weights.copy_(torch.tensor([0.0, 0.5, 0.0, 0.5]))
    checkpoint.save(root, model.net, model.config, {name: model.companion(name) for name in model.config.companions})
    evaluation.evaluate(root)
    scores = json.loads((Paths(root).results / "metrics.json").read_text())
    assert {"mae", "mae_structure_networks", "mae_text_readers", "mae_shuffled_text"} <= set(scores["test"])
    assert scores["networks"] == {"structure": 1, "trees": 2}
    explain_stage(root)
    rows = tables.read(root, "attributions").to_pylist()
    assert any(row["effect"] != 0 for row in rows if row["method"] == "replacement" and row["kind"] == "token")
    assert all(row["effect"] == 0 for row in rows if row["method"] == "gradients" and row["kind"] == "token")
    (result,) = predicted(checkpoint.load(root), [CRYSTALS / "mp-149.cif"])
    assert result.value is not None
    assert result.text_only is not None
