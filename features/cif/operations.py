"""Symmetry operations of a cell: reading them, and what kind of group they are. Exact, in whole numbers."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import gemmi
import numpy as np
import spglib
from numpy.typing import NDArray

from features.errors import RowError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PARTS = int(gemmi.Op.DEN)
"""Translations are whole numbers of this part of an edge: 24."""
_NUMBERED = re.compile(r"^\d+\s+(?=[-+xyz\d.])")
_SHORT = re.compile(r"(?<!\d)0?\.(17|33|67|83)(?!\d)")
_SIXTHS = {"17": "1/6", "33": "1/3", "67": "2/3", "83": "5/6"}


@dataclass(frozen=True)
class Operations:
    """Operations x → R·x + t on fractional coordinates, without repetition, the identity first."""

    rotations: Ints
    """`[n, 3, 3]`."""
    shifts: Ints
    """`[n, 3]`, t in `PARTS` of an edge, from 0 to `PARTS` - 1."""

    def __len__(self) -> int:
        return len(self.rotations)

    @classmethod
    def of(cls, group: gemmi.GroupOps) -> Operations:
        """Those of gemmi's tables, with the centring translations."""
        operations = list(group)
        return unique(np.array([operation.rot for operation in operations]) // PARTS,
                      np.array([operation.tran for operation in operations]))

    @property
    def translations(self) -> Floats:
        """`[n, 3]`, in edges, from 0 to less than 1."""
        return self.shifts / PARTS

    @functools.cached_property
    def keys(self) -> frozenset[tuple[int, ...]]:
        """Each operation as a tuple, for comparison."""
        return frozenset(_keys(self.rotations, self.shifts))

    @property
    def rotation_keys(self) -> frozenset[tuple[int, ...]]:
        """The different rotations."""
        return frozenset(key[:9] for key in self.keys)

    @functools.cached_property
    def is_group(self) -> bool:
        """Whether every product of two operations is one of them."""
        return all(
            self.keys.issuperset(_keys(rotation @ self.rotations, self.shifts @ rotation.T + shift))
            for rotation, shift in zip(self.rotations, self.shifts, strict=True))

    @functools.cached_property
    def number(self) -> int | None:
        """Number of the space group that they form in any setting; None if spglib knows none."""
        try:
            kind = spglib.get_spacegroup_type_from_symmetry(self.rotations, self.translations)
        except spglib.SpglibError:
            return None
        return None if kind is None else int(kind.number)

    def misfit(self, metric: Floats) -> float:
        """Largest change of the metric tensor (Å², `[3, 3]`) by an operation, relative to the edges."""
        images = np.swapaxes(self.rotations, 1, 2) @ metric @ self.rotations
        lengths = np.sqrt(np.diagonal(metric))
        return float(np.abs((images - metric) / np.outer(lengths, lengths)).max())


def unique(rotations: Ints, shifts: Ints) -> Operations:
    """The operations, each once, with the identity, which some lists leave out."""
    rotations = np.concatenate([np.eye(3, dtype=np.int64)[None], rotations.astype(np.int64)])
    shifts = np.concatenate([np.zeros((1, 3), np.int64), shifts.astype(np.int64)]) % PARTS
    first: dict[tuple[int, ...], int] = {}
    for index, key in enumerate(_keys(rotations, shifts)):
        first.setdefault(key, index)
    single = list(first.values())
    return Operations(rotations[single], shifts[single])


@functools.lru_cache(maxsize=512)
def from_triplets(triplets: tuple[str, ...], tag: str) -> Operations:
    """Operations such as `-x, y+1/2, -z`; of a magnetic one, `-x, y+1/2, -z, -1`, the part that moves atoms.

    Raises `RowError` (`unreadable`) for a text that is no operation.
    """
    operations = [_parse(triplet, f"{tag}, value {number}") for number, triplet in enumerate(triplets, start=1)]
    return unique(np.array([rotation for rotation, _ in operations]), np.array([shift for _, shift in operations]))


def combined(operations: Operations, centrings: Operations) -> Operations:
    """Every operation followed by every centring translation."""
    count = len(centrings)
    return unique(np.repeat(operations.rotations, count, axis=0),
                  (operations.shifts[:, None] + centrings.shifts[None]).reshape(-1, 3))


def _keys(rotations: Ints, shifts: Ints) -> list[tuple[int, ...]]:
    return [tuple(row) for row in np.concatenate([rotations.reshape(-1, 9), shifts % PARTS], axis=1).tolist()]


def _parse(triplet: str, where: str) -> tuple[Ints, Ints]:
    letters = _NUMBERED.sub("", triplet.strip("'\" ").lower())
    letters = _SHORT.sub(lambda match: _SIXTHS[match[1]], letters)
    if letters.replace(" ", "").endswith((",+1", ",-1")):
        letters = letters[:letters.rindex(",")]
    try:
        operation = gemmi.Op(letters)
    except (ValueError, RuntimeError) as error:
        raise _no_operation(triplet, where) from error
    rotation, shift = np.array(operation.rot), np.array(operation.tran)
    whole = not (rotation % PARTS).any() and np.abs(shift).max() <= 100 * PARTS
    if not whole or abs(round(float(np.linalg.det(rotation / PARTS)))) != 1 or not set("xyz") <= set(letters):
        raise _no_operation(triplet, where)
    return rotation // PARTS, shift


def _no_operation(triplet: str, where: str) -> RowError:
    return RowError("unreadable", f"{where}: '{triplet}' is no symmetry operation such as '-x, y+1/2, -z', with "
                                  f"translations in {PARTS}ths of an edge")
