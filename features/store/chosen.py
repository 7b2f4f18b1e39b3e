"""The rows that a table has of some crystals: read in one order, whatever its part files are, and their digest.

The order is that of the crystals' positions (`features.store.placement`), in which part files follow each other however
many there are. Positions are cut into equal ranges, the buckets, and a part file holds whole ones, so that the digest
of a bucket, and with it that of the rows, stays the same when a table grows and its parts are divided.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import UserError
from features.store import canonical, placement, tables

BUCKETS = 4096
"""Of a thousand crystals most have one of their own. Fixed for ever, as the next two: digests rest on it."""
MANY = 32_768
"""Crystals from which on `TOGETHER` buckets are one, since each has a digest of each piece of each column."""
TOGETHER = 4
EMPTY = hashlib.sha256().digest()
"""Of a bucket without rows."""
SHORT = 4
"""Bytes of a bucket's digest that tell where rows differ."""
THREADS = 2
"""Part files that are read and digested at once: what is in memory grows with it."""
ID, VARIANT = "material_id", "variant"
Ints = NDArray[np.int64]


class Crystals:
    """Ids, in the order of their positions; the order in which they are given plays no part."""

    def __init__(self, ids: Sequence[str]) -> None:
        ordered = sorted(ids)
        where = placement.positions(ordered)
        order = np.argsort(where, kind="stable")
        self.ids = pa.array(ordered, pa.string()).take(pa.array(order))
        self.buckets: Ints = where[order] // ((1 << placement.BITS) // BUCKETS)
        self.step = TOGETHER if len(ordered) >= MANY else 1
        """Buckets that have one digest together."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def bounds(self) -> Ints:
        """`[BUCKETS + 1]`, the first crystal of each bucket."""
        return np.searchsorted(self.buckets, np.arange(BUCKETS + 1)).astype(np.int64)

    @property
    def filled(self) -> Ints:
        """The digests that are of any crystals, by their number."""
        return np.unique(self.buckets // self.step)


@dataclass(frozen=True)
class Window:
    """Part files that hold a range of buckets."""

    low: int
    high: int
    """Buckets, half open."""
    files: list[Path]


@dataclass(frozen=True)
class Rows:
    """Rows of a window, sorted by crystal and variant."""

    table: pa.Table
    place: Ints
    """`[rows]`, the crystal of each row, as an index into all that are chosen."""


def windows(root: Path, name: str) -> list[Window]:
    """The part files of a table, by the buckets that they hold."""
    files = tables.files(root, name)
    count = min(len(files), BUCKETS // TOGETHER)
    if BUCKETS % count or len(files) % count:
        raise UserError(f"table '{name}' has {len(files)} part files, which do not hold ranges of crystals")
    step, each = BUCKETS // count, len(files) // count
    return [Window(number * step, (number + 1) * step, files[number * each:(number + 1) * each])
            for number in range(count)]


def merged(all_windows: Sequence[list[Window]]) -> list[list[Window]]:
    """The windows of several tables side by side: as many for each as the table of fewest has."""
    count = min(map(len, all_windows))
    return [[Window(some[0].low, some[-1].high, [file for one in some for file in one.files])
             for table in all_windows
             for some in [table[number * len(table) // count:(number + 1) * len(table) // count]]]
            for number in range(count)]


def read(window: Window, columns: Sequence[str], crystals: Crystals) -> Rows:
    """What a window has of the chosen crystals. Raises `Damaged`."""
    first, last = crystals.bounds[window.low], crystals.bounds[window.high]
    ids = crystals.ids.slice(first, last - first)
    keys = [ID, *([VARIANT] if VARIANT in tables.schema_of(window.files[0]).names else [])]
    table = tables.read_parts(window.files, list(dict.fromkeys([*keys, *columns]))).combine_chunks()
    found = pc.index_in(table[ID].combine_chunks(), value_set=ids)
    there = found.is_valid().to_numpy(zero_copy_only=False).nonzero()[0]
    place = found.drop_null().to_numpy().astype(np.int64)
    variant = table[VARIANT].to_numpy()[there] if VARIANT in keys else np.zeros(len(there), np.int64)
    order = np.lexsort((variant, place))
    twice = (np.diff(place[order]) == 0) & (np.diff(variant[order]) == 0)
    if twice.any():
        several = crystals.ids[int(first + place[order][int(twice.argmax())])]
        raise UserError(f"{window.files[0].parent.name} has several rows of {several}, and a training set takes one of "
                        "each crystal, or of each variant of its text")
    chosen = table.take(pa.array(there[order])).combine_chunks()
    return Rows(chosen, place[order] + first)


def present(root: Path, name: str, ids: pa.Array) -> pa.Array:
    """Those of the crystals that a table has rows of."""
    return ids.filter(pc.is_in(ids, value_set=tables.read(root, name, [ID])[ID].combine_chunks()))


def measured(root: Path, name: str, columns: Sequence[str], crystals: Crystals,
             seen: Callable[[Rows], Any] = lambda _rows: None) -> tuple[int, list[bytes], list[Any]]:
    """Number of rows, digest of each bucket, and what `seen` makes of the rows of each window, in their order."""
    def one(window: Window) -> tuple[int, list[bytes], Any]:
        rows = read(window, columns, crystals)
        cuts = np.searchsorted(rows.place, crystals.bounds[window.low:window.high + 1:crystals.step])
        named = [(column, rows.table[column].combine_chunks()) for column in dict.fromkeys([*_keys(rows), *columns])]
        return len(rows.place), [_digest(named, start, stop) for start, stop in itertools.pairwise(cuts)], seen(rows)

    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(one, windows(root, name)))
    return sum(count for count, _, _ in results), [one for _, many, _ in results for one in many], \
        [told for _, _, told in results]


def total(buckets: Sequence[bytes]) -> str:
    """The digest of all rows."""
    return hashlib.sha256(b"".join(buckets)).hexdigest()


def short(buckets: Sequence[bytes], crystals: Crystals) -> str:
    """The first bytes of the digest of each bucket that has crystals, in hexadecimal."""
    return b"".join(buckets[number][:SHORT] for number in crystals.filled.tolist()).hex()


def differing(before: str, after: str, crystals: Crystals) -> Iterator[list[str]]:
    """Of each bucket whose short digests differ, its crystals: one of them has another row, or none."""
    width = 2 * SHORT
    for number, bucket in enumerate(crystals.filled.tolist()):
        cut = slice(number * width, (number + 1) * width)
        if before[cut] != after[cut]:
            first, last = crystals.bounds[[bucket * crystals.step, (bucket + 1) * crystals.step]]
            yield crystals.ids.slice(first, last - first).to_pylist()


def _keys(rows: Rows) -> list[str]:
    return [ID, *([VARIANT] if VARIANT in rows.table.column_names else [])]


def _digest(columns: Sequence[tuple[str, pa.Array]], start: int, stop: int) -> bytes:
    if start == stop:
        return EMPTY
    digest = hashlib.sha256()
    for name, array in columns:
        digest.update(f"{name}\0".encode())
        canonical.update(digest, array.slice(start, stop - start))
    return digest.digest()
