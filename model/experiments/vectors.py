"""What trees read: statistics of the composition, the cell, and the facts that a description was made from."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element, Lattice

from features.store import tables

Floats = NDArray[np.float64]
MISSING = -1.0
"""In the place of a fact that a description does not have; all facts are 0 or more."""
GEOMETRIES = ("cuboctahedral", "body-centered cubic", "octahedral", "tetrahedral", "trigonal planar",
              "square co-planar", "linear", "pentagonal bipyramidal", "trigonal pyramidal", "trigonal bipyramidal",
              "square pyramidal", "hexagonal bipyramidal")
"""Those that have a share of their own; an n-coordinate site has none of a name."""
CONNECTIONS = ("corner", "edge", "face")


@functools.cache
def compositions(root: Path) -> dict[str, Floats]:
    """Magpie statistics of the composition, density, volume per atom and the six numbers of the cell, by id."""
    from matminer.featurizers.composition import ElementProperty

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        magpie = ElementProperty.from_preset("magpie", impute_nan=True)
        rows = {row["material_id"]: row for row in
                tables.read(root, "materials", ["material_id", "formula", "density", "nsites"]).to_pylist()}
        result = {}
        for row in tables.read(root, "structures", ["material_id", "lattice"]).to_pylist():
            material = rows[row["material_id"]]
            cell = Lattice(np.array(row["lattice"]).reshape(3, 3))
            result[row["material_id"]] = np.array([
                *magpie.featurize(Composition(material["formula"])), material["density"],
                cell.volume / material["nsites"], *cell.parameters])
    return result


@functools.cache
def facts(root: Path) -> dict[str, Floats]:
    """What the columns of `descriptions` say, as numbers of one length, by id."""
    columns = ["material_id", "dimensionality", "components", "sites"]
    return {row["material_id"]: facts_of(row) for row in tables.read(root, "descriptions", columns).to_pylist()}


def facts_of(row: Mapping[str, Any]) -> Floats:
    """The facts of one row of `descriptions`, over its inequivalent sites.

    Coordination numbers; bond lengths against the sum of the atomic radii; differences of electronegativity; shared
    corners, edges and faces a site with their angles; shares of geometries; dimensionality; number of components.
    """
    sites = row["sites"] or []
    ratios, differences, weights = [], [], []
    for site in sites:
        for neighbour in site["neighbours"] or []:
            distances = [d for d in neighbour["distances"] or [] if d]
            between = _radius(site["element"]) + _radius(neighbour["element"])
            ratios += [distance / between for distance in distances]
            differences.append(abs(_electronegativity(site["element"]) - _electronegativity(neighbour["element"])))
            weights.append(neighbour["count"] or 1)
    connections = [one for site in sites for one in site["connections"] or []]
    numbers = [MISSING if row["dimensionality"] is None else row["dimensionality"], len(row["components"] or []),
               len(sites)]
    numbers += _spread(site["coordination_number"] for site in sites)
    numbers += _spread(ratios)
    numbers += _spread(np.repeat(differences, weights) if differences else [])
    numbers += _spread(site["likeness"] for site in sites)
    for kind in CONNECTIONS:
        mine = [one for one in connections if one["kind"] == kind]
        numbers.append(sum(one["count"] or 0 for one in mine) / max(1, len(sites)))
        numbers += _spread(angle for one in mine for angle in one["angles"] or [])
    names = [site["geometry"] or "" for site in sites]
    numbers += [sum(name == geometry for name in names) / max(1, len(names)) for geometry in GEOMETRIES]
    numbers.append(sum(site["polyhedron"] is not None for site in sites) / max(1, len(sites)))
    return np.array(numbers, np.float64)


@functools.cache
def number_of_facts() -> int:
    """Length of the vectors of `facts`."""
    return len(facts_of({"dimensionality": None, "components": None, "sites": None}))


def _spread(values: Iterable[float | None]) -> list[float]:
    """Mean, deviation, least and most of the values that are there."""
    there = np.array([value for value in values if value is not None], np.float64)
    return [float(there.mean()), float(there.std()), float(there.min()), float(there.max())] if len(there) \
        else [MISSING] * 4


@functools.cache
def _radius(symbol: str) -> float:
    """Å; of an element that nobody has measured, that of a middling atom."""
    return float(Element(symbol).atomic_radius or 1.5)


@functools.cache
def _electronegativity(symbol: str) -> float:
    """Pauling's; 0 where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(Element(symbol).X)
    return value if np.isfinite(value) else 0.0
