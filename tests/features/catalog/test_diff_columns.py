"""Values of two versions, compared column by column."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalog.diff_columns import WORDS, ColumnChange, equal, word_diff

NUMBER = st.one_of(st.none(), st.floats(width=16), st.just(math.nan))
KINDS = {
    pa.float64(): NUMBER,
    pa.list_(pa.float16()): st.one_of(st.none(), st.lists(NUMBER, max_size=3)),
    pa.list_(pa.list_(pa.int32())): st.one_of(st.none(), st.lists(st.one_of(st.none(), st.lists(
        st.one_of(st.none(), st.integers(0, 2)), max_size=2)), max_size=3)),
    pa.list_(pa.struct([("a", pa.string()), ("b", pa.list_(pa.float32()))])): st.lists(st.one_of(
        st.none(), st.fixed_dictionaries({"a": st.sampled_from([None, "x", ""]), "b": st.lists(NUMBER, max_size=2)})),
        max_size=3),
    pa.map_(pa.string(), pa.float64()): st.lists(st.tuples(st.sampled_from("xy"), NUMBER), max_size=2),
}


def as_written(value: object) -> object:
    """A value as Python compares it: NaN is equal to NaN, and 0 to -0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value
    if isinstance(value, list | tuple):
        return [as_written(item) for item in value]
    return {name: as_written(item) for name, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.data())
def test_values_are_equal_as_python_has_it(kind: pa.DataType, data: st.DataObject) -> None:
    one, other = (pa.array(values, kind) for values in zip(*data.draw(
        st.lists(st.tuples(KINDS[kind], KINDS[kind]) | KINDS[kind].map(lambda value: (value, value)), min_size=1,
                 max_size=6)), strict=True))
    if data.draw(st.booleans()):  # arrays may begin in the middle of a buffer
        one, other = one[1:], other[1:]
    expected = [as_written(a) == as_written(b) for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True)]
    assert equal(one, other).tolist() == expected


def test_the_largest_moves_of_numbers_and_of_vectors() -> None:
    change = ColumnChange("k_vrh")
    for part in range(3):
        before = np.arange(100) + 100.0 * part
        after = before + np.where(before % 40 == 7, before, 0)
        change.add(pa.array(before), pa.array(after), lambda row, part=part: f"m{row + 100 * part}")
    assert (change.rows, change.equal) == (300, 292)
    assert [(move.row, move.before, move.after, move.by) for move in change.moves[:2]] == [
        ("m287", 287.0, 574.0, 287.0), ("m247", 247.0, 494.0, 247.0)]

    before = [[1.0, 2.0], [3.0], None, [1.0], [math.nan, 1.0], [5.0, 6.0]]
    after = [[1.0, 2.0], [3.5], [1.0], [1.0, 2.0], [math.nan, 9.0], [5.0, 4.0]]
    change = ColumnChange("vector")
    change.add(pa.array(before, pa.list_(pa.float16())), pa.array(after, pa.list_(pa.float16())), str)
    assert change.equal == 1
    assert [(move.row, move.item, move.before, move.after, move.by) for move in change.moves] == [
        ("4", 1, 1.0, 9.0, 8.0), ("5", 1, 6.0, 4.0, 2.0), ("1", 0, 3.0, 3.5, 0.5), ("2", None, None, [1.0], None),
        ("3", None, [1.0], [1.0, 2.0], None)]


WORD = st.sampled_from(["Si", "is", "bonded", " ", "4", ".", "Å"])


@given(before=st.lists(WORD, max_size=60).map("".join), after=st.lists(WORD, max_size=60).map("".join))
def test_a_word_diff_holds_what_was_there_and_what_is(before: str, after: str) -> None:
    pieces = word_diff(before, after)
    for text, sign in ((before, "-"), (after, "+")):
        place = 0
        for kind, piece in pieces:
            if kind in (" ", sign):
                place = text.index(piece, place) + len(piece)  # in this order
    assert any(kind in "-+" for kind, _ in pieces) == (before != after)


def test_a_word_diff_shows_what_changed_and_little_else() -> None:
    text = "Si crystallizes in the cubic Fd-3m space group . " + "It is " * 50 + "bonded to four equivalent Si atoms."
    assert word_diff(text, text.replace("bonded to four", "bonded to five")) == [
        ("…", " … "), (" ", "It is It is bonded to "), ("-", "four"), ("+", "five"), (" ", " equivalent Si atoms.")]
    long = " ".join(map(str, range(2 * WORDS)))
    pieces = word_diff(long, long.replace("1", "2"))
    assert pieces[-1] == ("…", " …")
    assert sum(len(piece) for _, piece in pieces) < len(long)
