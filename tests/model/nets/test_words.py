"""The branch that reads words: it hears numbers, elements and roles; not its batch, nor what is hidden."""

from typing import Any

import numpy as np
import pytest
import torch

from features import sentences
from features.views.text_tokens import TokenizeParams, compute
from model.input.words import WordBatch, Words, collate_words
from model.nets import element_properties
from model.nets.network import MultimodalNet
from model.nets.words import TokenEmbedding, WordsBranch
from model.params import TrainParams, WordsParams
from tests.features.texts import BI2O3, CA5SB3, MOS2, SRTIO3

TEXTS = (BI2O3, CA5SB3, MOS2, SRTIO3)


def row(text: str) -> dict[str, Any]:
    result: dict[str, Any] = compute.function(
        {"material_id": "mp-1", "variant": 0, "text": text, "mineral": None,
         "sentences": sentences.to_rows(sentences.tag(text))}, TokenizeParams())  # type: ignore[assignment]
    return result


def branch(**params: int | bool) -> WordsBranch:
    torch.manual_seed(0)
    return WordsBranch(WordsParams(**{"dim": 16, "heads": 2, **params}), 24).double()


def batch_of(*texts: str) -> WordBatch:
    batch = Words.of([row(text) for text in texts]).batch(np.arange(len(texts)))
    return batch.apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def said(net: WordsBranch, text: str) -> torch.Tensor:
    """Mean of the sentences of one text."""
    return net(batch_of(text)).mean()[0]  # type: ignore[no-any-return]


def test_a_text_does_not_see_its_batch() -> None:
    net, together = branch(within=2, across=2), batch_of(*TEXTS)
    whole = net(together)
    assert whole.values.shape[2] == 24
    for place, text in enumerate(TEXTS):
        torch.testing.assert_close(whole.mean()[place], said(net, text))


@pytest.mark.parametrize(("old", "new"), [
    ("2.41 Å", "2.46 Å"), ("six equivalent S(1)", "five equivalent S(1)"), ("Mo(1)-S(1)", "W(1)-S(1)"),
    ("hexagonal P", "trigonal P"), ("edge-sharing", "corner-sharing"), ("two-dim", "one-dim"), ("distorted T", "T"),
])
def test_every_fact_is_heard(old: str, new: str) -> None:
    assert old in MOS2
    net = branch()
    assert (said(net, MOS2) - said(net, MOS2.replace(old, new))).abs().max() > 1e-4


def test_labels_and_plain_words_are_not() -> None:
    net = branch()
    other = MOS2.replace("(1) is", "(3) is").replace("bond lengths are", "bonds measure")
    torch.testing.assert_close(said(net, MOS2), said(net, other), rtol=0, atol=0)


def test_what_is_hidden_is_heard_by_nobody() -> None:
    net, text = branch(across=2), "MoS2 forms sheets. Mo(1) is bonded to six S(1) atoms."
    hidden = torch.tensor([[False, True]])
    shown = net(batch_of(text), hidden)
    assert shown.mask.tolist() == [[True, False]]
    changed = net(batch_of(text.replace("six", "four")), hidden)
    torch.testing.assert_close(shown.mean(), changed.mean(), rtol=0, atol=0)
    assert not torch.equal(shown.mean(), said(net, text)[None])


def test_without_numbers_a_length_is_only_known_to_be_one() -> None:
    net, deaf = branch(), branch(numbers=False)
    other = MOS2.replace("2.41 Å", "2.46 Å")
    torch.testing.assert_close(said(deaf, MOS2), said(deaf, other), rtol=0, atol=0)
    assert not torch.equal(said(deaf, MOS2), said(net, MOS2))


def test_of_each_text_the_first_tokens_are_read() -> None:
    batch = batch_of(*TEXTS)
    counts = [len(row(text)["token_ids"]) for text in TEXTS]
    first = batch.first(10)
    assert len(first.ids) == sum(min(10, count) for count in counts)
    for place, text in enumerate(TEXTS):
        mine = first.sentence // first.mask.shape[1] == place
        assert first.ids[mine].tolist() == row(text)["token_ids"][:10]
    whole = branch()(batch)
    torch.testing.assert_close(branch(most=max(counts))(batch).mean(), whole.mean(), rtol=0, atol=0)
    assert not torch.equal(branch(most=10)(batch).mean(), whole.mean())


def test_a_crystal_without_text() -> None:
    net = branch()
    texts = Words.of([row(MOS2)]).batch(np.array([-1, 0]))
    tokens = net.float()(texts)
    assert tokens.present.tolist() == [False, True]
    assert tokens.values.isfinite().all()
    tokens.mean().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    alone = net(collate_words(None))
    assert alone.present.tolist() == [False]
    assert torch.equal(net(collate_words(row(MOS2))).mean()[0], tokens.mean()[1])


def test_a_length_is_read_against_the_radii_of_its_bond() -> None:
    embedding = TokenEmbedding(8).double()
    for text in ("All Mo(1)-S(1) bond lengths are 2.59 Å.", "Mo(1)-S(1): 2.59 Å; Mo(1)-S(2): 2.59 Å."):
        batch = batch_of(text)
        ratio = embedding._numbers(batch, embedding.radii[batch.ids.clamp(max=118)])[:, -1]
        np.testing.assert_allclose(ratio[ratio > 0].numpy(), 2.59 / (1.54 + 1.05), rtol=1e-6)
    batch = batch_of("Bond lengths are 2.59 Å.")
    assert float(embedding._numbers(batch, embedding.radii[batch.ids.clamp(max=118)])[:, -1].sum()) == 0


def test_properties_of_elements() -> None:
    table = element_properties.standardised()
    assert table.shape == (119, 22)
    assert np.isfinite(table).all()
    near, far = (np.linalg.norm(table[42] - table[other]) for other in (74, 17))
    assert near < far  # molybdenum is more like tungsten than like chlorine
    np.testing.assert_allclose(element_properties.covalent_radii()[[6, 42]], [0.76, 1.54])


def test_sentences_stay_the_default_and_keep_their_weights() -> None:
    torch.manual_seed(0)
    default = MultimodalNet(TrainParams(), 384)
    assert not isinstance(default.text_branch, WordsBranch)
    assert isinstance(MultimodalNet(TrainParams(text="words"), 1).text_branch, WordsBranch)
