"""Exchanged tokens are those of the text whose characters were exchanged; pieces, and what makes batches of them."""

from typing import Any

import numpy as np
import pytest
import torch

from features import sentences
from features.sentences import Sentence, tag
from features.words.tokenizer import columns, tokenize
from model.explanation.replacement import donors_of
from model.explanation.texts import (
    Change,
    Piece,
    Reading,
    VectorPiece,
    VectorReading,
    WordPiece,
    WordReading,
    collate,
    cut,
    joined,
    reader,
    rewritten,
)
from model.forward import as_text
from model.input.batch import TextBatch, Texts, collate_texts
from model.input.words import WordBatch, Words, collate_words
from tests.features.texts import ALL, BI2O3, MOS2, SRTIO3
from tests.model.explanation.models import PROTOTYPES, READ, encoder, made, row, words


def same(one: list[Piece], other: list[Piece]) -> bool:
    return len(one) == len(other) and all(
        a.region == b.region and all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True)
                                     for name in ("ids", "kinds", "values"))
        for a, b in zip(one, other, strict=True))


def equal(one: WordBatch | TextBatch, other: WordBatch | TextBatch) -> None:
    for name in ("ids", "kinds", "values", "sentence") if isinstance(one, WordBatch) else ("vectors",):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(one.mask, other.mask)
    assert torch.equal(one.regions, other.regions)


def prototype_of(reading: Reading, changes: list[Change]) -> str | None:
    """That of the text with the changes made."""
    name = PROTOTYPES.get(reading.text)
    for change in changes:
        if change.unit.kind == "prototype":
            name = None if change.by is None else PROTOTYPES.get(change.by[0].text)
    return name


def again(reading: Reading, changes: list[Change]) -> WordReading:
    """The text with its characters exchanged, read as any text is."""
    text, tagged = rewritten(reading, changes)
    return WordReading.read({"text": text, "sentences": sentences.to_rows(tagged),
                             "mineral": prototype_of(reading, changes)})


def test_any_fact_for_any_of_its_kind() -> None:
    """No tokenisation of these texts depends on what stands around a fact. The other sentences are not touched."""
    count = 0
    for mine in READ.values():
        for unit in mine.parsed.facts:
            for other in READ.values():
                for donor in (one for one in other.parsed.facts if one.kind == unit.kind):
                    change = Change(unit, (other, donor))
                    (pieces,) = mine.variants([[change]])
                    text, tagged = rewritten(mine, [change])
                    place, region = tagged[unit.sentence], tagged[unit.sentence].region
                    alone = WordReading.read({
                        "text": text[place.start:place.end], "mineral": prototype_of(mine, [change]),
                        "sentences": sentences.to_rows([Sentence(0, place.end - place.start, region)])})
                    assert same([pieces[unit.sentence]], alone.pieces), text[place.start:place.end]
                    assert pieces[:unit.sentence] == mine.pieces[:unit.sentence]
                    assert pieces[unit.sentence + 1:] == mine.pieces[unit.sentence + 1:]
                    count += 1
    assert count > 1000


@pytest.mark.parametrize("name", ALL)
def test_several_changes_at_once_and_places_left_empty(name: str) -> None:
    mine, rng = READ[name], np.random.default_rng(0)
    tried = [[Change(unit, None)] for unit in mine.parsed.facts]
    for number in range(20):
        chosen = [unit for unit in mine.parsed.facts if rng.random() < 0.5]
        donors = [donors_of(unit, number, list(READ.values())) for unit in chosen]
        tried.append([Change(unit, None if number % 5 == 0 else some[rng.integers(len(some))])
                      for unit, some in zip(chosen, donors, strict=True)])
    assert max(len([one for one in some if one.unit.sentence == 0]) for some in tried) > 1
    for changes, pieces in zip(tried, mine.variants(tried), strict=True):
        assert same(pieces, again(mine, changes).pieces), changes


def test_the_text_with_changes_made_is_what_one_would_write() -> None:
    mine, other = READ["SrTiO3"], READ["Bi2O3"]
    facts = {mine.text[one.start:one.end]: one for one in mine.parsed.facts}
    theirs = {other.text[one.start:one.end]: one for one in other.parsed.facts}
    text, tagged = rewritten(mine, [Change(facts["cubic"], (other, theirs["monoclinic"])),
                                    Change(facts["Pm-3m"], (other, theirs["P2_1/c"])),
                                    Change(facts["corner-sharing octahedra are not tilted"], None)])
    assert [text[one.start:one.end] for one in tagged][::4] == [
        "SrTiO3 is (Cubic) Perovskite structured and crystallizes in the monoclinic P2_1/c space group.", "The ."]
    assert [one.region for one in tagged] == [one.region for one in mine.tagged]
    assert [text[one.start:one.end] for one in tagged[5:]] == [SRTIO3[one.start:one.end] for one in mine.tagged[5:]]
    assert rewritten(mine, []) == (SRTIO3, mine.tagged)


def test_the_same_changes_are_the_same_piece() -> None:
    """So that it is read once, however many variants it stands in."""
    mine, other = words(SRTIO3), READ["Ca5Sb3"]
    first, second = mine.parsed.facts[2:4]
    change = Change(first, (other, donors_of(first, 0, [other])[0][1]))
    one, two, three = mine.variants([[change], [change], [change, Change(second, None)]])
    assert one[0] is two[0]
    assert one[0] is not three[0]
    assert mine.variants([[change]])[0][0] is one[0]
    (none,) = mine.variants([[]])
    assert none == mine.pieces


