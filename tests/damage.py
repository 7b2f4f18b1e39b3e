"""Damage to files, the same in every run of the tests."""

from __future__ import annotations

import random


def seeded(seed: int) -> random.Random:
    """Where damage falls."""
    return random.Random(seed)  # noqa: S311 (nobody has to guess it)


def flipped(content: bytes, generator: random.Random) -> bytes:
    """A copy with one bit turned."""
    damaged = bytearray(content)
    damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(damaged)
