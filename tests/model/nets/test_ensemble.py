"""Several networks that predict together."""

from typing import Any

import pytest
import safetensors.torch
import torch

from model.nets.ensemble import Ensemble
from model.nets.network import MultimodalNet
from model.params import KINDS, TrainParams
from tests.model.nets.test_network import PARAMS, batches

WITHOUT = 2
"""The crystal of `batches` that has no text."""
NEVER_DROPPED = {"drop_text": 0.0, "drop_structure": 0.0}


def ensemble(weights: tuple[float, float, float] | None = None, **members: int) -> Ensemble:
    torch.manual_seed(0)
    params = TrainParams.model_validate({"members": {"fused": 0, **members}, "masking": NEVER_DROPPED, **PARAMS})
    model = Ensemble(params, 8).eval()
    if weights:
        model.weights.copy_(torch.tensor((*weights, 0.0)))
    return model


@torch.no_grad()
def test_kinds_count_by_their_weights_and_networks_of_a_kind_alike() -> None:
    model = ensemble((0.0, 0.75, 0.25), structure=2, text=1)
    prediction, each = model(*batches()), [net(*batches()).fused for net in model.networks()]
    structure, text = (each[0] + each[1]) / 2, each[2]
    there = [row for row in range(len(text)) if row != WITHOUT]
    torch.testing.assert_close(prediction.fused[there], (0.75 * structure + 0.25 * text)[there])
    torch.testing.assert_close(prediction.structure, structure, rtol=0, atol=1e-7)
    torch.testing.assert_close(prediction.text[there], text[there], rtol=0, atol=0)
    torch.testing.assert_close(prediction.spread[there], torch.stack(each).std(0, correction=0)[there])


@torch.no_grad()
@pytest.mark.parametrize("weights", [(0.0, 0.75, 0.25), (0.0, 0.0, 1.0)])
def test_without_a_text_the_networks_of_structure_predict_alone(weights: tuple[float, float, float]) -> None:
    """Even where they count for nothing beside a text."""
    prediction = ensemble(weights, structure=2, text=1)(*batches())
    torch.testing.assert_close(prediction.fused[WITHOUT], prediction.structure[WITHOUT])
    assert bool(torch.isfinite(prediction.fused).all())


@torch.no_grad()
@pytest.mark.parametrize(("other", "branch"), [("structure", "text"), ("text", "structure")])
def test_a_branch_that_a_network_has_not_learned_says_nothing(other: str, branch: str) -> None:
    """Beside a fused network, those of one view have heads for the other view as well, untrained."""
    model = ensemble(fused=1, **{other: 2})
    both = [row for row in range(len(batches()[0].n_atoms)) if row != WITHOUT]
    ours, own = getattr(model(*batches()), branch), getattr(model.networks()[0](*batches()), branch)
    torch.testing.assert_close(ours[both], own[both], rtol=0, atol=0)


@torch.no_grad()
def test_text_alone_does_not_predict_without_text() -> None:
    prediction = ensemble(text=2)(*batches())
    assert torch.isnan(prediction.fused).tolist() == [row == WITHOUT for row in range(len(prediction.fused))]


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["cross_attention", "gated", "structure_only"])
def test_one_network_is_that_network(fusion: str) -> None:
    params = TrainParams.model_validate({"fusion": fusion, **PARAMS})
    torch.manual_seed(0)
    model = Ensemble(params, 8).eval()
    torch.manual_seed(0)
    net = MultimodalNet(params, 8).eval()
    ours, theirs = model(*batches()), net(*batches())
    assert bool(torch.isnan(ours.text[WITHOUT]))
    for branch in KINDS:
        there = [row for row in range(len(ours.text)) if branch != "text" or row != WITHOUT]
        torch.testing.assert_close(getattr(ours, branch)[there], getattr(theirs, branch)[there], rtol=0, atol=0)
    assert not ours.spread.any()


def test_a_network_of_an_ensemble_is_trained_as_it_would_be_alone() -> None:
    params = TrainParams.model_validate({"members": {"fused": 1, "structure": 2, "text": 1}, "seed": 7})
    alone: dict[str, Any] = {"loss": {"fused": 1.0, "structure": 0.0, "text": 0.0},
                             "masking": {"drop_structure": 0.0, "drop_text": 0.0}}
    assert params.networks() == [
        ("fused", TrainParams(seed=7)),
        ("structure", TrainParams.model_validate({"fusion": "structure_only", "seed": 7, **alone})),
        ("structure", TrainParams.model_validate({"fusion": "structure_only", "seed": 8, **alone})),
        ("text", TrainParams.model_validate({"fusion": "text_only", "seed": 7, **alone}))]
    with pytest.raises(ValueError, match="one network at least"):
        TrainParams.model_validate({"members": {"fused": 0}})


def test_networks_that_read_words_share_no_memory_on_disk() -> None:
    """safetensors refuses tensors that are one and the same, as tables of the elements are that all networks read."""
    params = TrainParams.model_validate({"members": {"fused": 0, "structure": 2, "text": 2}, "text": "words", **PARAMS})
    net = Ensemble(params, 1)
    again = safetensors.torch.load(safetensors.torch.save(net.state_dict()))
    Ensemble(params, 1).load_state_dict(again)
