"""Surroundings of sites as Robocrystallographer summarises them, each computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core.periodic_table import get_el_sp
from robocrys.condense.site import SiteAnalyzer

from features.describer.bonds import HOME, Bonds, Image
from features.describer.site_fingerprints import Fingerprints


class Sites(SiteAnalyzer):
    """A site analyzer that remembers geometries and neighbours, and builds no site objects for images."""

    def __init__(self, bonds: Bonds, fingerprints: Fingerprints, orbits: list[int]) -> None:
        """`orbits`: for each site, the first one that symmetry makes equal to it."""
        self.bonded_structure = bonds.bonded_structure
        self.use_iupac_formula = True
        self.minimum_geometry_op = 0.4
        structure = self.bonded_structure.structure
        self.site_fingerprints = [dict(zip(fingerprints.labels, row, strict=True))
                                  for row in fingerprints.sites(structure)]
        self._bonds = bonds
        self._names = [str(site.specie) for site in structure]
        self._geometries: dict[int, dict[str, Any]] = {}
        self._next: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        self.equivalent_sites = self._calculate_equivalent_sites()
        self.symmetry_labels = self._calculate_symmetry_labels(orbits)

    def get_site_geometry(self, site_index: int) -> dict[str, Any]:
        """Geometry of a site, see the stock method."""
        if site_index not in self._geometries:
            self._geometries[site_index] = super().get_site_geometry(site_index)
        return dict(self._geometries[site_index])

    def get_nearest_neighbors(self, site_index: int, inc_inequivalent_site_index: bool = True) -> list[dict[str, Any]]:
        """Bonded neighbours, nearest first, see the stock method."""
        bonds = {(index, image): distance for index, image, _, distance in self._bonds.of(site_index)}
        result = []
        for index, image in self._bonds.around(site_index):
            summary: dict[str, Any] = {"element": self._names[index]}
            if inc_inequivalent_site_index:
                summary["inequiv_index"] = self.equivalent_sites[index]
            result.append({**summary, "dist": bonds[index, image]})
        return result

    def get_next_nearest_neighbors(self, site_index: int,
                                   inc_inequivalent_site_index: bool = True) -> list[dict[str, Any]]:
        """Neighbours of neighbours and what they share with the site, see the stock method."""
        if site_index not in self._next:
            self._next[site_index] = self._next_neighbours(site_index)
        return [{**summary, "inequiv_index": self.equivalent_sites[index]} if inc_inequivalent_site_index
                else dict(summary) for index, summary in self._next[site_index]]

    def atoms(self, stands_for: list[list[int]]) -> dict[int, list[int]]:
        """For each site of a description the atoms that it stands for, from `images` of the cell's atoms.

        Every atom belongs to one site, the first that has an image of it. Where stock finds images of one atom
        different by rounding, another site may be left with such images alone; it then names their atom too.
        """
        owner: dict[int, int] = {}
        of: dict[int, set[int]] = {}
        for site, atoms in zip(self.equivalent_sites, stands_for, strict=True):
            of.setdefault(site, set()).update(atoms)
            for atom in atoms:
                owner.setdefault(atom, site)
        return {site: sorted({atom for atom in atoms if owner[atom] == site} or atoms) for site, atoms in of.items()}

    def _next_neighbours(self, site_index: int) -> list[tuple[int, dict[str, Any]]]:
        nearest = self._bonds.around(site_index)
        shared_with = set(nearest)
        home = self._bonds.place(site_index, HOME)
        seen: set[tuple[int, Image]] = {(site_index, HOME)}
        result = []
        for index, image in nearest:
            for other in self._bonds.around(index, image):
                if other in seen:
                    continue
                seen.add(other)
                bridges = shared_with.intersection(set(self._bonds.around(*other)))
                away = self._bonds.place(*other)
                between = [self._bonds.place(*bridge) for bridge in bridges]
                result.append((other[0], {
                    "element": self._names[other[0]],
                    "connectivity": {1: "corner", 2: "edge"}.get(len(bridges), "face"),
                    "geometry": self.get_site_geometry(other[0]),
                    "angles": [_angle(home - bridge, away - bridge) for bridge in between],
                    "distance": _length(home - away),
                }))
        return result

    def _calculate_symmetry_labels(self, sym_equivalent_atoms: Sequence[int]) -> list[int]:
        """Number of the orbit of each site among those of its element, see the stock method."""
        labels: list[int] = []
        orbits: dict[str, dict[int, int]] = {}
        for site, orbit in zip(self.bonded_structure.structure, sym_equivalent_atoms, strict=True):
            numbers = orbits.setdefault(site.specie.symbol, {})
            labels.append(numbers.setdefault(orbit, len(numbers) + 1))
        return labels

    def _calculate_equivalent_sites(self, likeness_tol: float = 0.001, bond_dist_tol: float = 0.01,
                                    bond_angle_tol: float = 0.1) -> list[int]:
        """Index of the first site that looks the same.

        Compared as in stock, also within an orbit: stock sorts angles before it compares them, and where that order
        hangs on rounding errors, it finds sites different that symmetry makes equal.
        """
        alike: dict[Any, list[tuple[int, Look]]] = {}
        result: list[int] = []
        for index, site in enumerate(self.bonded_structure.structure):
            look = Look(get_el_sp(site.specie), self.get_site_geometry(index),
                        self.get_nearest_neighbors(index, inc_inequivalent_site_index=False),
                        self.get_next_nearest_neighbors(index, inc_inequivalent_site_index=False))
            others = alike.setdefault(look.kind, [])
            first = next((first for first, other in others
                          if look.matches(other, likeness_tol, bond_dist_tol, bond_angle_tol)), index)
            if first == index:
                others.append((index, look))
            result.append(first)
        return result


class Look:
    """What of a site is compared: stock's `geometries_match`, `nn_summaries_match` and `nnn_summaries_match`, for which
    neighbours are sorted once for all comparisons."""

    def __init__(self, element: Any, geometry: dict[str, Any], near: list[dict[str, Any]],
                 further: list[dict[str, Any]]) -> None:
        nearest = sorted((one["element"], one["dist"]) for one in near)
        next_nearest = sorted((
            (one["element"], one["geometry"]["type"], one["connectivity"], sorted(one["angles"]),
             one["geometry"]["likeness"]) for one in further), key=lambda one: one[:4])
        self.kind = (element, geometry["type"], tuple(one[0] for one in nearest),
                     tuple(one[:3] for one in next_nearest))
        """What has to be the same."""
        self._likeness = [geometry["likeness"], *(one[4] for one in next_nearest)]
        self._lengths = [one[1] for one in nearest]
        self._angles = [one[3] for one in next_nearest]

    def matches(self, other: Look, likeness_tol: float, bond_dist_tol: float, bond_angle_tol: float) -> bool:
        """Whether one of the same kind differs by less than this in everything."""
        return (_within(self._likeness, other._likeness, likeness_tol)
                and _within(self._lengths, other._lengths, bond_dist_tol)
                and all(_within(mine, its, bond_angle_tol)
                        for mine, its in zip(self._angles, other._angles, strict=True)))


def _within(some: list[float], others: list[float], tolerance: float) -> bool:
    # stock compares as many angles as both have
    return all(abs(one - other) < tolerance for one, other in zip(some, others, strict=False))


def _length(vector: NDArray[np.float64]) -> Any:
    """What `numpy.linalg.norm` gives."""
    return np.sqrt(vector.dot(vector))


def _angle(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """In degrees, by the operations of `pymatgen.util.coord.get_angle`."""
    cosine = one.dot(other) / math.sqrt(one.dot(one)) / math.sqrt(other.dot(other))
    return math.degrees(math.acos(max(min(cosine, 1), -1)))


def images(structure: Any, symmetry: Any | None) -> list[list[int]]:
    """For each atom of the described cell, the atoms of the structure that it is an image of.

    Args:
        structure: as it was given.
        symmetry: the `SpacegroupAnalyzer` of the sorted structure that made the conventional standard cell; None where
            the sorted structure itself is described.

    spglib says of the atoms of both cells on which atom of the primitive cell they fall; pymatgen sorts sites by
    species, stably, before and after.
    """
    order = sorted(range(len(structure)), key=structure.__getitem__)
    if symmetry is None:
        return [[atom] for atom in order]
    dataset = symmetry.get_symmetry_dataset()
    on: dict[int, list[int]] = {}
    for place, atom in zip(dataset.mapping_to_primitive.tolist(), order, strict=True):
        on.setdefault(place, []).append(atom)
    standard = [on[place] for place in dataset.std_mapping_to_primitive.tolist()]
    return sorted(standard, key=lambda atoms: structure[atoms[0]])
