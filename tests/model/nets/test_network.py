from typing import Any

import numpy as np
import pytest
import torch

from model.input.batch import Crystals, Ints, StructureBatch, Text, TextBatch, collate_texts
from model.nets.network import MultimodalNet, draw_hidden, joint_loss, uniform
from model.params import LossWeights, Masking, TrainParams

PARAMS = {"crystalformer": {"dim": 16, "heads": 2, "layers": 1}}


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


@pytest.mark.parametrize("fusion", ["sum", "concat", "gated", "cross_attention", "structure_only", "text_only"])
def test_a_crystal_does_not_see_its_batch(fusion: str) -> None:
    torch.manual_seed(0)
    net = MultimodalNet(TrainParams(fusion=fusion, **PARAMS), 8).eval()
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


def test_dropping_a_modality_reaches_the_fused_branch_alone() -> None:
    torch.manual_seed(0)
    net = MultimodalNet(TrainParams(**PARAMS), 8)
    structure, text = batches()
    none = torch.zeros(4, dtype=torch.bool)
    nothing = {"atoms": torch.zeros(10, dtype=torch.bool), "sentences": torch.zeros_like(text.mask)}
    from model.nets.network import Hidden

    base = net(structure, text)
    dropped = net(structure, text, Hidden(**nothing, structure=none, text=torch.tensor([True, False, False, False])))
    assert torch.equal(dropped.structure, base.structure)
    assert torch.equal(dropped.text, base.text)
    changed = (dropped.fused - base.fused).abs() > 1e-7
    assert changed.tolist() == [True, False, False, False]


def test_joint_loss_weighs_branches_and_skips_missing_texts() -> None:
    from model.nets.network import Prediction

    prediction = Prediction(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]), torch.tensor([9.0, 3.0]), None)
    target, has_text = torch.tensor([1.0, 1.0]), torch.tensor([False, True])
    loss = joint_loss(prediction, target, has_text, LossWeights(fused=1.0, structure=0.5, text=0.25))
    assert float(loss) == pytest.approx(0.5 + 0.5 * 1.0 + 0.25 * 2.0)


def test_weight_decay_spares_vectors() -> None:
    from model.training.fit import make_optimizer

    net = MultimodalNet(TrainParams(**PARAMS), 8)
    optimizer = make_optimizer(net, TrainParams(weight_decay=0.1, **PARAMS))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, p in net.named_parameters():
        assert decays[id(p)] == (0.0 if p.dim() < 2 else 0.1), name


@pytest.mark.parametrize("fusion", ["sum", "concat", "gated", "cross_attention"])
def test_a_fused_branch_that_never_lacks_text_does_not_predict_without(fusion: str) -> None:
    """Crystal 2 has no text: with `drop_text` 0 the structure head predicts for it, or nobody."""
    def predicted(**params: Any) -> Any:
        torch.manual_seed(0)
        return MultimodalNet(TrainParams(fusion=fusion, **params, **PARAMS), 8).eval()(*batches())

    dropping, never = predicted(), predicted(masking={"drop_text": 0.0})
    assert dropping.fused[2] != dropping.structure[2]
    assert never.fused[2] == never.structure[2]
    nobody = predicted(masking={"drop_text": 0.0}, loss={"structure": 0.0})
    assert torch.isnan(nobody.fused).tolist() == [False, False, True, False]
    others = [0, 1, 3]
    for other in (never, nobody):
        torch.testing.assert_close(other.fused[others], dropping.fused[others], rtol=0, atol=0)


def test_structure_alone_misses_no_text() -> None:
    net = MultimodalNet(TrainParams(fusion="structure_only", masking={"drop_text": 0.0}, loss={"structure": 0.0},
                                    **PARAMS), 8).eval()
    assert bool(torch.isfinite(net(*batches()).fused).all())
