"""A rewritten text is what `re` makes of it, and each character leads back to where it came from."""

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from features.paraphraser.vocabulary import NORMAL_FORM, normalise
from features.words.traced import Traced
from tests.features.texts import ALL

PIECES = ["twelve", " ", "12", "-", "\u2013", "fold", " coordinated", "Å", "angstroms", " degrees", "°", "bent ", "In ",
          "the ", "a single ", "iron", "O(1)", "x", "2.5"]


def normal(text: str) -> Traced:
    words = Traced.of(text, 0, len(text))
    for pattern, by in NORMAL_FORM:
        words = words.sub(pattern, by)
    return words


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.sampled_from(list(ALL.values())))
def test_it_reads_as_the_normal_form(text: str) -> None:
    words = normal(text)
    assert words.text == normalise(text)
    assert len(words.origin) == len(words.text)
    assert all(one == other or one[1] <= other[0] for one, other in itertools.pairwise(words.origin))
    for character, (start, end) in zip(words.text, words.origin, strict=True):
        assert text[start:end] == character or end - start > 1 or character in "- Åi°"


def test_what_stands_for_a_piece_leads_back_to_the_whole_piece() -> None:
    text = "Here: all twelve O-Ti bonds"
    words = Traced.of(text, 6, len(text)).sub(re.compile("twelve"), "12").sub(re.compile("O-(..)"), r"\1")
    assert words.text == "all 12 Ti bonds"
    assert [text[slice(*words.span(*m.span()))] for m in re.finditer(r"\S+", words.text)] == [
        "all", "twelve", "O-Ti", "bonds"]
    without = words.replaced(4, 7, "")
    assert without.text == "all Ti bonds"
    assert text[slice(*without.span(0, 6))] == "all twelve O-Ti"
