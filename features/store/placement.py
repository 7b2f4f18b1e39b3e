"""Which part file a row lies in: a stable hash of its material id."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ROWS_PER_PART = 2048
MIN_PARTS = 8
MAX_PARTS = 1024
BITS = 32


def positions(material_ids: Sequence[str | None]) -> NDArray[np.int64]:
    """A position in [0, 2³²) for each id. A part is a range of positions, so growing splits parts, never mixes them.

    An id that is missing, as only in a damaged table, has the position of an empty one.
    """
    return np.array([int.from_bytes(hashlib.sha256((i or "").encode()).digest()[:4], "big") for i in material_ids],
                    np.int64)


def number_of_parts(n_rows: int) -> int:
    """A power of two that follows from the number of rows alone, so that a rebuild makes the same files."""
    wanted = max(1, -(-n_rows // ROWS_PER_PART))
    return int(min(MAX_PARTS, max(MIN_PARTS, 1 << (wanted - 1).bit_length())))


def part_of(material_ids: Sequence[str | None], parts: int) -> NDArray[np.int64]:
    """The part in which each id lies."""
    return positions(material_ids) // ((1 << BITS) // parts)


def part_range(part: int, parts: int) -> tuple[int, int]:
    """Half-open range of positions of a part."""
    width = (1 << BITS) // parts
    return part * width, (part + 1) * width