def test_a_sentence_whose_only_fact_is_gone_is_not_there() -> None:
    mine = words("MoS2 forms sheets. It melts. Mo(1) is bonded to six S(1) atoms.")
    (melts,) = (one for one in mine.parsed.facts if mine.text[one.start:one.end] == "melts")
    (pieces,) = mine.variants([[Change(melts, None)]])
    assert collate([pieces, mine.pieces], 1).mask.tolist() == [[True, False, True], [True] * 3]


def test_words_in_a_batch_are_those_of_the_table() -> None:
    tables = {name: columns(tokenize(text, tag(text), PROTOTYPES.get(text)), tag(text)) for name, text in ALL.items()}
    for name, columns_of in tables.items():
        equal(collate([READ[name].pieces], 1), collate_words(columns_of))
    every = joined([one.pieces for one in READ.values()], 1)
    assert isinstance(every, Words)
    whole = Words.of(list(tables.values()))
    equal(every.batch(np.array([3, -1, 0, 5])), whole.batch(np.array([3, -1, 0, 5])))
    equal(collate([[], READ["MoS2"].pieces], 1), whole.batch(np.array([-1, 2])))
    equal(collate([[]], 1), collate_words(None))


@pytest.mark.parametrize("most", [1, 6, 7, 20, 1000])
def test_cut_is_the_first_words(most: int) -> None:
    variants = [one.pieces for one in READ.values()]
    whole = collate(variants, 1)
    assert isinstance(whole, WordBatch)
    equal(collate([cut(one, most) for one in variants], 1), whole.first(most))
    for one in variants:
        assert cut(one, None) == one
        assert cut(one, most) == cut(one, most)  # the same pieces


def test_regions_and_readers() -> None:
    mine = READ["SrTiO3"]
    assert [len(mine.of_region(region)) for region in range(3)] == [1, 3, 3]
    assert {id(one) for region in range(3) for one in mine.of_region(region)} == set(map(id, mine.pieces))
    read = reader(made())
    assert same(read(row(BI2O3)).pieces, READ["Bi2O3"].pieces)
    with_sites = read(row(MOS2, [{"element": "Mo", "labels": [1], "atoms": [0, 1]}]))
    assert (0, 1) in {one.atoms for one in with_sites.parsed.facts}
    vectors = reader(made(text="sentences", text_dim=384))(row(SHORT))
    assert isinstance(vectors, VectorReading)


SHORT = "MoS2 crystallizes in the hexagonal P6_3/mmc space group. All Mo(1)-S(1) bond lengths are 2.41 Å."
OTHER = "NaCl crystallizes in the cubic Fm-3m space group. All Na(1)-Cl(1) bond lengths are 2.85 Å."


def test_vectors_are_those_of_the_text_that_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """All variants are encoded at once."""
    net = encoder()
    mine, other = (VectorReading.read(row(text), net) for text in (SHORT, OTHER))
    tagged = tag(SHORT)
    (encoded,) = net.encode([SHORT], [tagged])
    text = as_text(encoded, tagged)
    assert [piece.region for piece in mine.pieces] == text.regions.tolist() == [0, 2]
    equal(collate([mine.pieces], 384), collate_texts([text], 384))
    assert [mine.text[one.start:one.end] for one in mine.parsed.facts] == [
        "MoS2", "hexagonal", "P6_3/mmc", "Mo(1)-S(1) bond lengths are 2.41 Å"]
    changes = [[Change(mine.parsed.facts[2], (other, other.parsed.facts[2]))], [Change(mine.parsed.facts[3], None)]]
    asked = []
    real = type(net).encode

    def encode(self: Any, texts: Any, sentences_of: Any) -> Any:
        asked.append(list(texts))
        return real(self, texts, sentences_of)

    monkeypatch.setattr(type(net), "encode", encode)
    variants = mine.variants(changes)
    assert asked == [[SHORT.replace("P6_3/mmc", "Fm-3m"), SHORT.replace("Mo(1)-S(1) bond lengths are 2.41 Å", "")]]
    (fresh,) = real(net, [asked[0][0]], [tag(asked[0][0])])
    assert all(isinstance(piece, VectorPiece) for piece in variants[0])
    found = collate(variants, 384)
    assert isinstance(found, TextBatch)
    # which texts share a batch of the encoder changes its last digits
    torch.testing.assert_close(found.vectors[0], torch.from_numpy(as_text(fresh, tag(asked[0][0])).vectors), rtol=0,
                               atol=2e-3)
    assert not torch.equal(found.vectors[0, 0], collate([mine.pieces], 384).vectors[0, 0])  # type: ignore[union-attr]
    assert isinstance(joined(variants, 384), Texts)
    with pytest.raises(TypeError, match="words can only be exchanged for words"):
        words(SHORT).variants([[Change(words(SHORT).parsed.facts[0], (mine, mine.parsed.facts[0]))]])
    assert not any(isinstance(piece, WordPiece) for piece in mine.pieces)
