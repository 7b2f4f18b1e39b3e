"""Entries of a source on disk, in windows of positions, while a run reads them."""

from __future__ import annotations

import heapq
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.store import placement

WINDOW_ROWS = 16_384
WINDOW_BYTES = 128 << 20
"""No window holds many more entries or bytes than these, as long as no position does."""


class Spool:
    """A file without a name, which goes with the process. Each batch in it is sorted by position, so that a window is a
    slice of each."""

    def __init__(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path) -> None:
        """`folder`: on whose disk it lies, if that can be written."""
        self._file = tempfile.TemporaryFile(dir=folder if os.access(folder, os.W_OK) else None)  # noqa: SIM115
        self._schema = schema
        self._positions: list[NDArray[np.int64]] = []
        self._order: list[NDArray[np.int64]] = []
        """Of each batch, where its rows were in the source, counted from its own first."""
        self._chosen: NDArray[np.bool_] | None = None
        with pa.ipc.new_file(self._file, schema) as writer:
            for batch in batches:
                positions = placement.positions(batch["material_id"].to_pylist())
                order = np.argsort(positions, kind="stable")
                writer.write_batch(batch.take(pa.array(order)))
                self._positions.append(positions[order])
                self._order.append(order)
        self._file.flush()
        self._firsts = np.cumsum([0, *map(len, self._order)]).tolist()
        self.rows = self._firsts.pop()
        wanted = max(self.rows / WINDOW_ROWS, self._file.tell() / WINDOW_BYTES, 1)
        self.windows = 1 << (int(np.ceil(wanted)) - 1).bit_length()

    def choose(self, count: int, rank: Callable[[str], str]) -> None:
        """Leave out all but the entries whose ids have the lowest ranks; of equal ones the first in the source."""
        def ranked() -> Iterator[tuple[str, int]]:
            file = self._reader()
            for number, (first, order) in enumerate(zip(self._firsts, self._order, strict=True)):
                ids = file.get_batch(number)["material_id"].to_pylist()
                yield from ((rank(name), first + row) for name, row in zip(ids, order.tolist(), strict=True))

        self._chosen = np.zeros(self.rows, bool)
        self._chosen[[row for _, row in heapq.nsmallest(count, ranked())]] = True

    def window(self, number: int) -> pa.Table:
        """The entries of a window; those of one position in the order of the source."""
        low, high = placement.part_range(number, self.windows)
        file = self._reader()
        pieces = []
        for batch, (first, positions, order) in enumerate(zip(self._firsts, self._positions, self._order, strict=True)):
            inside = np.arange(*np.searchsorted(positions, (low, high)))
            if self._chosen is not None:
                inside = inside[self._chosen[first + order[inside]]]
            pieces.append(file.get_batch(batch).take(pa.array(inside)))  # a copy, so that the file need not stay mapped
        return pa.Table.from_batches(pieces, self._schema)

    def table(self) -> pa.Table:
        """All entries in the order of the source."""
        file = self._reader()
        pieces = []
        for number, (first, order) in enumerate(zip(self._firsts, self._order, strict=True)):
            inside = np.argsort(order)
            if self._chosen is not None:
                inside = inside[self._chosen[first:first + len(order)]]
            pieces.append(file.get_batch(number).take(pa.array(inside)))
        return pa.Table.from_batches(pieces, self._schema)

    def _reader(self) -> pa.RecordBatchFileReader:
        """The file, of which only what is used is read; it counts as memory of the process as long as this lives."""
        return pa.ipc.open_file(pa.py_buffer(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)))
