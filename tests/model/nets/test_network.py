from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.input.batch import Crystals, Ints, StructureBatch, Text, TextBatch, collate_texts
from model.nets.fusion import Tokens
from model.nets.network import Hidden, MultimodalNet, Prediction, draw_hidden, joint_loss, uniform
from model.params import LossWeights, Masking, TrainParams

PARAMS = {"crystalformer": {"dim": 16, "heads": 2, "layers": 1}}
READ_BOTH = ["sum", "concat", "gated", "film", "cross_attention"]
FUSIONS = [*READ_BOTH, "structure_only", "text_only"]
SHARES = st.sampled_from([0.0, 0.1])


def crystals(sizes: list[int]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    result = []
    for n in sizes:
        i, j = (axis.ravel() for axis in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
        result.append({"atomic_numbers": rng.integers(1, 90, n), "orbit": np.arange(n), "edge_i": i, "edge_j": j,
                       "edge_distance": rng.uniform(1, 5, n * n).astype(np.float32), "edge_count": np.ones(n * n)})
    return result


def texts(counts: list[int | None]) -> list[Text | None]:
    rng = np.random.default_rng(1)
    return [None if n is None else Text(rng.normal(size=(n, 8)).astype(np.float32), rng.integers(0, 3, n))
            for n in counts]


def batches() -> tuple[StructureBatch, TextBatch]:
    return Crystals.of(crystals([1, 4, 2, 3])).batch(), collate_texts(texts([2, 5, None, 1]), 8)


def opened(**params: Any) -> MultimodalNet:
    """A network whose fused branch reads its text, as it does not before training."""
    torch.manual_seed(0)
    net = MultimodalNet(TrainParams(**params, **PARAMS), 8).eval()
    for weight in net.fusion.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return net


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_crystal_does_not_see_its_batch(fusion: str) -> None:
    net = opened(fusion=fusion)
    together = net(*batches())
    for row, (c, t) in enumerate(zip(crystals([1, 4, 2, 3]), texts([2, 5, None, 1]), strict=True)):
        one = net(Crystals.of([c]).batch(), collate_texts([t], 8))
        for name in ("fused", "structure", "text"):
            torch.testing.assert_close(getattr(one, name)[0], getattr(together, name)[row], atol=1e-5, rtol=1e-4)


def rows() -> Ints:
    return np.array([7, 2, 300_000, 0])


def test_what_is_hidden_is_drawn_afresh_and_one_sentence_stays() -> None:
    structure, text = batches()
    masking = Masking(atoms=0.5, sentences=0.9, drop_structure=0.3, drop_text=0.3)
    draws = [draw_hidden(structure, text, rows(), masking, (0, epoch)) for epoch in range(400)]
    for hidden in draws:
        shown = text.mask & ~hidden.sentences
        assert bool((shown.any(1) == text.mask.any(1)).all())
        assert not bool((hidden.structure & hidden.text).any())
        assert not bool(hidden.structure[2])  # that crystal has no text to stand in
    assert len({tuple(hidden.atoms.tolist()) for hidden in draws}) > 100
    assert abs(torch.stack([h.atoms for h in draws]).float().mean() - 0.5) < 0.04
    for name, rate in (("structure", 0.3), ("text", 0.3)):
        assert abs(torch.stack([getattr(h, name)[0] for h in draws]).float().mean() - rate) < 0.08


def test_what_is_hidden_does_not_depend_on_the_batch() -> None:
    structure, text = batches()
    masking = Masking(atoms=0.5, sentences=0.5, drop_structure=0.3, drop_text=0.3)
    whole = draw_hidden(structure, text, rows(), masking, (0, 5))
    one = draw_hidden(Crystals.of(crystals([1, 4, 2, 3])[1:2]).batch(), collate_texts(texts([2, 5, None, 1])[1:2], 8),
                      rows()[1:2], masking, (0, 5))
    assert torch.equal(one.atoms, whole.atoms[1:5])
    assert torch.equal(one.sentences[0], whole.sentences[1])
    assert (one.structure[0], one.text[0]) == (whole.structure[1], whole.text[1])


def test_draws_are_even_and_unrelated() -> None:
    row, index = np.meshgrid(np.arange(2000), np.arange(50), indexing="ij")
    values = uniform((0, 1), row, index)
    assert np.abs(np.histogram(values, 20, (0, 1))[0] / values.size - 0.05).max() < 0.003
    others = (values[1:], values[:, 1:], uniform((0, 2), row, index))
    for a, b in zip((values[:-1], values[:, :-1], values), others, strict=True):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02


def test_masking_leaves_the_batch_as_it_was() -> None:
    """The prototype's fault: a mask that was written into the cached object and accumulated."""
    structure, text = batches()
    before = [t.clone() for t in (structure.numbers, text.vectors, text.mask)]
    net = MultimodalNet(TrainParams(**PARAMS), 8)
    masking = Masking(atoms=0.5, sentences=0.5, drop_structure=0.4, drop_text=0.4)
    for epoch in range(5):
        net(structure, text, draw_hidden(structure, text, rows(), masking, (3, epoch)))
    assert all(torch.equal(a, b) for a, b in zip(before, (structure.numbers, text.vectors, text.mask), strict=True))


def hides(structure: list[bool], text: list[bool]) -> Hidden:
    """What is hidden of the four crystals; of atoms and sentences nothing."""
    return Hidden(atoms=torch.zeros(10, dtype=torch.bool), sentences=torch.zeros_like(batches()[1].mask),
                  structure=torch.tensor(structure), text=torch.tensor(text))


@pytest.mark.parametrize("fusion", READ_BOTH)
def test_dropping_a_modality_reaches_the_fused_branch_alone(fusion: str) -> None:
    net = opened(fusion=fusion)
    base = net(*batches())
    first, second, nothing = ([row == place for row in range(4)] for place in (0, 1, -1))
    for hidden, expected in ((hides(nothing, first), first), (hides(second, nothing), second)):
        dropped = net(*batches(), hidden)
        assert torch.equal(dropped.structure, base.structure)
        assert torch.equal(dropped.text, base.text)
        assert ((dropped.fused - base.fused).abs() > 1e-6).tolist() == expected


@pytest.mark.parametrize("fusion", ["structure_only", "text_only"])
def test_a_network_of_one_view_is_never_trained_without_it(fusion: str) -> None:
    net, everything = opened(fusion=fusion), [True] * 4
    assert torch.equal(net(*batches(), hides(everything, everything)).fused, net(*batches()).fused)


def test_a_step_does_not_read_a_text_that_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients are those of a step that does read it."""
    structure, text = batches()
    hidden, target = hides([False] * 4, [False] * 4), torch.linspace(-1, 1, 4)[:, None]
    losses, gradients = [], []
    for reads in (True, False):
        net = opened(fusion="structure_only", loss=LossWeights(fused=1.0, structure=0.5, text=0.0))
        assert not net.learns_text
        if reads:
            net.learns_text = True
        else:
            monkeypatch.setattr(net.text_branch, "forward", None)
        losses.append(joint_loss(net(structure, text, hidden), target, text.mask.any(1), LossWeights(text=0.0)))
        losses[-1].backward()
        gradients.append({name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None})
    assert torch.equal(*losses)
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_joint_loss_weighs_branches_and_skips_missing_texts() -> None:
    prediction = Prediction(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]), torch.tensor([9.0, 3.0]), None)
    target, has_text = torch.tensor([1.0, 1.0]), torch.tensor([False, True])
    loss = joint_loss(prediction, target[:, None], has_text, LossWeights(fused=1.0, structure=0.5, text=0.25))
    assert float(loss) == pytest.approx(0.5 + 0.5 * 1.0 + 0.25 * 2.0)


def test_joint_loss_of_further_targets_counts_who_has_them() -> None:
    """Three targets; the shares of a step, counted as the whole, sum to it."""
    further = torch.tensor([[[0.5, 3.0], [2.0, 1.0], [1.0, 0.0]]]).repeat(3, 1, 1) + torch.arange(3)[:, None, None]
    prediction = Prediction(torch.tensor([1.0, 2.0, 0.0]), torch.zeros(3), torch.ones(3), None, further=further)
    nan = torch.nan
    target = torch.tensor([[0.0, 0.0, 1.0], [nan, 1.0, nan], [nan, nan, nan]], requires_grad=True)
    has_text = torch.tensor([False, True, True])
    weights = LossWeights(fused=1.0, structure=0.5, text=0.25, also=0.5)
    loss = joint_loss(prediction, target, has_text, weights)
    # the text branch: nobody with a text has the first or the third target, crystal 1 has the second
    fused, structure, text = 1 + 0.25 * (0.75 + 2.0), 0 + 0.25 * (1.75 + 3.0), 0 + 0.25 * 3.0
    assert float(loss) == pytest.approx(fused + 0.5 * structure + 0.25 * text)
    shares = [joint_loss(Prediction(*(part[rows] for part in prediction[:3]), None, further=further[:, rows]),
                         target[rows], has_text[rows], weights, labelled=[1, 2, 1], with_text=[0, 1, 0])
              for rows in (slice(0, 1), slice(1, 3))]
    assert float(sum(shares)) == pytest.approx(float(loss))
    loss.backward()
    assert target.grad is not None
    assert bool(torch.isfinite(target.grad).all())


def test_what_nobody_predicts_is_no_part_of_a_loss() -> None:
    """Of a network of text alone and a crystal without one: neither the target nor a further one."""
    nan = torch.nan
    fused = torch.tensor([1.0, nan], requires_grad=True)
    further = torch.tensor([[[2.0], [nan]]]).repeat(3, 1, 1)
    prediction = Prediction(fused, torch.zeros(2), torch.zeros(2), None, further=further)
    loss = joint_loss(prediction, torch.zeros(2, 2), torch.tensor([True, False]),
                      LossWeights(fused=1.0, structure=0.0, text=0.0, also=0.5), needs_text=True)
    assert float(loss) == pytest.approx(1.0 + 0.5 * 2.0)
    loss.backward()
    assert fused.grad is not None
    assert fused.grad.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_further_targets_widen_the_heads_and_nothing_else(fusion: str) -> None:
    """What predicts in another branch's place does so of every target."""
    one, three = (opened(fusion=fusion, also=also, masking={"drop_text": 0.0})
                  for also in ({}, {"n": "none", "band_gap": "log10"}))
    shapes, wider = ({name: tuple(value.shape) for name, value in net.state_dict().items()} for net in (one, three))
    heads = {f"head_{branch}.2.{name}" for branch in ("fused", "structure", "text") for name in ("weight", "bias")}
    assert {name for name in shapes if shapes[name] != wider[name]} == heads
    assert {shapes[name][0] for name in heads} == {1}
    assert {wider[name][0] for name in heads} == {3}
    assert one(*batches()).further is None
    prediction = three(*batches())
    assert prediction.further is not None
    assert (prediction.further.shape, prediction.fused.shape) == ((3, 4, 2), (4,))
    if fusion != "structure_only":
        assert torch.equal(prediction.further[0, 2], prediction.further[1, 2])  # crystal 2 has no text


def test_weight_decay_spares_vectors() -> None:
    from model.training.fit import make_optimizer

    net = MultimodalNet(TrainParams(**PARAMS), 8)
    optimizer = make_optimizer(net, TrainParams(weight_decay=0.1, **PARAMS))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, p in net.named_parameters():
        assert decays[id(p)] == (0.0 if p.dim() < 2 else 0.1), name


@pytest.mark.parametrize("fusion", READ_BOTH)
def test_a_fused_branch_that_never_lacks_text_does_not_predict_without(fusion: str) -> None:
    """Crystal 2 has no text: with `drop_text` 0 the structure head predicts for it, or nobody."""
    def predicted(**params: Any) -> Prediction:
        return opened(fusion=fusion, **params)(*batches())

    dropping, never = predicted(), predicted(masking={"drop_text": 0.0})
    assert dropping.fused[2] != dropping.structure[2]
    assert never.fused[2] == never.structure[2]
    nobody = predicted(masking={"drop_text": 0.0}, loss={"structure": 0.0})
    assert torch.isnan(nobody.fused).tolist() == [False, False, True, False]
    others = [0, 1, 3]
    for other in (never, nobody):
        torch.testing.assert_close(other.fused[others], dropping.fused[others], rtol=0, atol=0)


def test_text_alone_says_nothing_without_text_whatever_is_dropped() -> None:
    learns, nobody = (opened(fusion="text_only", loss={"structure": weight})(*batches()) for weight in (0.5, 0.0))
    assert learns.fused[2] == learns.structure[2]
    assert torch.isnan(nobody.fused).tolist() == [False, False, True, False]


def test_structure_alone_misses_no_text() -> None:
    net = opened(fusion="structure_only", masking={"drop_text": 0.0}, loss={"structure": 0.0})
    assert bool(torch.isfinite(net(*batches()).fused).all())


@settings(max_examples=30, deadline=None)
@given(drop_structure=SHARES, drop_text=SHARES, structure=SHARES, text=SHARES, seed=st.integers(0, 2**16))
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_branch_predicts_what_it_has_learned(fusion: str, drop_structure: float, drop_text: float, structure: float,
                                               text: float, seed: int) -> None:
    """A crystal with both views, one without structure, one without text, one without either."""
    net = opened(fusion=fusion, masking={"drop_structure": drop_structure, "drop_text": drop_text},
                 loss={"structure": structure, "text": text})
    values = torch.randn(2, 4, 3, 16, generator=torch.Generator().manual_seed(seed))
    atoms = Tokens(values[0], torch.tensor([True, False, True, False])[:, None].expand(4, 3))
    words = Tokens(values[1], torch.tensor([True, True, False, False])[:, None].expand(4, 3))
    raw = net.head_fused(net.fusion(atoms, words).vector)[:, 0]
    prediction = net.fuse(atoms, words)
    nobody, both = torch.full((4,), torch.nan), fusion in READ_BOTH
    without_structure = raw if fusion == "text_only" or (both and drop_structure > 0) else \
        prediction.text if text > 0 else nobody
    without_text = raw if fusion == "structure_only" or (both and drop_text > 0) else \
        prediction.structure if structure > 0 else nobody
    expected = torch.stack([raw[0], without_structure[1], without_text[2], nobody[3]])
    torch.testing.assert_close(prediction.fused, expected, rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("fusion", READ_BOTH)
def test_training_begins_at_the_structure(fusion: str) -> None:
    """Of a network as made, the text changes no fused prediction; the fused loss alone teaches the text branch."""
    torch.manual_seed(0)
    net = MultimodalNet(TrainParams(fusion=fusion, **PARAMS), 8)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    structure, text = batches()

    def heard() -> float:
        other = collate_texts(texts([1, 2, None, 5]), 8)
        with torch.no_grad():
            return float((net(structure, text).fused - net(structure, other).fused).abs().max())

    def step() -> float:
        optimizer.zero_grad()
        (net(structure, text).fused - torch.linspace(-1, 1, 4)).abs().mean().backward()
        optimizer.step()
        gradient = net.text_branch.project.weight.grad
        assert gradient is not None
        return float(gradient.abs().max())

    assert heard() < 1e-6
    assert step() == 0
    assert heard() > 1e-5
    assert step() > 1e-6


def encoder_gradients(net: MultimodalNet, loss: Tensor) -> list[Tensor]:
    net.zero_grad()
    loss.backward()
    return [weight.grad.clone() for part in (net.encoder, net.head_structure) for weight in part.parameters()
            if weight.grad is not None]


@pytest.mark.parametrize("fusion", [*READ_BOTH, "text_only"])
@pytest.mark.parametrize("drop_text", [0.0, 0.1])
def test_gradients_apart_leave_the_structure_branch_to_its_own_loss(fusion: str, drop_text: float) -> None:
    """With `drop_text` 0 the structure branch predicts in the fused one's place for crystal 2, which has no text."""
    target, has_text = torch.linspace(-1, 1, 4), batches()[1].mask.any(1)
    same = {}
    for how in ("apart", "joint"):
        net = opened(fusion=fusion, gradients=how, masking={"drop_text": drop_text})
        hidden = hides([False, True, False, False], [False, False, False, True])
        prediction = net(*batches(), hidden)
        whole = encoder_gradients(net, joint_loss(prediction, target[:, None], has_text, LossWeights()))
        own = encoder_gradients(net, 0.5 * (net(*batches(), hidden).structure - target).abs().mean())
        assert len(whole) == len(own) > 10
        same[how] = all(torch.equal(a, b) for a, b in zip(whole, own, strict=True))
        assert torch.equal(opened(fusion=fusion, masking={"drop_text": drop_text})(*batches(), hidden).fused,
                           prediction.fused)
    assert same == {"apart": True, "joint": False}


@pytest.mark.parametrize(("params", "message"), [
    ({"loss": {"structure": 0.0}}, r"gradients apart needs loss\.structure above 0"),
    ({"fusion": "structure_only"}, "gradients apart would leave fusion structure_only an encoder"),
])
def test_gradients_apart_need_a_structure_branch_that_learns(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainParams(gradients="apart", **params)


def test_cross_attention_is_as_deep_as_its_section_says() -> None:
    net = opened(fusion="cross_attention", cross_attention={"layers": 3, "directions": "both"})
    assert (len(net.fusion.atoms_ask), len(net.fusion.text_asks)) == (3, 2)
    assert bool(torch.isfinite(net(*batches()).fused).all())
