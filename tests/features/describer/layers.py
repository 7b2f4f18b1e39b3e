"""A layered crystal at which stock Robocrystallographer stops.

Two flat sheets of boron, carbon and nitrogen, stacked so that the sheets are parallel to (1 0 -1) of the conventional
cell. Stock's plane of a sheet has no fixed sign: it takes (1, 0, -1) and (-1, 0, 1) for two orientations.
"""

from __future__ import annotations

from pymatgen.core import Lattice, Structure

CELL = Lattice([[4.0, 0, 6.7], [0, 2.46, 0], [4.52, 0, -6.7]])
BOND = 1.42  # Å, as in graphite
SHEETS = (("BNCCBNBN", 0.0, 0.0), ("CCCCCNCC", 3.35, 0.7))
"""Elements along the armchair direction, height in Å, shift in Å."""


def tilted_sheets() -> Structure:
    """16 atoms, monoclinic, 3.35 Å between the sheets."""
    sites = [(element,
              ((number // 4 * 3 + (0, 1, 1.5, 2.5)[number % 4]) * BOND + shift, number % 4 // 2 * 1.23, height))
             for elements, height, shift in SHEETS for number, element in enumerate(elements)]
    return Structure(CELL, [element for element, _ in sites], [place for _, place in sites], coords_are_cartesian=True)
