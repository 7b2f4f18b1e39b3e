"""Damage to files, the same in every run of the tests; and files that are other ones, but whole."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.store import sums


def seeded(seed: int) -> random.Random:
    """Where damage falls."""
    return random.Random(seed)  # noqa: S311 (nobody has to guess it)


def flipped(content: bytes, generator: random.Random) -> bytes:
    """A copy with one bit turned."""
    damaged = bytearray(content)
    damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(damaged)


def republish(table: pa.Table, part: Path) -> None:
    """Put other rows in the place of a part, as if they had been published."""
    pq.write_table(table, part)
    sums.write(part.parent)
