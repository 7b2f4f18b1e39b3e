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
    """What CrystalNN asks of two species, each asked once."""

    def __init__(self, sites: Any) -> None:
        """`sites`: of an ordered structure."""
        self._first = {site.specie: site for site in sites}
        self._diameters: dict[tuple[Any, Any], float] = {}
        self._preferences: dict[tuple[Any, Any], float] = {}

    def diameter(self, one: Any, other: Any) -> float:
        """Sum of the radii, Å: those of the species in their charges, or of the elements where one of them has none."""
        key = one, other
        if key not in self._diameters:
            sites = self._first[one], self._first[other]
            first, second = (_get_radius(site) for site in sites)
            self._diameters[key] = (first + second if first > 0 and second > 0
                                    else _get_default_radius(sites[0]) + _get_default_radius(sites[1]))
        return self._diameters[key]

    def preference(self, one: Any, other: Any) -> float:
        """Factor of the weight for a difference of electronegativities."""
        key = one, other
        if key not in self._preferences:
            x1, x2 = one.X, other.X
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

    None where CrystalNN does not do what it usually does: the cell is open or a face of it has no area.
    """
    lattice = structure.lattice
    around = _around(lattice, structure[n].coords, fractions)
    if around is None:
        return None
    places, points, distances, indices, images = around
    faces = _faces(points)
    if faces is None:
        return None
    others, angles, areas = faces
    species = [structure[indices[other]].specie for other in others]
    centre = structure[n].specie
    with np.errstate(all="ignore"):
        weights = angles / max(angles.tolist())
        weights *= angles / areas
    weights *= np.array([pairs.preference(centre, other) for other in species])
    if not np.isfinite(weights).all() or not (angles > 0).all():
        return None
    order = sorted(range(len(others)), key=weights.__getitem__, reverse=True)
    if weights[order[0]] == 0:
        return CrystalNN.NNData([], {0: 1.0}, {0: []})
    weights /= weights[order[0]]
    home = structure[n].coords
    weights *= np.array([
        _nearness(np.linalg.norm(home - points[face]), pairs.diameter(centre, other))
        for face, other in zip(others, species, strict=True)])
    order.sort(key=weights.__getitem__, reverse=True)
    if weights[order[0]] == 0:
        return CrystalNN.NNData([], {0: 1.0}, {0: []})
    entries = []
    for face in order:
        weight = round(weights[face], 3)
        if weight > 0:
            other = others[face]
            index, image = indices[other], tuple(images[other])
            site = structure[index]
            entries.append({"site": PeriodicNeighbor(
                site.species, places[other], lattice, properties=site.properties, nn_distance=distances[other],
                image=image, index=index, label=site.label), "image": image, "weight": weight, "site_index": index})
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


def _faces(points: Floats) -> tuple[list[int], Floats, Floats] | None:
    """Of each face of the first point's Voronoi cell: the point behind it, solid angle, area; None of an open cell."""
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
    above, below, volumes = _triangles(points[0], cells.vertices, np.array(flat), ends)
    heights = np.array([np.linalg.norm(points[0] - points[other]) / 2 for other in others])
    with np.errstate(all="ignore"):
        angles = np.arctan(above / below)
        areas = 3 * volumes / heights
    angles[below == 0] = np.where(above[below == 0] > 0, 0.5 * math.pi, -0.5 * math.pi)
    parts = np.where(angles > 0, angles, angles + math.pi) * 2
    return others, np.fromiter(_sums(parts.tolist(), ends.tolist()), float, len(others)), areas


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
def _triangles(centre: Floats, vertices: Floats, corners: Ints, ends: Ints) -> tuple[Floats, Floats, Floats]:
    """Numerator and denominator of the tangent of half the solid angle of each triangle, and volumes below faces.

    Args:
        centre: `[3]`.
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
    for face in range(len(ends)):
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
    return above, below, volumes


def _nearness(distance: Any, diameter: float) -> float:
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
