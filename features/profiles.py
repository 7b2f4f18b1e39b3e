"""The table `profiles`: what the columns of all tables hold, in numbers.

A part file is read once, in batches, all columns together. Of a batch stay the numbers themselves, lengths of texts and
lists, and 64-bit hashes of texts: 8 to 12 bytes for each row and column, whatever is in it. Of vectors and other lists
of numbers nothing is said but how many items they have and how many of these are not finite: statistics of single
coordinates would cost much and say little. Values are sorted before they are summed, so that neither the number of
threads nor the order of the rows changes a bit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features import contract
from features.paths import Paths
from features.store import sums, tables, versions
from features.store.files import remove
from features.store.sums import Damaged
from features.store.tables import REJECTS
from features.view import column, rows_to_table

NAME = "profiles"
VERSION = 1
"""Raised when a number of the table would come out otherwise: then all are counted again."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 24
FEW = 256
"""Different values up to which those of a text are counted one by one; there are 230 space groups."""
SHOWN = 20
THREADS = 8
"""At most so many parts are read at once."""
BATCH = 1024
"""Rows of a part that are in memory at once: of token vectors these are 160 MB."""

SCHEMA = pa.schema([
    column("table_name", pa.string(), "table, or rejects"),
    column("position", pa.int32(), "place of the column in its table, from 0"),
    column("column_name", pa.string(), "column; other_properties.NAME is one entry of that map"),
    column("type", pa.string(), "type of the column"),
    column("unit", pa.string(), "unit of its values; null if they have none"),
    column("rows", pa.int64(), "rows of the table"),
    column("missing", pa.int64(), "rows without a value"),
    column("distinct", pa.int64(), "different values, of texts by hashes of 64 bits; null for lists"),
    column("not_finite", pa.int64(), "numbers that are NaN or infinite, in lists those of all items; they count "
                                     "nowhere else; null for what is no number"),
    column("measure", pa.string(), "what the statistics are of: value, seconds since 1970, characters (of a text) or "
                                   "items (of a list); null if there are none"),
    column("min", pa.float64(), "smallest"),
    column("max", pa.float64(), "largest"),
    column("mean", pa.float64(), "mean"),
    column("std", pa.float64(), "standard deviation of the population"),
    column("quantiles", pa.list_(pa.float64()), "quantiles at 1, 5, 25, 50, 75, 95 and 99%"),
    column("edges", pa.list_(pa.float64()), "edges of the histogram's bins, one more than bins; the last one belongs "
                                            "to its bin"),
    column("counts", pa.list_(pa.int64()), "rows in each bin"),
    column("words", pa.list_(pa.struct([("value", pa.string()), ("count", pa.int64())])),
           f"the {SHOWN} most frequent values of a text that has at most {FEW}, of lists of texts the items; null for "
           "others"),
])

Numbers = NDArray[np.float64]


def write(root: Path) -> None:
    """Write the table for all tables of a project folder but those that belong to no version.

    Rows of tables whose bytes are those of the last time are taken from there.
    """
    made = digests(root)
    rows = contract.checked(NAME, contract.of(NAME), [read(root)])
    tables.publish(Paths(root).table(NAME), SCHEMA, ("table_name", "position", "column_name"), rows,
                   iter([{"view": NAME, "version": VERSION, "parts": 1, "tables": made}]))


def drop_damaged(root: Path) -> None:
    """Remove the table if it is damaged: `write` makes it again, and nothing else can say what was in it."""
    if tables.exists(root, NAME) and tables.damages(root, NAME):
        remove(Paths(root).table(NAME))


def read(root: Path, name: str | None = None) -> pa.Table:
    """The profiles of all tables in a project folder, or of one: stored ones of tables that are what they were, others
    counted now. Raises `UserError` if there is no such table, and `Damaged`.
    """
    known = _known(root)
    return rows_to_table([row for one, digest in digests(root).items() if name is None or one == name
                          for row in (known[one, digest] if (one, digest) in known else profile(root, one))], SCHEMA)


def digests(root: Path) -> dict[str, str]:
    """Digest of each table that is profiled, and of all rejects together, by its name."""
    made = {}
    for name in tables.names(root):
        if name != NAME and name not in versions.APART:
            told = Paths(root).table(name) / sums.SUMS
            made[name] = hashlib.sha256(told.read_bytes()).hexdigest() if told.exists() \
                else versions.digest(Paths(root).table(name))
    rejects = Paths(root).features / REJECTS
    return made | ({REJECTS: versions.digest(rejects)} if tables.reject_files(root) else {})


