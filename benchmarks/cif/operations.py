"""Symmetry operations of a CIF as exact fractions, for the oracle and the mutations."""

from __future__ import annotations

import re
from collections.abc import Collection
from fractions import Fraction

import numpy as np

from benchmarks.cif.reading import Floats

TERM = re.compile(r"([+-]?)(?:(\d+)/(\d+)|(\d*\.\d+|\d+)|([xyz]))", re.ASCII)

Operation = tuple[tuple[tuple[int, ...], ...], tuple[Fraction, ...]]
"""Rotation and translation."""
IDENTITY: Operation = (((1, 0, 0), (0, 1, 0), (0, 0, 1)), (Fraction(0), Fraction(0), Fraction(0)))
"""Understood where a list leaves it out."""


class MeaninglessError(Exception):
    """The file means no crystal; the message says why."""


def parse_operation(text: str) -> Operation:
    """`x+1/2,-y,z` and its like. Raises `MeaninglessError`."""
    parts = re.sub(r"\s", "", text.lower()).split(",")
    if len(parts) != 3:
        raise MeaninglessError(f"'{text}' is no operation")
    rows, shifts = [], []
    for part in parts:
        if not part or "".join(match[0] for match in TERM.finditer(part)) != part:
            raise MeaninglessError(f"'{text}' is no operation")
        row, shift = [0, 0, 0], Fraction(0)
        for sign, above, below, decimal, axis in TERM.findall(part):
            factor = -1 if sign == "-" else 1
            if axis:
                row["xyz".index(axis)] += factor
            elif (below and int(below) == 0) or len(above + below + decimal) > 12:
                raise MeaninglessError(f"'{text}' is no operation")
            else:
                number = Fraction(int(above), int(below)) if below else Fraction(decimal)
                shift += factor * number.limit_denominator(24)
        rows.append(tuple(row))
        shifts.append(shift % 1)
    return tuple(rows), tuple(shifts)


def is_group(operations: Collection[Operation]) -> bool:
    """Whether each two operations one after the other are an operation of the list, modulo the lattice."""
    turns, moves = arrays(operations)
    grid = 720720  # = lcm(1 … 16): a shift that is no such fraction is no translation of a group

    def keys(turn: Floats, move: Floats) -> set[bytes]:
        whole = np.concatenate([turn.reshape(-1, 9), np.rint(move.reshape(-1, 3) * grid) % grid], axis=1)
        return {row.tobytes() for row in np.rint(whole).astype(np.int64)}

    listed = keys(turns, moves)
    both = (turns[:, None] @ moves[None, ..., None])[..., 0] + moves[:, None]
    return keys(turns[:, None] @ turns[None], both) <= listed


def arrays(operations: Collection[Operation]) -> tuple[Floats, Floats]:
    """Rotations `[n, 3, 3]` and translations `[n, 3]`, each operation once."""
    once = list(dict.fromkeys(operations))
    return (np.array([turn for turn, _ in once], dtype=float),
            np.array([[float(part) for part in move] for _, move in once]))
