"""Further targets, learned together with the target: by every branch and arm, in every way to train."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from features.paths import Paths
from features.store import tables
from model import checkpoint
from model.evaluation import stage as evaluation
from model.forward import load_splits
from model.nets.network import MultimodalNet, draw_hidden
from model.params import TrainParams
from model.training import fit, train
from tests.conftest import set_params
from tests.model.small import ONLY_G, SMALL, with_missing_labels

QUIET = {"atoms": 0.0, "sentences": 0.0, "drop_structure": 0.0, "drop_text": 0.0}
ALONE = {"loss": {"structure": 0.0, "text": 0.0}, "masking": {"drop_structure": 0.0, "drop_text": 0.0}}
BOTH = {"g_vrh": "log10"}


@pytest.fixture(scope="module")
def sparse(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_missing_labels(project, tmp_path_factory.mktemp("sparse") / "p")


def a_run(root: Path, net: MultimodalNet | None = None, **changes: Any) -> fit._Run:
    params = TrainParams.model_validate({**SMALL, "masking": QUIET, "paraphrases": False, "also": BOTH, **changes})
    splits = load_splits(root, params)
    torch.manual_seed(0)
    net = MultimodalNet(params, splits["train"].text_dim) if net is None else copy.deepcopy(net)
    return fit._Run(net, params, splits, 2.0, 0.4, torch.device("cpu"))


@pytest.mark.parametrize(("section", "body"), [
    ({"fusion": "structure_only", **ALONE}, "encoder"),
    ({"fusion": "text_only", **ALONE, "members": {"structure": 1}}, "text_branch"),
    ({"fusion": "gated"}, "encoder"),
    ({"fusion": "cross_attention", "gradients": "apart"}, "encoder"),
])
def test_an_arm_learns_from_crystals_that_have_a_further_target_alone(sparse: Path, section: dict[str, Any],
                                                                      body: str) -> None:
    """A step of such crystals moves head and encoder; without weight it moves nothing."""
    for weight, moves in ((1.0, True), (0.0, False)):
        run = a_run(sparse, **{**section, "loss": {**section.get("loss", {}), "also": weight}, "weight_decay": 0.0})
        training = run.training
        rows = np.array([training.ids.index(i) for i in ONLY_G[:3]])
        assert np.isnan(training.targets[rows]).all()
        before = copy.deepcopy(run.net.state_dict())
        run._step(list(training.batches([rows])))
        after = run.net.state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert ("head_fused.2.weight" in moved, any(name.startswith(body) for name in moved)) == (moves, moves)
        assert moves or not moved
        assert all(bool(torch.isfinite(value).all()) for value in after.values())


def test_further_targets_are_counted_in_their_own_deviations(sparse: Path) -> None:
    run = a_run(sparse)
    g = run.training.labels[:, 1]
    there = g[~np.isnan(g)]
    assert len(there) < len(g)
    assert run.means.tolist() == pytest.approx([2.0, there.mean()])
    assert run.stds.tolist() == pytest.approx([0.4, there.std()])
    fitted = fit.fit(run.params.model_copy(update={"epochs": 1}), load_splits(sparse, run.params),
                     torch.device("cpu"), quiet=True)
    k = run.training.targets[~np.isnan(run.training.targets)]
    assert (fitted.mean, fitted.std) == pytest.approx((k.mean(), k.std()))


def test_two_batches_of_four_make_the_step_of_one_of_eight(sparse: Path) -> None:
    one = a_run(sparse, batch_size=8)
    two = a_run(sparse, one.net, batch_size=4, accumulate=2)
    row = {i: number for number, i in enumerate(one.training.ids)}
    chosen = np.array([row[i] for i in ("mp-169", "mp-149", "mp-48", "mp-1135", "mp-30", "mp-317", "mp-2700",
                                        "mp-938")])
    losses = [float(run._step(list(run.training.batches(plan))))
              for run, plan in ((one, [chosen]), (two, [chosen[:4], chosen[4:]]))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for (name, a), b in zip(one.net.named_parameters(), two.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-4, msg=name)


def test_structure_and_text_of_a_crystal_come_near_each_other(sparse: Path) -> None:
    run = a_run(sparse, fusion="gated", loss={"contrast": 1.0}, learning_rate=3e-3)
    training = run.training
    (batch,) = training.batches([np.arange(12)])
    hidden = draw_hidden(batch.structure, batch.text, batch.row, run.params.masking, (0, 0))

    def value() -> float:
        with torch.no_grad():
            return float(run.net(batch.structure, batch.text, hidden).contrast)

    before = value()
    for _ in range(30):
        run._step([batch])
    assert value() < 0.8 * before


def test_a_model_of_both_arms_killed_resumed_and_evaluated(sparse: Path, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    root, step, steps = Path(shutil.copytree(sparse, tmp_path / "p")), fit._Run._step, [0]
    set_params(root, train={**SMALL, "epochs": 2, "also": BOTH, "save_every_s": 0.0,
                            "members": {"fused": 0, "structure": 1, "text": 1}})
    train.train(root)
    expected = checkpoint.path_of(root).read_bytes()

    def killed(self: Any, *arguments: Any) -> Any:
        steps[0] += 1
        if steps[0] == 5:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(fit._Run, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train.train(root)
    assert list(Paths(root).training.glob("*.pt"))
    train.train(root)
    assert checkpoint.path_of(root).read_bytes() == expected
    model = checkpoint.load(root)
    assert model.params.also == BOTH
    assert [net.head_fused[2].weight.shape[0] for net in model.net.networks()] == [2, 2]
    evaluation.evaluate(root)
    rows = tables.read(root, "predictions").to_pylist()
    assert not {row["material_id"] for row in rows} & set(ONLY_G)
    assert all(np.isfinite(row["y_true"]) for row in rows)
