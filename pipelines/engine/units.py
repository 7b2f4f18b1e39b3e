"""The units of a view, read a window of positions at a time, so that no process needs room for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features.errors import UserError
from features.store import placement, tables
from features.view import FeatureView

PARTS = 8
"""Part files of the largest upstream table that are read at once: some 16,000 rows of it."""


class Units:
    """Units by window, and sorted by position within. Windows are equal shares of the positions, a power of two."""

    def __init__(self, windows: int, read: Callable[[int], pa.Table]) -> None:
        """`read` gives the units of a window, in any order that is always the same."""
        self.windows = windows
        self._read = read
        self._last: tuple[int, pa.Table] | None = None

    @classmethod
    def of(cls, units: pa.Table) -> Units:
        """Units that lie in memory."""
        return cls(1, lambda _: units)

    def __iter__(self) -> Iterator[pa.Table]:
        return (self.window(number) for number in range(self.windows))

    def window(self, number: int) -> pa.Table:
        """The units of a window. The last one that was asked for is kept. Raises `UserError` for ids of another."""
        if self._last is None or self._last[0] != number:
            self._last = None  # not two at once
            units = self._read(number)
            positions = placement.positions(units["material_id"].to_pylist())
            low, high = placement.part_range(number, self.windows)
            if astray := np.flatnonzero((positions < low) | (positions >= high)).tolist():
                raise UserError(f"{units['material_id'][astray[0]]} lies in a part file of another range of ids; "
                                "`python -m features validate` says in which")
            self._last = number, units.take(pa.array(np.argsort(positions, kind="stable")))
        return self._last[1]

    def map(self, change: Callable[[pa.Table], pa.Table]) -> Units:
        """The same, changed window by window."""
        return Units(self.windows, lambda number: change(self._read(number)))


def read_units(view: FeatureView[Any], root: Path) -> Units:
    """Upstream tables joined into the units of a view, only the columns it reads. A join is one by `material_id`, so
    that it may be made window by window."""
    parts = [len(tables.files(root, name)) for name in view.inputs]
    windows = min([max(1, max(parts) // PARTS), *parts])
    if any(count % windows for count in parts):
        windows = 1

    def read(number: int) -> pa.Table:
        return view.units({name: tables.read_window(root, name, columns, number, windows)
                           for name, columns in view.inputs.items()})

    return Units(windows, read)
