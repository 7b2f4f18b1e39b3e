"""Lines of numbers, and cells and elements that can be: what the readers of formats have in common."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from features.errors import RowError

MAX_EDGE = 1e4
"""Å. No unit cell comes near to it; a longer edge is a slip of units or a broken number."""
MAX_FRACTION = 1e6
"""Edges between an atom and the origin; farther away, its decimals are no longer those of a position."""
FLAT = 1e-6
"""A cell whose volume is this part of the product of its edges, or less, is no cell."""


def lines_of(text: str) -> list[str]:
    """Lines of a text of any system, without their ends. Nothing but an end of line is one."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff").split("\n")


def number(token: str) -> float | None:
    """A finite number, also with Fortran's exponent (`1.5D-3`); None if it is none."""
    try:
        value = float(re.sub("[dD]", "e", token)) if re.fullmatch(r"[-+0-9.eEdD]+", token) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_integer(line: str) -> bool:
    """Whether a line, or a word, is one number of atoms."""
    return re.fullmatch(r"\s*\+?[0-9]{1,9}\s*", line) is not None


def is_numbers(line: str, least: int) -> bool:
    """Whether a line begins with at least so many numbers."""
    tokens = line.split()
    return len(tokens) >= least and all(number(token) is not None for token in tokens[:least])


def numbers(tokens: Sequence[str], where: str, what: str) -> list[float]:
    """Three numbers at the start of a line. Raises `RowError` that says what was expected there."""
    found = [number(token) for token in tokens[:3]]
    good = [value for value in found if value is not None]
    if len(good) < 3:
        raise RowError("unreadable", f"{where}: {what} is expected, three numbers; found {quoted(tokens)}")
    return good


def quoted(tokens: Sequence[str]) -> str:
    """The beginning of a line, for a message."""
    text = " ".join(tokens)
    return (f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'") if text else "nothing"


def element(symbol: str, where: str) -> Any:
    """The pymatgen `Element` of a symbol, also of D and T, and in capitals. Raises `RowError` for any other text."""
    from pymatgen.core import Element

    for written in (symbol, symbol.capitalize()):
        if Element.is_valid_symbol(written):
            return Element(written)
    raise RowError("unreadable", f"{where}: '{symbol[:20]}' is no chemical element")


def periodic_structure(matrix: ArrayLike, species: Sequence[Any], coordinates: ArrayLike, *, cartesian: bool) -> Any:
    """A pymatgen `Structure`, once its numbers can be those of a crystal.

    Args:
        matrix: cell vectors as rows, Å; of either handedness.
        species: of each site what pymatgen takes for it.
        coordinates: of each site, fractions of the edges or Å.
        cartesian: whether they are in Å.
    """
    from pymatgen.core import Structure

    if not len(species):
        raise RowError("empty", "the structure has no atoms")
    cell = np.array(matrix, dtype=np.float64)
    edges = np.linalg.norm(cell, axis=1)
    for name, edge in zip("abc", edges, strict=True):
        if not 0 < edge <= MAX_EDGE:
            raise RowError("unreadable", f"the cell edge {name} is {edge:.4g} Å long, which none is")
    if not abs(np.linalg.det(cell)) > FLAT * np.prod(edges):  # also what is no number
        raise RowError("unreadable", "the three cell vectors lie in one plane: the cell has no volume")
    places = np.array(coordinates, dtype=np.float64)
    fractions = places @ np.linalg.inv(cell) if cartesian else places
    far = np.flatnonzero(np.abs(fractions).max(axis=1) > MAX_FRACTION)
    if len(far):
        raise RowError("unreadable", f"site {far[0] + 1} of {len(places)} is {np.abs(fractions[far[0]]).max():.3g} "
                                     "cell edges away from the origin")
    return Structure(cell, list(species), places, coords_are_cartesian=cartesian)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names for a message, the first ones if there are many."""
    shown = ", ".join(itertools.islice(names, most))
    return f"{shown}, … ({len(names)} in all)" if len(names) > most else shown
