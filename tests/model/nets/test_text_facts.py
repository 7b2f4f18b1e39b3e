"""A text as statistics of its words and numbers: right by hand, and the crystal's own in any batch."""

import numpy as np
import pytest
import torch

from features.words.vocabulary import TERMS
from model.input.words import Words
from model.nets.element_properties import NAMES, covalent_radii, standardised
from model.nets.text_facts import MISSING, SIZE, SPREADS, TextFacts, _first_ends
from tests.features.texts import BI2O3, CA5SB3, MOS2, SRTIO3
from tests.model.nets.test_words import row

N = len(NAMES)
MO, S = 42, 16


def facts(*texts: str) -> torch.Tensor:
    return TextFacts()(Words.of([row(text) for text in texts]).batch(np.arange(len(texts))))


def spread(of: torch.Tensor, name: str) -> list[float]:
    first = 6 * N + 4 * SPREADS.index(name)
    return of[first:first + 4].tolist()


def test_the_statistics_of_a_formula() -> None:
    """MoS2: a third molybdenum, two thirds sulphur."""
    mine, table = facts(MOS2)[0], torch.from_numpy(standardised()).double()
    mean = table[MO] / 3 + 2 * table[S] / 3
    torch.testing.assert_close(mine[:N], mean)
    torch.testing.assert_close(mine[N:2 * N], (table[MO] - mean).abs() / 3 + 2 * (table[S] - mean).abs() / 3)
    torch.testing.assert_close(mine[2 * N:3 * N], torch.minimum(table[MO], table[S]))
    torch.testing.assert_close(mine[3 * N:4 * N], torch.maximum(table[MO], table[S]))
    torch.testing.assert_close(mine[4 * N:5 * N], (table[MO] - table[S]).abs())
    torch.testing.assert_close(mine[5 * N:6 * N], table[S])


def test_spreads_by_hand() -> None:
    assert "Mo(1)-S(1) bond lengths are 2.41 Å" in MOS2
    mine = facts(MOS2)[0]
    assert spread(mine, "length") == pytest.approx([2.41, 0, 2.41, 2.41], abs=1e-6)
    ratio = 2.41 / float(covalent_radii()[MO] + covalent_radii()[S])
    assert spread(mine, "length against radii") == pytest.approx([ratio, 0, ratio, ratio], abs=1e-6)
    assert spread(mine, "neighbours") == pytest.approx([4.5, 1.5, 3, 6])
    assert spread(mine, "charge") == [MISSING] * 4


def test_a_term_counts_by_the_sentence() -> None:
    mine, sentences = facts(MOS2)[0], len(set(row(MOS2)["token_sentences"]))
    said = row(MOS2)["token_ids"].count(119 + TERMS.index("edge"))
    assert said > 0
    assert float(mine[6 * N + 4 * len(SPREADS) + TERMS.index("edge")]) == pytest.approx(said / sentences)
    assert float(mine[-1]) == sentences


def test_a_text_does_not_see_its_batch() -> None:
    texts = (BI2O3, CA5SB3, MOS2, SRTIO3)
    together = facts(*texts)
    assert together.shape == (4, SIZE)
    for place, text in enumerate(texts):
        torch.testing.assert_close(together[place], facts(text)[0])


def test_a_crystal_without_text_lacks_everything() -> None:
    nothing = TextFacts()(Words.of([row(MOS2)]).batch(np.array([-1, 0])))[0]
    assert set(nothing[:6 * N + 4 * len(SPREADS)].tolist()) == {MISSING}
    assert not nothing[6 * N + 4 * len(SPREADS):].any()


def test_the_two_ends_of_a_bond_are_its_own() -> None:
    """Three runs: two bonds side by side, an end without another, and a bond of the next sentence."""
    end = torch.tensor([True, True, True, True, False, True, True, True])
    sentence = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    assert _first_ends(end, sentence).tolist() == [0, 2, 6]
