"""What a crystal teaches does not depend on which other crystals are in its batch.

The gradient of a crystal's part of a batch's loss is that of the crystal alone, counted by the batch's numbers. Batch
normalisation, which CGCNN and ComFormer have from their authors, joins crystals while it takes statistics: of these two
it holds with the running ones. So does the contrast of `train.loss.contrast`, which compares crystals of a batch.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from features import crystal
from model.input.batch import StructureBatch, Text, TextBatch, collate_texts
from model.input.words import WordBatch, Words
from model.nets import encoders
from model.nets.network import MultimodalNet, draw_hidden, joint_loss
from model.params import Masking, TrainParams
from tests.features.texts import BI2O3, MOS2, SRTIO3
from tests.model.nets.batches import batch_of
from tests.model.nets.test_network import FUSIONS
from tests.model.nets.test_words import row

IDS = ("mp-22862", "mp-30", "mp-2700", "mp-149")
SIZES: dict[str, Any] = {
    "crystalformer": {"dim": 16, "heads": 2, "layers": 2}, "comformer": {"dim": 16, "layers": 1},
    "cgcnn": {"dim": 16, "layers": 2}, "chgnet": {"dim": 16}, "words": {"dim": 16, "heads": 2, "across": 2},
    "cross_attention": {"layers": 2, "directions": "both"}}
NORMALISED = ("comformer", "cgcnn")
TOLERANCE = {"atol": 1e-10, "rtol": 1e-8}
"""In double precision, of gradients of about 0.01 to 10: sums in another order, and nothing else."""
ROWS = np.array([5, 70_000, 2, 11])
DIM = 8


def texts(words: bool) -> Words | list[Text | None]:
    """Texts of three of the crystals, of unlike length; the third has none."""
    if words:
        return Words.of([row(text) for text in (BI2O3, MOS2, SRTIO3)])
    rng = np.random.default_rng(1)
    return [None if n is None else Text(rng.normal(size=(n, DIM)), rng.integers(0, 3, n)) for n in (2, 7, None, 1)]


def text_batch(of: Words | list[Text | None], rows: list[int]) -> TextBatch | WordBatch:
    if isinstance(of, Words):
        return floating_text(of.batch(np.array([(0, 1, -1, 2)[one] for one in rows])))
    return floating_text(collate_texts([of[one] for one in rows], DIM))


def floating_text(batch: Any) -> Any:
    return batch.apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def gradients(net: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    net.zero_grad(set_to_none=True)
    loss.backward()
    return {name: torch.zeros_like(weight) if weight.grad is None else weight.grad
            for name, weight in net.named_parameters()}


@pytest.fixture(scope="module")
def canonical(structures: dict[str, Any]) -> list[Any]:
    return [crystal.canonical_structure(structures[i]) for i in IDS]


CASES = [*((name, words, "cross_attention") for name in encoders.ENCODERS for words in (True, False)),
         *(("crystalformer", True, fusion) for fusion in FUSIONS if fusion != "cross_attention")]


@pytest.mark.parametrize("masking", [Masking(atoms=0.0, sentences=0.0, drop_structure=0.0, drop_text=0.0),
                                     Masking(atoms=0.3, sentences=0.4, drop_structure=0.3, drop_text=0.3)],
                         ids=["shown", "hidden"])
@pytest.mark.parametrize(("encoder", "words", "fusion"), CASES)
def test_a_crystal_teaches_the_same_in_any_batch(encoder: str, words: bool, fusion: str, masking: Masking,
                                                 canonical: list[Any]) -> None:
    torch.manual_seed(0)
    params = TrainParams.model_validate({
        **SIZES, "encoder": encoder, "fusion": fusion, "text": "words" if words else "sentences",
        "also": {"n": "none"}, "loss": {"structure": 0.5, "text": 0.25}, "masking": masking.model_dump()})
    net = MultimodalNet(params, DIM).double()
    for weight in net.fusion.parameters():  # as made, it lets no text in
        nn.init.normal_(weight, std=0.3)
    structure = batch_of(canonical, reach=15.0, chgnet=encoder == "chgnet")
    net.encoder.calibrate(structure)  # type: ignore[operator]
    net.train()
    net.encoder(structure)
    if encoder in NORMALISED:
        net.eval()
    target = torch.tensor([[0.3, 1.0], [-0.7, torch.nan], [1.1, -0.2], [0.2, 0.4]], dtype=torch.double)
    everything, said = list(range(len(IDS))), texts(words)

    def loss(rows: list[int], structure: StructureBatch, weight: Tensor) -> Tensor:
        text = text_batch(said, rows)
        hidden = draw_hidden(structure, text, ROWS[rows], masking, (3, 1))
        return joint_loss(net(structure, text, hidden), target[rows], text.mask.any(dim=1), params.loss, weight,
                          [4, 3], [3, 2], len(IDS), net.without_text is None)

    whole = gradients(net, loss(everything, structure, torch.ones(len(IDS), dtype=torch.double)))
    total = {name: torch.zeros_like(value) for name, value in whole.items()}
    for one in everything:
        part = gradients(net, loss(everything, structure, torch.eye(len(IDS), dtype=torch.double)[one]))
        alone = gradients(net, loss([one], batch_of([canonical[one]], reach=15.0, chgnet=encoder == "chgnet"),
                                    torch.ones(1, dtype=torch.double)))
        for name, value in alone.items():
            torch.testing.assert_close(value, part[name], **TOLERANCE, msg=f"{IDS[one]}: {name}")
            total[name] += value
    for name, value in whole.items():
        torch.testing.assert_close(total[name], value, **TOLERANCE, msg=name)
    assert sum(bool(value.abs().max() > 1e-3) for value in whole.values()) > 10


def test_what_joins_crystals_is_seen() -> None:
    """The test above could not pass by chance: in training, batch normalisation does join them."""
    layer = nn.BatchNorm1d(4).double().train()
    x = torch.randn(6, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    part = gradients(layer, (layer(x)[0] ** 2).sum())["weight"]
    layer.eval()
    assert not torch.allclose(part, gradients(layer, (layer(x[:1]) ** 2).sum())["weight"])
