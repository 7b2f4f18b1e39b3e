"""Components of a crystal, as pymatgen finds them and Robocrystallographer compares them, without needless copies."""

from __future__ import annotations

from collections import defaultdict, deque
from functools import cached_property, lru_cache
from typing import Any

import networkx as nx
import numpy as np
from networkx.readwrite import json_graph
from pymatgen.analysis.dimensionality import zero_d_graph_to_molecule_graph
from pymatgen.analysis.graphs import StructureGraph
from pymatgen.analysis.structure_matcher import SiteOrderedIStructure, StructureMatcher
from pymatgen.core import Structure
from pymatgen.core.lattice import get_integer_index

from features.describer.bonds import HOME, Bonds, Image


class ComponentGraph(StructureGraph):
    """The part of a structure graph that one component is.

    Robocrystallographer copies components deeply, to write a count beside them; nobody writes into the graph.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> ComponentGraph:
        return self


def get_structure_components(bonds: Bonds, inc_orientation: bool = False, inc_site_ids: bool = False,
                             inc_molecule_graph: bool = False) -> list[dict[str, Any]]:
    """The components, see the stock function of this name; `bonds` are those of its structure graph."""
    bonded = bonds.bonded_structure
    components = []
    for nodes in nx.weakly_connected_components(bonded.graph):
        graph = bonded.graph.subgraph(nodes)
        dimensionality, images = _extent(bonds, next(iter(graph.nodes())))
        component: dict[str, Any] = {"dimensionality": dimensionality}
        if inc_orientation:
            component["orientation"] = _orientation(images, dimensionality) if dimensionality in (1, 2) else None
        if inc_site_ids:
            component["site_ids"] = tuple(graph.nodes())
        if inc_molecule_graph and dimensionality == 0:
            component["molecule_graph"] = zero_d_graph_to_molecule_graph(bonded, graph)
        numbered = nx.convert_node_labels_to_integers(graph, ordering="sorted")
        component["structure_graph"] = ComponentGraph(
            Structure.from_sites([bonded.structure[n] for n in sorted(graph.nodes())]),
            graph_data=json_graph.adjacency_data(numbered))
        components.append(component)
    return components


def _orientation(images: list[Image], dimensionality: int) -> Any:
    """Plane of a sheet or direction of a chain, by the vectors between images of one of its atoms."""
    vectors = np.array(images)
    centre = vectors.sum(axis=0) / vectors.shape[0]
    _, _, axes = np.linalg.svd(vectors - centre)
    return get_integer_index(axes[2 if dimensionality == 2 else 0, :])


def _extent(bonds: Bonds, start: int) -> tuple[int, list[Image]]:
    """Dimensionality of the component of a site, and images of the site that are bonded to each other.

    Algorithm 1 of Larsen et al., Phys. Rev. Materials 3, 034003 (2019).
    """
    seen: set[tuple[int, Image]] = set()
    images: dict[int, set[Image]] = defaultdict(set)
    queue = deque([(start, HOME)])
    while queue:
        site, image = queue.popleft()
        if (site, image) in seen:
            continue
        seen.add((site, image))
        if not _spans_more(images[site], image):
            continue
        images[site].add(image)
        for other, (a, b, c) in bonds.around(site):
            there = (a + image[0], b + image[1], c + image[2])
            if (other, there) not in seen and _spans_more(images[other], there):
                queue.append((other, there))
    return len(images[start]) - 1, list(images[start])


def _spans_more(images: set[Image], candidate: Image) -> bool:
    """Whether the candidate leaves the point, line or plane that the images span; they span as much as they can."""
    if len(images) < 2 or len(images) > 3:
        return candidate not in images and len(images) < 2
    (a, b, c), *others = ((x - candidate[0], y - candidate[1], z - candidate[2]) for x, y, z in images)
    d, e, f = others[0]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    if len(images) == 2:
        leaves = any(normal)
    else:
        g, h, i = others[1]
        leaves = normal[0] * g + normal[1] * h + normal[2] * i != 0
    # where it does not leave, rounding errors may let stock believe that it does
    return leaves or _stock_rank(tuple(images | {candidate})) >= len(images)


@lru_cache(maxsize=8192)
def _stock_rank(images: tuple[Image, ...]) -> int:
    places = np.array(images)
    return int(np.linalg.matrix_rank(places[1:] - places[0])) if len(images) > 1 else 0


def get_structure_inequiv_components(components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Components of different shape with their counts, see the stock function of this name; each reduced once."""
    matcher = StructureMatcher()
    shapes: list[Shape] = []
    counted: list[dict[str, Any]] = []
    for component in components:
        shape = Shape(component["structure_graph"].structure)
        same = [shape.fits(matcher, other) for other in shapes]
        if any(same):
            counted[same.index(True)]["count"] += 1
        else:
            shapes.append(shape)
            counted.append(component | {"count": 1})
    return counted


class Shape:
    """A structure that is compared with several others."""

    def __init__(self, structure: Any) -> None:
        self._structure = structure

    @cached_property
    def reduced(self) -> Any:
        """See `reduced_cell`."""
        return reduced_cell(self._structure)

    @cached_property
    def _composition(self) -> Any:
        return self._structure.composition

    def fits(self, matcher: Any, other: Shape) -> bool:
        """What the matcher's `fit` says."""
        composition = matcher._comparator.get_hash
        if composition(self._composition) != composition(other._composition):
            return False
        return bool(matcher.fit(self.reduced, other.reduced, skip_structure_reduction=True))


def reduced_cell(structure: Any) -> Any:
    """Niggli-reduced primitive cell, as `StructureMatcher` makes it, but without a look into its cache.

    The cache compares a structure site by site with others, which takes longer than what it saves.
    """
    reduce = StructureMatcher._get_reduced_istructure.__wrapped__
    return Structure.from_sites(reduce(SiteOrderedIStructure.from_sites(Structure.from_sites(structure)), True, True))
