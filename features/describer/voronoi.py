"""Neighbours of one site as CrystalNN finds them, number for number, without a site object for each atom around it.

CrystalNN weights every face of the site's Voronoi cell by its solid angle, by what the elements' electronegativities
say of a bond, and by the distance (Pan et al., Inorg. Chem. 60, 1590 (2021)). Faces that symmetry makes equal differ
in their last digits, and these decide in which order neighbours come. Every operation here is therefore pymatgen's, in
its order, scalar products by the linear algebra library that numpy calls, too; only what surrounds it is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.local_env import CrystalNN
from pymatgen.core.local_env import _get_default_radius, _get_radius
from pymatgen.core.structure import PeriodicNeighbor
from scipy.spatial import QhullError, Voronoi

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CUTOFF = 7  # Å; this and what follows: CrystalNN's default settings
PENALTY = 0.5, 1.0  # Å beyond the sum of the radii, where the weight begins to fall and where it is 0
ELECTRONEGATIVITY = 3.0
LARGEST_DIFFERENCE = 3.3  # of electronegativities


class Pairs:
    """What CrystalNN asks of the species of two sites, each pair asked once."""

    def __init__(self, sites: Any) -> None:
        """`sites`: of an ordered structure."""
        self._species = list(dict.fromkeys(site.specie for site in sites))
        numbers = {species: number for number, species in enumerate(self._species)}
        self.kinds = [numbers[site.specie] for site in sites]
        """Number of the species of each site; the methods take these."""
        self._examples = [sites[self.kinds.index(kind)] for kind in range(len(self._species))]
        self._diameters: dict[tuple[int, int], float] = {}
        self._preferences: dict[tuple[int, int], float] = {}

    def diameter(self, one: int, other: int) -> float:
        """Sum of the radii, Å: those of the species in their charges, or of the elements where one of them has none.

        NaN if an element has none either.
        """
        key = one, other
        if key not in self._diameters:
            sites = self._examples[one], self._examples[other]
            radii = [_get_radius(site) for site in sites]
            if not all(radius > 0 for radius in radii):
                radii = [_get_default_radius(site) for site in sites]
            self._diameters[key] = math.nan if None in radii else radii[0] + radii[1]
        return self._diameters[key]

    def preference(self, one: int, other: int) -> float:
        """Factor of the weight for a difference of electronegativities."""
        key = one, other
        if key not in self._preferences:
            x1, x2 = self._species[one].X, self._species[other].X
            self._preferences[key] = (
                1 if math.isnan(x1) or math.isnan(x2)
                else 1 + ELECTRONEGATIVITY * math.sqrt(abs(x1 - x2) / LARGEST_DIFFERENCE))
        return self._preferences[key]


def nn_data(structure: Any, n: int, fractions: Floats, pairs: Pairs) -> Any | None:
    """What `CrystalNN().get_nn_data(structure, n)` gives.

    Args:
        structure: an ordered one.
        n: number of the site.
        fractions: `[sites, 3]`, the structure's fractional coordinates.
        pairs: of the structure's sites.

    None where CrystalNN does not do what it usually does: the cell is open or a face of it has no area, an element
    has no radius.
    """
    lattice = structure.lattice
    home = structure[n].coords
    around = _around(lattice, home, fractions)
    if around is None or not np.array_equal(around[1][0], home):
        return None
    places, points, distances, indices, images = around
    faces = _faces(points)
    if faces is None:
        return None
    others, angles, areas, lengths = faces
    centre, kinds = pairs.kinds[n], [pairs.kinds[indices[other]] for other in others]
    diameters = [pairs.diameter(centre, kind) for kind in kinds]
    with np.errstate(all="ignore"):
        weights = angles / max(angles.tolist())
        weights *= angles / areas
    weights *= np.array([pairs.preference(centre, kind) for kind in kinds])
    if not (np.isfinite(weights).all() and (angles > 0).all() and np.isfinite(diameters).all()):
        return None
    order = sorted(range(len(others)), key=weights.tolist().__getitem__, reverse=True)
    if weights[order[0]] == 0:
        return CrystalNN.NNData([], {0: 1.0}, {0: []})
    weights /= weights[order[0]]
    weights *= np.array([_nearness(*pair) for pair in zip(lengths.tolist(), diameters, strict=True)])
    order.sort(key=weights.tolist().__getitem__, reverse=True)
    if weights[order[0]] == 0:
        return CrystalNN.NNData([], {0: 1.0}, {0: []})
    rounded = weights.round(3)
    entries = []
    for face in order:
        if rounded[face] > 0:
            other = others[face]
            index, image = indices[other], tuple(images[other])
            site = structure[index]
            entries.append({"site": PeriodicNeighbor(
                site.species, places[other], lattice, properties=site.properties, nn_distance=distances[other],
                image=image, index=index, label=site.label),
                "image": image, "weight": rounded[face], "site_index": index})
    return _by_coordination(entries)


def _around(lattice: Any, centre: Floats, fractions: Floats) -> tuple[Floats, Floats, Floats, Ints, Ints] | None:
    """Of the atoms around, nearest first: fractional and Cartesian places, distances, numbers of sites, images."""
    places, distances, indices, images = lattice.get_points_in_sphere(fractions, centre, CUTOFF, zip_results=False)
    if len(places) == 0:
        return None
    order = np.argsort(distances, kind="stable")
    places = places[order]
    points = np.array([np.dot(place, lattice.matrix) for place in places])
    return places, points, distances[order], indices[order], images[order]


def _faces(points: Floats) -> tuple[list[int], Floats, Floats, Floats] | None:
    """Of each face of the first point's Voronoi cell: the point behind it, solid angle, area, distance of that point.

    None if the cell is open.
    """
    try:
        cells = Voronoi(points)
    except QhullError:
        return None
    corners: dict[int, list[int]] = {}
    ridges = cells.ridge_points
    for ridge in np.flatnonzero((ridges == 0).any(axis=1)).tolist():
        one, other = ridges[ridge].tolist()
        corners[other if one == 0 else one] = cells.ridge_vertices[ridge]
    flat = [corner for face in corners.values() for corner in face]
    if not flat or min(flat) < 0 or min(map(len, corners.values())) < 3:
        return None
    ends = np.cumsum([len(face) for face in corners.values()])
    others = list(corners)
    above, below, volumes, lengths = _triangles(points[0], points[others], cells.vertices, np.array(flat), ends)
    with np.errstate(all="ignore"):
        angles = np.arctan(above / below)
        areas = 3 * volumes / (lengths / 2)
    angles[below == 0] = np.where(above[below == 0] > 0, 0.5 * math.pi, -0.5 * math.pi)
    parts = np.where(angles > 0, angles, angles + math.pi) * 2
    return others, np.fromiter(_sums(parts.tolist(), ends.tolist()), float, len(others)), areas, lengths


def _sums(parts: list[float], ends: list[int]) -> Iterator[float]:
    """Solid angle of each face, its triangles added one by one."""
    begin = 0
    for face, end in enumerate(ends):
        stop = end - 2 * (face + 1)
        total = 0.0
        for part in parts[begin:stop]:
            total += part
        yield total
        begin = stop


@numba.njit(cache=True, error_model="numpy")
def _cross_into(out: Floats, a: Floats, b: Floats) -> None:
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]


@numba.njit(cache=True, error_model="numpy")
def _triangles(centre: Floats, behind: Floats, vertices: Floats, corners: Ints,
               ends: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """Numerator and denominator of the tangent of half the solid angle of each triangle; of each face the volume below
    it, and the distance of the point behind it.

    Args:
        centre: `[3]`.
        behind: `[faces, 3]`, the points behind the faces.
        vertices: `[vertices, 3]`.
        corners: numbers of the vertices of all faces, one after the other.
        ends: of each face, the end of its corners.

    The formula of the tangent is that of van Oosterom & Strackee, IEEE Trans. Biomed. Eng. 30, 125 (1983).
    """
    above = np.empty(len(corners) - 2 * len(ends))
    below = np.empty_like(above)
    volumes = np.zeros(len(ends))
    normal = np.empty(3)
    away = vertices[corners] - centre
    lengths = np.empty(len(corners))
    for corner in range(len(corners)):
        lengths[corner] = math.sqrt(np.dot(away[corner], away[corner]))
    triangle = begin = 0
    distances = np.empty(len(ends))
    for face in range(len(ends)):
        bond = centre - behind[face]
        distances[face] = math.sqrt(np.dot(bond, bond))
        a, r = away[begin], lengths[begin]
        for corner in range(begin + 1, ends[face] - 1):
            b, c, s, t = away[corner], away[corner + 1], lengths[corner], lengths[corner + 1]
            _cross_into(normal, b, c)
            above[triangle] = abs(np.dot(a, normal))
            below[triangle] = r * s * t + t * np.dot(a, b) + s * np.dot(a, c) + r * np.dot(b, c)
            last = vertices[corners[corner + 1]]
            _cross_into(normal, vertices[corners[begin]] - last, vertices[corners[corner]] - last)
            volumes[face] += abs(np.dot(centre - last, normal)) / 6
            triangle += 1
        begin = ends[face]
    return above, below, volumes, distances


def _nearness(distance: float, diameter: float) -> float:
    low, high = diameter + PENALTY[0], diameter + PENALTY[1]
    if distance <= low:
        return 1
    if distance >= high:
        return 0
    return (math.cos((distance - low) / (high - low) * math.pi) + 1) * 0.5


def _by_coordination(entries: list[dict[str, Any]]) -> Any:
    """Neighbours, and for each coordination number its weight and its neighbours, from the heaviest to the lightest."""
    steps: list[Any] = []
    for entry in entries:
        if not steps or steps[-1] != entry["weight"]:
            steps.append(entry["weight"])
    steps.append(0)
    weights: dict[int, Any] = {}
    chosen: dict[int, list[dict[str, Any]]] = {}
    for step, least in enumerate(steps[:-1]):
        near = [entry for entry in entries if entry["weight"] >= least]
        chosen[len(near)] = near
        weights[len(near)] = CrystalNN._semicircle_integral(steps, step)
    rest = 1 - sum(weights.values())
    if rest > 0:
        chosen[0], weights[0] = [], rest
    return CrystalNN.NNData(entries, weights, chosen)
