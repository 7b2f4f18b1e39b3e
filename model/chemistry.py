"""What crystals are told apart by where errors are counted for each kind: chemistry, number of elements, size."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

CLASSES = {
    "oxide": {"O"},
    "halide": {"F", "Cl", "Br", "I", "At"},
    "chalcogenide": {"S", "Se", "Te", "Po"},
    "pnictide": {"N", "P", "As", "Sb", "Bi"},
    "other with nonmetal": {"H", "B", "C", "Si", "He", "Ne", "Ar", "Kr", "Xe", "Rn"},
}
"""The first that has an element of the crystal is its class."""
INTERMETALLIC = "intermetallic"
"""The class of a crystal that has none of them."""
ORDER = (*CLASSES, INTERMETALLIC)
SIZES = {"1-4": 1, "5-10": 5, "11-20": 11, "21 and more": 21}
"""Classes of the number of atoms in a primitive cell, and the least number of each."""


def chemistry(elements: Collection[str]) -> str:
    """The class of a crystal, from its elements: see `CLASSES`."""
    return next((name for name, ones in CLASSES.items() if not ones.isdisjoint(elements)), INTERMETALLIC)


def classes(crystals: Sequence[Collection[str]]) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """By chemistry and by number of elements: each class that has a crystal, and `[crystals]`, which are of it.

    Args:
        crystals: the elements of each, one time each.
    """
    kinds = np.array([chemistry(one) for one in crystals])
    numbers = np.array([len(one) for one in crystals])
    return {"chemistry": {name: kinds == name for name in ORDER if name in kinds},
            "elements": {str(number): numbers == number for number in np.unique(numbers).tolist()}}


def sizes(sites: Sequence[int]) -> dict[str, NDArray[np.bool_]]:
    """By number of atoms in the cell (`SIZES`): each class that has a crystal, and `[crystals]`, which are of it."""
    place = np.digitize(sites, list(SIZES.values()))
    return {name: place == number for number, name in enumerate(SIZES, 1) if number in place}
