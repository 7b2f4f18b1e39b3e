"""Crystals to draw: from rows of `structures`, and of `descriptions` for the bonds that the text means."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from model.records import Shape

Floats = NDArray[np.float64]
Site = Mapping[str, Any]
Bond = tuple[int, int, int, int, int]
SAME_LENGTH = 0.01
"""Å; a bond is as long as one that the description lists. Atoms that only look alike are listed once."""


def shape_of(structure: Mapping[str, Any], sites: Sequence[Site] | None) -> Shape:
    """A crystal to draw.

    Args:
        structure: a row of `structures`; `lattice`, `frac_coords`, `atomic_numbers` and `orbit` are read.
        sites: the column `sites` of `descriptions`. Without it, or where it has no site for an atom, no bonds are
            drawn: which images of other atoms are bonded, CrystalNN has said there and nowhere else.
    """
    lattice = np.asarray(structure["lattice"], np.float64).reshape(3, 3)
    fractions = np.asarray(structure["frac_coords"], np.float64).reshape(-1, 3)
    elements = [gemmi.Element(int(number)).name for number in structure["atomic_numbers"]]
    bonds, centres = _bonds(lattice, fractions, elements, sites or ())
    return Shape(lattice.tolist(), elements, fractions.tolist(), [int(one) for one in structure["orbit"]], bonds,
                 tuple(centres))


def _bonds(lattice: Floats, fractions: Floats, elements: Sequence[str],
           sites: Sequence[Site]) -> tuple[list[Bond], list[int]]:
    """The bonds of all atoms, and the atoms whose surroundings the description calls a polyhedron."""
    longest = max((entry["longest"] for site in sites for entry in site["neighbours"]), default=0.0)
    if not longest:
        return [], []
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    counts = np.ceil((longest + SAME_LENGTH) / heights).astype(int) + 1
    images = np.array(list(itertools.product(*(range(-count, count + 1) for count in counts))))
    bonds: list[Bond] = []
    centres = []
    for atom, element in enumerate(elements):
        gaps = (fractions - fractions[atom])[:, None, :] + images[None]
        distance = np.linalg.norm(gaps @ lattice, axis=-1)
        near = np.argwhere((distance > SAME_LENGTH) & (distance < longest + SAME_LENGTH))
        near = near[np.argsort(distance[tuple(near.T)], kind="stable")]
        around = [(int(other), int(image), float(distance[other, image])) for other, image in near]
        choices = [(site, _chosen(site, sites, around, elements)) for site in _sites_of(atom, element, sites)]
        if not choices:
            continue
        # of sites that may be meant, the one whose coordination number comes out
        site, chosen = min(choices, key=lambda one: abs(len(one[1]) - one[0]["coordination_number"]))
        for other, image in chosen:
            a, b, c = images[image].tolist()
            bonds.append((atom, other, a, b, c))
        centres += [atom] if site["polyhedron"] else []
    return bonds, centres


def _sites_of(atom: int, element: str, sites: Sequence[Site]) -> list[Site]:
    """The sites that an atom may be of: that which names it, else all of its element."""
    named = [site for site in sites if atom in (site.get("atoms") or ())]
    return named or [site for site in sites if site["element"] == element and not site.get("atoms")]


def _chosen(site: Site, sites: Sequence[Site], around: Sequence[tuple[int, int, float]],
            elements: Sequence[str]) -> list[tuple[int, int]]:
    """The bonded ones among the atoms around, as (atom, image)."""
    chosen: dict[tuple[int, int], None] = {}
    for entry in site["neighbours"]:
        meant = {atom for other in sites if other["element"] == entry["element"]
                 and set(other["labels"]) & set(entry["labels"]) for atom in other.get("atoms") or ()}
        mine = [one for one in around if (one[0] in meant if meant else elements[one[0]] == entry["element"])]
        listed = np.array(entry["distances"])
        same = [one for one in mine if np.abs(listed - one[2]).min() <= SAME_LENGTH]
        if len(same) < entry["count"]:
            same = [one for one in mine if one[2] <= entry["longest"] + SAME_LENGTH]
        chosen |= dict.fromkeys((atom, image) for atom, image, _ in same)
    return list(chosen)
