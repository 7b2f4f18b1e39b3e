"""The term that brings structure and text near each other: the formula, who is left out, who learns from it."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from model.nets.contrast import Contrast
from model.nets.fusion import Tokens
from model.nets.network import MultimodalNet, joint_loss
from model.params import LossWeights, TrainParams
from tests.model.nets.test_network import FUSIONS, PARAMS, READ_BOTH, batches, hides, opened

NOBODY, FIRST = [False] * 4, [True, False, False, False]


def tokens(crystals: int, seed: int) -> Tokens:
    values = torch.randn(crystals, 3, 8, generator=torch.Generator().manual_seed(seed))
    return Tokens(values, torch.ones(crystals, 3, dtype=torch.bool))


def test_it_is_the_formula() -> None:
    torch.manual_seed(0)
    term, s, t = Contrast(8), tokens(5, 0), tokens(5, 1)
    a, b = (F.normalize(project(view.values.mean(1)), dim=-1)
            for project, view in ((term.structure, s), (term.text, t)))
    p = (a @ b.T / 0.07).exp()
    expected = -sum(math.log(p[i, i] / p[i].sum()) + math.log(p[i, i] / p[:, i].sum()) for i in range(5)) / 10
    assert float(term(s, t)) == pytest.approx(expected, rel=1e-5)


def test_who_lacks_a_view_is_left_out() -> None:
    term, s, t = Contrast(8), tokens(5, 0), tokens(5, 1)
    absent = Tokens(t.values, t.mask & torch.tensor([True, False, True, True, False])[:, None])
    there = [0, 2, 3]
    assert float(term(s, absent)) == pytest.approx(
        float(term(*(Tokens(view.values[there], view.mask[there]) for view in (s, t)))))
    for few in (slice(0, 0), slice(0, 1)):  # nobody to be told apart from
        loss = term(*(Tokens(view.values[few], view.mask[few]) for view in (s, t)))
        loss.backward()
        assert float(loss) == 0
    assert all(bool(torch.isfinite(weight.grad).all()) for weight in term.parameters() if weight.grad is not None)


@pytest.mark.parametrize("fusion", READ_BOTH)
def test_a_network_leaves_out_what_the_step_drops(fusion: str) -> None:
    """Crystal 2 has no text."""
    net = opened(fusion=fusion, loss={"contrast": 0.1})
    assert net(*batches()).contrast is None  # of training alone
    structure, text = batches()
    atoms, words = net.structure_tokens(structure), net.text_branch(text)
    assert net.contrast is not None
    for hidden, there in ((hides(NOBODY, NOBODY), [0, 1, 3]), (hides(FIRST, NOBODY), [1, 3]),
                          (hides(NOBODY, FIRST), [1, 3])):
        expected = net.contrast(*(Tokens(view.values[there], view.mask[there]) for view in (atoms, words)))
        assert float(net(structure, text, hidden).contrast) == pytest.approx(float(expected), rel=1e-5)


def test_both_views_learn_from_it_unless_apart() -> None:
    for how, moved in (("joint", True), ("apart", False)):
        net = opened(fusion="gated", loss={"contrast": 0.1}, gradients=how)
        net(*batches(), hides(NOBODY, NOBODY)).contrast.backward()
        assert any(weight.grad is not None for weight in net.encoder.parameters()) == moved
        assert all(weight.grad is not None for weight in net.text_branch.parameters())
        assert net.contrast is not None
        assert all(weight.grad is not None for weight in net.contrast.parameters())


def test_it_is_added_with_its_weight_and_share() -> None:
    net = opened(fusion="gated", loss={"contrast": 0.3})
    prediction, target = net(*batches(), hides(NOBODY, NOBODY)), torch.zeros(4, 1)
    has_text = batches()[1].mask.any(1)
    losses = [float(joint_loss(prediction, target, has_text, LossWeights(contrast=weight))) for weight in (0.0, 0.3)]
    assert losses[1] - losses[0] == pytest.approx(0.3 * float(prediction.contrast), rel=1e-4)
    shares = [float(joint_loss(prediction, target, has_text, LossWeights(contrast=weight), labelled=[8], with_text=[6],
                               crystals=8)) for weight in (0.0, 0.3)]
    assert shares[1] - shares[0] == pytest.approx(0.15 * float(prediction.contrast), rel=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_without_weight_there_is_nothing(fusion: str) -> None:
    """And with it, what there was begins at the same weights."""
    def state(**loss: float) -> dict[str, Any]:
        torch.manual_seed(0)
        return MultimodalNet(TrainParams(fusion=fusion, loss=loss, **PARAMS), 8).state_dict()

    without = state()
    assert not any(name.startswith("contrast") for name in without)
    if fusion in READ_BOTH:
        with_it = state(contrast=0.1)
        assert set(with_it) - set(without) == {"contrast.structure.weight", "contrast.text.weight",
                                               "contrast.sharpness"}
        assert all(torch.equal(with_it[name], value) for name, value in without.items())


@pytest.mark.parametrize("section", [{"fusion": "structure_only"}, {"fusion": "text_only"},
                                     {"members": {"fused": 0, "structure": 1}}])
def test_one_view_is_not_contrasted(section: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"loss\.contrast above 0 needs networks that read structure and text"):
        TrainParams.model_validate({**section, "loss": {"contrast": 0.1}})


def test_networks_of_one_view_beside_fused_ones_have_none() -> None:
    params = TrainParams.model_validate({"members": {"structure": 1, "text": 1}, "loss": {"contrast": 0.1}})
    assert [one.loss.contrast for _, one in params.networks()] == [0.1, 0.0, 0.0]
