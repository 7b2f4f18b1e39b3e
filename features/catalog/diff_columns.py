"""Columns of two versions, row by row: which values are equal, and which moved most."""

from __future__ import annotations

import difflib
import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

SHOWN = 5
"""Moves that are kept of a column."""
AROUND = 6
"""Words that are shown before and behind those that changed."""
LONG = 40
"""Characters from which a text is told as the words that changed."""

WORDS = 500
"""Words, spaces and signs of a text that are compared, from the first that differs on."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Move:
    """One value that changed."""

    row: str
    """Values of the row's key."""
    before: Any
    after: Any
    """Of a list of numbers: that of its items which moved most."""
    by: float | None = None
    """Distance of numbers; None of what is no number, or is missing in one version."""
    item: int | None = None
    """Which item of the list it is, nested lists laid flat."""
    words: list[tuple[str, str]] | None = None
    """What changed in a long text: pieces and their kinds, ` ` in both, `-` before, `+` after, `…` left out."""


@dataclass
class ColumnChange:
    """What became of one column, over the rows that both versions have."""

    column: str
    rows: int = 0
    equal: int = 0
    moves: list[Move] = field(default_factory=list)
    """The largest, or some of what cannot be measured."""
    is_comparable: bool = True
    """Whether one type holds the values of both. Otherwise all differ that are not missing in both."""

    @property
    def share(self) -> float | None:
        """Share of equal values; None without rows."""
        return self.equal / self.rows if self.rows else None

    def add(self, before: pa.Array, after: pa.Array, names: Callable[[int], str]) -> Bools:
        """Count aligned values in; which of them are equal. `names` gives the key of a row."""
        self.is_comparable &= before.type == after.type
        same = equal(before, after)
        self.rows += len(same)
        self.equal += int(same.sum())
        other = np.flatnonzero(~same)
        if len(other):
            if len(other) < len(same):
                before, after = (array.take(pa.array(other)) for array in (before, after))
            found = _moves(before, after, other, names)
            self.moves = sorted([*self.moves, *found], key=lambda move: -math.inf if move.by is None else move.by,
                                reverse=True)[:SHOWN]
        return same

    def tell(self) -> None:
        """Say of the moves of long texts which words changed; done at the end, of few."""
        self.moves = [replace(move, words=_words(move.before, move.after)) for move in self.moves]


def equal(before: pa.Array, after: pa.Array) -> Bools:
    """Which values of two arrays are equal: missing ones are, NaN is equal to NaN, lists are by item. Those of another
    type are not."""
    none = _mask(before.is_null()), _mask(after.is_null())
    if before.type != after.type:
        return none[0] & none[1]
    return (none[0] & none[1]) | (~none[0] & ~none[1] & _equal(before, after))


def _equal(before: pa.Array, after: pa.Array) -> Bools:
    """The same where neither is missing; anything elsewhere."""
    kind = before.type
    if not len(before) or pa.types.is_null(kind):
        return np.ones(len(before), bool)
    if pa.types.is_floating(kind):
        one, other = _numbers(before), _numbers(after)
        return (one == other) | (np.isnan(one) & np.isnan(other))
    if pa.types.is_dictionary(kind):
        return equal(before.dictionary_decode(), after.dictionary_decode())
    if pa.types.is_struct(kind):
        parts = (equal(one, other) for one, other in zip(before.flatten(), after.flatten(), strict=True))
        return np.logical_and.reduce([np.ones(len(before), bool), *parts])
    if _is_list(kind):
        lengths = _lengths(before), _lengths(after)
        alike = lengths[0] == lengths[1]
        rows = np.flatnonzero(alike & (lengths[0] > 0))
        items = [array.take(pa.array(rows)).flatten() for array in (before, after)]
        owners = np.repeat(rows, lengths[0][rows])
        alike[owners[~equal(*items)]] = False
        return alike
    if pa.types.is_map(kind):
        return equal(_as_list(before), _as_list(after))
    return _mask(pc.equal(before, after))


def _moves(before: pa.Array, after: pa.Array, places: NDArray[np.int64], names: Callable[[int], str]) -> list[Move]:
    """The largest of values that differ."""
    size, item = _distance(before, after)
    moves = []
    for place in np.argsort(-np.nan_to_num(size, nan=-np.inf), kind="stable")[:SHOWN].tolist():
        one, other = (plain(array[place].as_py()) for array in (before, after))
        by = None if math.isnan(size[place]) else float(size[place])
        at = item(place) if by is not None and item is not None else None
        if at is not None:
            one, other = _flat(one)[at], _flat(other)[at]
        moves.append(Move(names(int(places[place])), one, other, by, at))
    return moves


