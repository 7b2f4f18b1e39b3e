"""The sites that a file lists, and the atoms that symmetry makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.bounds import Bounds
from features.cif.blocks import POSITIONS
from features.cif.elements import ISOTOPES, Site, assign, hides_hydrogen, is_vacancy
from features.cif.grammar import Block, number
from features.cif.operations import Floats, Operations
from features.errors import RowError

SAME_PLACE = 0.1
"""Å; images of a site, or sites, closer than this are one place: coordinates are given to two or three decimals."""
FULL = 1e-3
"""How far an occupancy may be from 1."""
EXACT = 1e-3
"""Å; how well a site must lie on its symmetry elements once it has been moved there."""
LONGEST = 1000.0
"""Å, of an edge; and the most, in edges, of a coordinate."""

_FRACTIONS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_LABEL, _TYPE, _OCCUPANCY = "_atom_site_label", "_atom_site_type_symbol", "_atom_site_occupancy"
_FLAG, _GROUP = "_atom_site_calc_flag", "_atom_site_disorder_group"
_HYDROGENS = "_atom_site_attached_hydrogens"
_MULTIPLICITIES = ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")
_TAGS = (*_FRACTIONS, _LABEL, _TYPE, _OCCUPANCY, _FLAG, _GROUP, _HYDROGENS, *_MULTIPLICITIES)
_IDENTITY = (_LABEL, _TYPE, *_FRACTIONS)
_NULL = ("", "?", ".")


@dataclass(frozen=True)
class Atom:
    """An atom of the cell."""

    symbol: str
    """Element, or D or T."""
    label: str
    fractions: Floats
    """`[3]`."""


def lattice(block: Block) -> Any:
    """The cell as a pymatgen `Lattice`; angles that are not given are 90°, as the dictionary of CIF says.

    Raises `RowError` (`bad_cell`) with the tag and its value.
    """
    from pymatgen.core import Lattice

    lengths = [_of_cell(block, f"_cell_length_{name}", None, LONGEST) for name in "abc"]
    angles = [_of_cell(block, f"_cell_angle_{name}", "90", 180.0) for name in ("alpha", "beta", "gamma")]
    cosines = [math.cos(math.radians(angle)) for angle in angles]
    squared = 1 + 2 * math.prod(cosines) - sum(cosine**2 for cosine in cosines)
    if squared < 1e-6:
        raise RowError("bad_cell", f"no cell has the angles {', '.join(f'{angle:g}' for angle in angles)}°")
    return Lattice.from_parameters(*lengths, *angles)


def _of_cell(block: Block, tag: str, default: str | None, most: float) -> float:
    text = block.text(tag) or default
    if text is None:
        raise RowError("bad_cell", f"{tag} is missing")
    value = number(text)
    if not 0 < value < most:
        raise RowError("bad_cell", f"{tag} is '{text}'; a number between 0 and {most:g} is expected")
    return value


def listed(block: Block, formula: dict[str, float] | None, bounds: Bounds) -> tuple[list[Site], float, list[str]]:
    """The sites that hold atoms, the number of hydrogens that are said to be attached to them, and the labels of those
    that are called as groups with hydrogen are.

    Dummies and vacancies are none; a site of occupancy 0 is none if the file has a formula that can confirm it.

    Raises:
        RowError: `over_bound`, `bad_coordinates`, `bad_occupancy`, `disordered` for alternatives, or `no_sites`.
    """
    columns = block.columns(next(tag for tag in POSITIONS if block.column(tag)), _TAGS)
    if not all(tag in columns for tag in _FRACTIONS):
        missing = next(tag for tag in _FRACTIONS if tag not in columns)
        raise RowError("no_sites", f"the list of sites has no fractional coordinates ({missing}); others are not read")
    if _LABEL not in columns and _TYPE not in columns:
        raise RowError("no_sites", f"the list of sites has neither {_LABEL} nor {_TYPE}")
    names = list(columns)
    bounds.check_sites(len(columns[_FRACTIONS[0]]))
    sites, empty, groups, alternatives, hydrogens = [], [], [], set(), 0.0
    for index, values in enumerate(zip(*columns.values(), strict=True), start=1):
        row = {name: ("" if value in _NULL else value) for name, value in zip(names, values, strict=True)}
        if row.get(_FLAG, "").lower().startswith("dum") or not any(row.get(tag) for tag in _IDENTITY):
            continue
        type_symbol = row.get(_TYPE) or None
        label = row.get(_LABEL) or f"{type_symbol or ''}({index})"
        occupancy = _occupancy(row.get(_OCCUPANCY, ""), label)
        if is_vacancy(label, type_symbol, formula):
            continue
        if hides_hydrogen(label, type_symbol):
            groups.append(label)
        if occupancy == 0:
            empty.append(label)
            continue
        x, y, z = (_coordinate(row[tag], tag, label) for tag in _FRACTIONS)
        sites.append(Site(label, type_symbol, (x, y, z), occupancy, _whole(row, _MULTIPLICITIES)))
        attached = number(row.get(_HYDROGENS, "") or "0")
        hydrogens += attached if attached > 0 else 0.0
        if row.get(_GROUP, "") not in ("", "0"):
            alternatives.add(row[_GROUP])
    if empty and formula is None:
        raise RowError("bad_occupancy", f"site '{empty[0]}' has an occupancy of 0, and no formula in the file says "
                                        "whether the atom is there")
    if not sites:
        raise RowError("no_sites", "the file lists no atoms, only dummies, vacancies or sites of occupancy 0")
    if len(alternatives) > 1:
        raise RowError("disordered", f"the sites are alternatives of each other ({_GROUP} "
                                     f"{', '.join(sorted(alternatives)[:4])}); ordered crystals only")
    return sites, hydrogens, groups


def _coordinate(text: str, tag: str, label: str) -> float:
    value = number(text) if text else math.nan
    if not abs(value) < LONGEST:
        raise RowError("bad_coordinates", f"site '{label}': {tag} is '{text or '?'}'; a fraction of the edge is "
                                          "expected")
    return value


def _occupancy(text: str, label: str) -> float:
    value = number(text) if text else 1.0
    if not 0 <= value <= 1 + FULL:
        raise RowError("bad_occupancy", f"site '{label}': {_OCCUPANCY} is '{text}'; a number from 0 to 1 is expected")
    return 1.0 if abs(value - 1) <= FULL else value


def _whole(row: dict[str, str], tags: Sequence[str]) -> int | None:
    return next((int(row[tag]) for tag in tags if row.get(tag, "").isdigit()), None)


def orbits(sites: Sequence[Site], operations: Operations, cell: Any, bounds: Bounds) -> list[Floats]:
    """The places of each site in the cell, `[multiplicity, 3]` in fractions; the first is that of the site itself.

    A site within `SAME_PLACE` of symmetry elements is moved onto them, to the mean of its images there.

    Raises:
        RowError: `over_bound`, or `overlapping` where a site has images close to it that no symmetry element joins.
    """
    matrix = np.asarray(cell.matrix)
    result, count = [], 0
    for site in sites:
        result.append(_orbit(np.array(site.fractions), operations, matrix, site.label))
        count += len(result[-1])
        bounds.check_sites(count)
    return result


def _orbit(place: Floats, operations: Operations, matrix: Floats, label: str) -> Floats:
    for _ in range(5):
        images = operations.rotations @ place + operations.translations
        gaps = images - place
        gaps -= np.rint(gaps)
        distances = np.linalg.norm(gaps @ matrix, axis=1)
        near = distances < SAME_PLACE
        if distances[near].max() < EXACT:
            break
        place = place + gaps[near].mean(axis=0)
    else:
        raise _crowded(label)
    if near.sum() == 1:
        return images
    apart = images[:, None] - images[None]
    apart -= np.rint(apart)
    first = np.unique((np.linalg.norm(apart @ matrix, axis=2) < 2 * EXACT).argmax(axis=1))
    if len(first) * near.sum() != len(operations):
        raise _crowded(label)
    return images[first]


def _crowded(label: str) -> RowError:
    return RowError("overlapping", f"site '{label}' has images less than {SAME_PLACE} Å from it, but lies on no "
                                   "symmetry element that joins them")


def atoms(sites: Sequence[Site], places: Sequence[Floats], cell: Any, formula: dict[str, float] | None,
          ) -> tuple[list[Atom], dict[str, str]]:
    """The atoms of the cell, sites at one place merged; and flags.

    Raises:
        RowError: `element_unclear`, `group_label`, `disordered`, or `overlapping` for different atoms at one place.
    """
    owners = _owners(places, cell)
    first = [owner == index for index, owner in enumerate(owners)]
    counted = [len(place) if own else 0 for place, own in zip(places, first, strict=True)]
    symbols = assign(sites, counted, formula)
    result: list[Atom] = []
    twice: list[str] = []
    for index, own in enumerate(first):
        if not own:
            continue
        members = [k for k, owner in enumerate(owners) if owner == index]
        symbol, repeated = _occupant([sites[k] for k in members], [symbols[k] for k in members])
        if repeated:
            twice.append(sites[index].label)
        result += [Atom(symbol, sites[index].label, place) for place in places[index]]
    flags = {"listed_twice": f"atoms listed besides those that symmetry gives: {', '.join(twice[:5])}"} if twice else {}
    return result, flags


def _owners(places: Sequence[Floats], cell: Any) -> list[int]:
    """For each site, the first site that has an image at its place."""
    matrix = np.asarray(cell.matrix)
    everywhere = np.concatenate(places)
    owner_of = np.repeat(np.arange(len(places)), [len(place) for place in places])
    owners: list[int] = []
    near: Any
    for index, place in enumerate(places):
        gaps = everywhere[owner_of < index] - place[0]
        gaps -= np.rint(gaps)
        near = np.flatnonzero(np.einsum("ij,jk,lk,il->i", gaps, matrix, matrix, gaps) < SAME_PLACE**2) \
            if len(gaps) else []
        owners.append(owners[owner_of[near[0]]] if len(near) else index)
    return owners


def _occupant(sites: Sequence[Site], symbols: Sequence[str]) -> tuple[str, bool]:
    """The element of one place, and whether it was listed more than once.

    One element is ordered whatever the charges or isotopes of its sites.
    """
    total = sum(site.occupancy for site in sites)
    elements = {ISOTOPES.get(symbol, symbol) for symbol in symbols}
    names = " and ".join(dict.fromkeys(site.label for site in sites))
    repeated = len(sites) > 1 and all(site.occupancy == 1 for site in sites)
    if len(elements) == 1 and repeated:
        return symbols[0], True
    if total > 1 + FULL:
        raise RowError("overlapping", f"sites {names} lie less than {SAME_PLACE} Å apart, with occupancies "
                                      f"{' + '.join(f'{site.occupancy:g}' for site in sites)}")
    if len(elements) > 1:
        raise RowError("disordered", f"{names} share one place; ordered crystals only")
    if total < 1 - FULL:
        hint = "" if abs(1 / total - round(1 / total)) > FULL or total > 0.3 else \
            " (an occupancy is that of the place, whatever its multiplicity)"
        raise RowError("disordered", f"site '{names}' is occupied to {total:g} only{hint}; ordered crystals only")
    isotopes = [symbol for symbol in symbols if symbol in ISOTOPES]
    return (isotopes or list(symbols))[0], False
