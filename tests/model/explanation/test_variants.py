"""Pieces of a text that are left out: which characters are one piece, and that nothing else goes with it."""

import itertools

import numpy as np
import pytest
import torch

from features.sentences import tag
from features.words.tokenizer import columns, tokenize
from model.explanation.variants import OfWords, mentions
from model.input.words import WordBatch, collate_words
from tests.features.texts import ALL, CA5SB3, SRTIO3


def read(text: str, prototype: str | None = None) -> OfWords:
    return OfWords.read(text, tag(text), prototype)


def labels(text: str, prototype: str | None = None) -> list[str]:
    return [text[start:end] for start, end in read(text, prototype).spans]


def same(one: WordBatch, other: WordBatch) -> None:
    for name in ("ids", "kinds", "values", "sentence", "mask", "regions"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0, equal_nan=True)


def test_rows_are_what_a_crystallographer_would_strike_out() -> None:
    assert labels(CA5SB3)[:12] == [
        "Ca5Sb3", "hexagonal", "P6_3/mcm", "two inequivalent Ca", "Ca(1)", "six equivalent Sb(1)", "mixture",
        "distorted", "corner", "edge", "face", "CaSb6"]
    assert labels(CA5SB3)[12:22] == [
        "octahedra", "corner", "octahedral", "tilt", "36°", "Ca(1)-Sb(1)", "3.31 Å", "Ca(2)", "5-coordinate",
        "five equivalent Sb(1)"]
    assert labels(SRTIO3, "(Cubic) Perovskite")[:4] == ["SrTiO3", "(Cubic) Perovskite", "cubic", "Pm-3m"]
    assert labels(SRTIO3)[8:12] == ["cuboctahedra", "corners", "twelve equivalent Sr(1)O12 cuboctahedra", "faces"]
    assert {"3.11-3.71 Å", "2.18 Å", "one shorter"} <= {label for text in ALL.values() for label in labels(text)}


@pytest.mark.parametrize("name", ALL)
def test_each_token_is_in_one_row_and_no_rows_overlap(name: str) -> None:
    text = ALL[name]
    tokens = tokenize(text, tag(text))
    spans, row_of = mentions(tokens)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    assert set(row_of.tolist()) == set(range(len(spans)))
    for token, row in zip(tokens, row_of, strict=True):
        assert spans[row][0] <= token.start < token.end <= spans[row][1]
        assert len({other.sentence for other, place in zip(tokens, row_of, strict=True) if place == row}) == 1


@pytest.mark.parametrize("name", ALL)
def test_a_copy_without_a_row_is_the_text_that_never_had_it(name: str) -> None:
    text, tagged = ALL[name], tag(ALL[name])
    tokens, said = tokenize(text, tagged), read(text)
    for row, (start, end) in enumerate(said.spans):
        left = [token for token in tokens if not start <= token.start < end]
        assert len(left) < len(tokens)
        same(said.without(range(row, row + 1)), collate_words(columns(left, tagged)))


def test_copies_side_by_side_are_those_one_by_one() -> None:
    said = read(CA5SB3)
    many = said.without(range(2, 7))
    assert many.mask.shape == (5, len(said.tagged))
    for place, row in enumerate(range(2, 7)):
        one = said.without(range(row, row + 1))
        mine = many.sentence // len(said.tagged) == place
        assert many.ids[mine].tolist() == one.ids.tolist()
        assert (many.sentence[mine] % len(said.tagged)).tolist() == one.sentence.tolist()
    same(said.copies(1), collate_words(columns(tokenize(CA5SB3, tag(CA5SB3)), tag(CA5SB3))))


def test_a_sentence_without_its_only_row_is_not_there() -> None:
    said = read("MoS2 forms sheets. It melts. Mo(1) is bonded to six S(1) atoms.")
    (row,) = (row for row, (start, end) in enumerate(said.spans) if said.text[start:end] == "melts")
    assert said.without(range(row, row + 1)).mask.tolist() == [[True, False, True]]
    assert said.copies(2).mask.all()


def test_a_long_text_comes_in_fewer_copies_at_once() -> None:
    short, long = read(CA5SB3), read(" ".join([CA5SB3] * 50))
    assert 1 <= long.at_once < short.at_once
    assert np.isclose(short.at_once / long.at_once, 50, rtol=0.05)