def _distance(before: pa.Array, after: pa.Array) -> tuple[NDArray[np.float64], Callable[[int], int] | None]:
    """How far each value moved, NaN where that cannot be said; of lists of numbers the farthest item, and which."""
    if before.type != after.type:
        return np.full(len(before), np.nan), None
    if is_number(before.type):
        return np.abs(_numbers(after).astype(np.float64) - _numbers(before).astype(np.float64)), None
    size = np.full(len(before), np.nan)
    if not _is_list(before.type):
        return size, None
    (one, counts), (other, others) = _laid_flat(before), _laid_flat(after)
    if not is_number(one.type):
        return size, None
    alike = (counts == others) & (counts > 0)
    leaves = [_numbers(leaf)[np.repeat(alike, count)] for leaf, count in ((one, counts), (other, others))]
    with np.errstate(invalid="ignore"):  # infinite in both
        moved = np.abs(np.subtract(leaves[1], leaves[0], dtype=np.float32 if one.type == pa.float16() else np.float64))
    starts = np.concatenate([[0], np.cumsum(counts[alike])])
    if len(moved):
        size[alike] = np.fmax.reduceat(moved, starts[:-1])
    rank = np.cumsum(alike) - 1
    return size, lambda place: int(np.nanargmax(moved[starts[rank[place]]:starts[rank[place] + 1]]))


def _laid_flat(array: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """The innermost items of lists, and how many each value has."""
    owners = np.arange(len(array))
    total = len(array)
    while _is_list(array.type):
        owners = np.repeat(owners, _lengths(array))
        array = array.flatten()
    return array, np.bincount(owners, minlength=total)


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _as_list(array: pa.Array) -> pa.Array:
    """A map as the list of its entries."""
    return array.cast(pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])))


def _lengths(array: pa.Array) -> NDArray[np.int64]:
    return np.asarray(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _numbers(array: pa.Array) -> Any:
    return array.to_numpy(zero_copy_only=False)


def _mask(array: pa.Array) -> Bools:
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), bool)


def _flat(value: Any) -> list[Any]:
    """The items of nested lists."""
    if isinstance(value, list):
        return list(itertools.chain.from_iterable(map(_flat, value)))
    return [value]


def plain(value: Any) -> Any:
    """A value as JSON holds it; NaN and infinity, which it has no word for, as words."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    return value if isinstance(value, str | int | bool | type(None)) else str(value)


def _words(before: Any, after: Any) -> list[tuple[str, str]] | None:
    """What changed in a long text, or in a long value that is no number; None of all others."""
    if any(isinstance(value, int | float | None) for value in (before, after)):
        return None
    texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in (before, after)]
    return word_diff(*texts) if max(map(len, texts)) > LONG and any(" " in text for text in texts) else None


def word_diff(before: str, after: str) -> list[tuple[str, str]]:
    """What changed between two texts, word by word, with some words around it; of long texts, the first of it."""
    one, other = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (before, after))
    head = shared(one, other)
    tail = shared(one[:head - 1 if head else None:-1], other[:head - 1 if head else None:-1])
    ends = one[:head], one[len(one) - tail:]
    one, other = one[head:len(one) - tail], other[head:len(other) - tail]
    changes = difflib.SequenceMatcher(None, one[:WORDS], other[:WORDS], autojunk=False).get_opcodes()
    if cut := max(len(one), len(other)) > WORDS:  # the time goes with the square
        while changes and changes[-1][0] != "equal":  # what they share lies behind the cut
            changes.pop()
    pieces = _shortened(ends[0], first=True, last=False)
    for kind, a, b, c, d in changes:
        if kind == "equal":
            pieces += _shortened(one[a:b], first=False, last=False)
        else:
            pieces += [(sign, "".join(words)) for sign, words in (("-", one[a:b]), ("+", other[c:d])) if words]
    return [*pieces, ("…", " …")] if cut else pieces + _shortened(ends[1], first=False, last=True)


def shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words, or letters, both begin with."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _shortened(words: Sequence[str], first: bool, last: bool) -> list[tuple[str, str]]:
    head, tail = (0 if first else 2 * AROUND), (0 if last else 2 * AROUND)  # every second one is a space
    if len(words) <= head + tail + 1:
        return [(" ", "".join(words))] if words else []
    parts = [(" ", "".join(words[:head])), ("…", " … "), (" ", "".join(words[len(words) - tail:]))]
    return [part for part in parts if part[1]]