def _known(root: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Rows of the stored profiles, by table and digest."""
    try:
        told = tables.footer(tables.files(root, NAME)[0]) if tables.exists(root, NAME) else {}
        if told.get("version") != VERSION:
            return {}
        known: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in tables.read(root, NAME).to_pylist():
            known.setdefault((row["table_name"], told["tables"][row["table_name"]]), []).append(row)
    except Damaged:
        return {}
    return known


def profile(root: Path, name: str) -> list[dict[str, Any]]:
    """Rows of `profiles` for one table. Raises `UserError` if there is no such table, and `Damaged`."""
    return _profile(name, tables.reject_files(root) if name == REJECTS else tables.files(root, name))


def _profile(name: str, files: Sequence[Path]) -> list[dict[str, Any]]:
    schema = tables.schema_of(files[0])
    units = tables.footer(files[0]).get("units", {})
    columns = [Column.of(one) for one in schema]
    n_rows = 0
    # decoding vectors is what takes long, and Arrow gives one column to one thread; parts come back in their order
    with ThreadPoolExecutor(min(len(files), pa.cpu_count(), THREADS)) as pool:
        for count, part in pool.map(_part, files, repeat(schema)):
            n_rows += count
            for column_so_far, found in zip(columns, part, strict=True):
                column_so_far.take_in(found)
    return [{"table_name": name, "position": position, "column_name": one.name, "type": str(one.dtype),
             "unit": one.unit, "rows": n_rows, **one.told()}
            for position, found in enumerate(columns) for one in (found, *found.entries(n_rows, units))]


def _part(path: Path, schema: pa.Schema) -> tuple[int, list[Column]]:
    """Rows of a part file, and what is in its columns."""
    columns = [Column.of(one) for one in schema]
    n_rows = 0
    with sums.parquet(path) as file:
        for batch in file.iter_batches(BATCH, use_threads=False):
            n_rows += len(batch)
            for found in columns:
                found.add(batch.column(found.name))
    return n_rows, columns


@dataclass
class Column:
    """What has been seen of one column."""

    name: str
    dtype: pa.DataType
    unit: str | None = None
    missing: int = 0
    not_finite: int = 0
    numbers: list[NDArray[Any]] = field(default_factory=list)
    """Values, or lengths."""
    hashes: list[NDArray[np.uint64]] = field(default_factory=list)
    words: Counter[str] | None = field(default_factory=Counter)
    """Of each value how often it occurs; None once there are too many."""
    inner: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    """Values of each entry of a map of numbers."""

    @classmethod
    def of(cls, found: pa.Field) -> Column:
        metadata = found.metadata or {}
        return cls(found.name, found.type, metadata.get(b"unit", b"").decode() or None)

    @property
    def measure(self) -> str | None:
        if _is_list(self.dtype):
            return "items"
        if pa.types.is_string(self.dtype) or pa.types.is_large_string(self.dtype):
            return "characters"
        if pa.types.is_timestamp(self.dtype):
            return "seconds since 1970"
        return "value" if _is_number(self.dtype) else None

    def add(self, values: pa.Array) -> None:
        """Take in a batch of values."""
        self.missing += values.null_count
        values = values.drop_null()
        if self.measure == "value":
            self._add_numbers(values.cast(pa.float64()).to_numpy(zero_copy_only=False))
        elif self.measure == "seconds since 1970":
            self.numbers.append(values.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy() / 1e6)
        elif self.measure == "characters":
            import polars as pl

            self.numbers.append(pc.utf8_length(values).to_numpy())
            self.hashes.append(pl.Series(values).hash(0).to_numpy())
            self._count(values)
        elif self.measure == "items":
            self._add_lists(values)
        elif pa.types.is_boolean(self.dtype):
            self._count(values.cast(pa.string()))

    def take_in(self, other: Column) -> None:
        """Take in what has been seen of the column elsewhere."""
        self.missing += other.missing
        self.not_finite += other.not_finite
        self.numbers += other.numbers
        self.hashes += other.hashes
        for key, numbers in other.inner.items():
            self.inner.setdefault(key, []).extend(numbers)
        if self.words is not None and other.words is not None:
            self.words += other.words
        self.words = None if other.words is None or len(self.words or ()) > FEW else self.words

    def _add_numbers(self, numbers: Numbers) -> None:
        finite = np.isfinite(numbers)
        self.not_finite += int(len(numbers) - np.count_nonzero(finite))
        self.numbers.append(numbers[finite])

    def _add_lists(self, values: pa.Array) -> None:
        if pa.types.is_map(self.dtype):
            self.numbers.append(np.diff(values.offsets.to_numpy()))
            if _is_number(self.dtype.item_type):
                first, last = (values.offsets[place].as_py() for place in (0, -1))
                keys, items = (part.slice(first, last - first) for part in (values.keys, values.items))
                for key in pc.unique(keys).to_pylist():
                    self.inner.setdefault(key, []).append(
                        items.filter(pc.equal(keys, key)).drop_null().cast(pa.float64()).to_numpy())
            return
        self.numbers.append(pc.list_value_length(values).to_numpy())
        while _is_list(values.type):
            values = values.flatten()
        if pa.types.is_floating(values.type):
            self.not_finite += _not_finite(values)
        elif pa.types.is_string(values.type):
            self._count(values.drop_null())

    def _count(self, values: pa.Array) -> None:
        if self.words is not None:
            for pair in pc.value_counts(values).to_pylist():
                self.words[pair["values"]] += pair["counts"]
            if len(self.words) > FEW:
                self.words = None

    def entries(self, n_rows: int, units: Mapping[str, str]) -> Iterator[Column]:
        """The entries of a map of numbers, each as a column of its own; rows without one are missing."""
        for key, numbers in sorted(self.inner.items()):
            entry = Column(f"{self.name}.{key}", self.dtype.item_type, units.get(key) or None)
            entry.missing = n_rows - sum(map(len, numbers))
            for some in numbers:
                entry._add_numbers(some)
            yield entry

    def told(self) -> dict[str, Any]:
        """The rest of the row of `profiles`."""
        numbers = np.sort(np.concatenate(self.numbers)).astype(np.float64) if self.numbers else np.zeros(0)
        distinct = None
        if self.measure in ("value", "seconds since 1970"):
            distinct = 1 + int(np.count_nonzero(np.diff(numbers))) if len(numbers) else 0
        elif self.measure == "characters":
            distinct = len(np.unique(np.concatenate(self.hashes))) if self.hashes else 0
        elif pa.types.is_boolean(self.dtype):
            distinct = len(self.words or ())
        words = None
        leaf = _leaf(self.dtype)
        if self.words is not None and (pa.types.is_string(leaf) or pa.types.is_boolean(self.dtype)):
            ordered = sorted(self.words.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN]
            words = [{"value": value, "count": count} for value, count in ordered]
        edges, counts = histogram(numbers)
        some = len(numbers) > 0
        return {"missing": self.missing, "distinct": distinct,
                "not_finite": self.not_finite if pa.types.is_floating(leaf) else None, "measure": self.measure,
                "min": float(numbers[0]) if some else None, "max": float(numbers[-1]) if some else None,
                "mean": float(numbers.mean()) if some else None, "std": float(numbers.std()) if some else None,
                "quantiles": np.quantile(numbers, QUANTILES).tolist() if some else None,
                "edges": edges, "counts": counts, "words": words}


def histogram(numbers: Numbers) -> tuple[list[float] | None, list[int] | None]:
    """Edges and counts of sorted numbers: equal steps, of whole numbers each with as many of them; equal steps of the
    logarithm for what spans decades above zero and lies mostly low. None for none.
    """
    if not len(numbers):
        return None, None
    low, high = numbers[0], numbers[-1]
    if bool(np.all(numbers == np.rint(numbers))) and high - low < 2**52:
        step = -(-(high - low + 1) // BINS)
        edges = np.arange(low, high + 1 + step, step) - 0.5
    elif low > 0 and high / low > 100 and numbers[len(numbers) // 2] < low + 0.1 * (high - low):
        edges = np.geomspace(low, high, BINS + 1)
        edges[0], edges[-1] = low, high
    else:
        edges = np.linspace(low, high, BINS + 1)
    if len(set(edges.tolist())) < len(edges):  # neighbouring floats
        return [float(low), float(high)], [len(numbers)]
    below = np.searchsorted(numbers, edges[1:-1], side="left")
    return edges.tolist(), np.diff([0, *below.tolist(), len(numbers)]).tolist()


def _not_finite(values: pa.Array) -> int:
    values = values.drop_null() if values.null_count else values
    if pa.types.is_float16(values.type):  # numpy asks one half after another; the bits tell as well
        bits = np.frombuffer(values.buffers()[1], np.uint16)[values.offset:values.offset + len(values)]
        return int(np.count_nonzero((bits & 0x7C00) == 0x7C00))
    numbers = values.to_numpy(zero_copy_only=False)
    return int(len(numbers) - np.count_nonzero(np.isfinite(numbers)))


def _leaf(dtype: pa.DataType) -> pa.DataType:
    while _is_list(dtype) and not pa.types.is_map(dtype):
        dtype = dtype.value_type
    return dtype


def _is_list(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)
                or pa.types.is_map(dtype))


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))
