"""Components are found, told apart and counted as pymatgen and Robocrystallographer do."""

import itertools
from typing import Any

import pytest
from pymatgen.analysis import dimensionality
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from robocrys.condense import component as robocrys_component
from robocrys.condense.site import SiteAnalyzer

from features import crystal
from features.describer import components
from features.describer.bonds import Bonds
from features.describer.neighbours import OrbitNN
from features.describer.site_fingerprints import Fingerprints
from features.describer.sites import Sites
from tests.conftest import CRYSTALS
from tests.features.describer import stock


@pytest.fixture(scope="module")
def bonded(structures: dict[str, Any], low_dimensional: dict[str, Any]) -> dict[str, Any]:
    """Structure graphs of conventional cells, two of them with orbits that stock splits."""
    known = structures | low_dimensional
    raw = {material_id: known[material_id] for material_id in stock.DOZEN}
    raw |= {path.stem: Structure.from_file(path) for path in sorted((CRYSTALS / "split_orbits").glob("*.cif"))}
    return {name: OrbitNN().get_bonded_structure(SpacegroupAnalyzer(
        crystal.canonical_structure(one), 0.01).get_conventional_standard_structure()) for name, one in raw.items()}


def plain(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one | {"structure_graph": (one["structure_graph"].structure,
                                       sorted(one["structure_graph"].graph.edges(data="to_jimage"))),
                   "molecule_graph": one["molecule_graph"].molecule if "molecule_graph" in one else None}
            for one in found]


def test_equal_to_stock(bonded: dict[str, Any]) -> None:
    dimensions = set()
    for graph in bonded.values():
        found = components.get_structure_components(Bonds(graph), True, True, True)
        expected = dimensionality.get_structure_components(graph, True, True, True)
        assert plain(found) == plain(expected)
        assert plain(components.get_structure_inequiv_components(found)) == plain(
            robocrys_component.get_structure_inequiv_components(expected))
        dimensions |= {one["dimensionality"] for one in found}
    assert dimensions == {0, 1, 2, 3}


def test_the_same_sites_look_alike(bonded: dict[str, Any]) -> None:
    for name, graph in bonded.items():
        neighbours = OrbitNN()
        orbits = SpacegroupAnalyzer(graph.structure, 0.01).get_symmetry_dataset().equivalent_atoms.tolist()
        sites = Sites(Bonds(graph), Fingerprints(neighbours), orbits)
        assert sites.equivalent_sites == SiteAnalyzer._calculate_equivalent_sites(sites), name
        assert sites.symmetry_labels == SiteAnalyzer._calculate_symmetry_labels(sites, orbits)


def test_what_leaves_a_point_a_line_or_a_plane() -> None:
    assert components._spans_more(set(), (0, 0, 0))
    images = {(0, 0, 0), (1, 1, 0), (1, 0, 1)}
    for one, other in itertools.combinations(images, 2):
        double = tuple(2 * a - b for a, b in zip(one, other, strict=True))
        assert not components._spans_more({one, other}, double)
        assert components._spans_more({one, other}, (3, 3, 3))
    assert not components._spans_more(images, (3, 2, 1))
    assert components._spans_more(images, (3, 2, 0))
    assert not components._spans_more({*images, (0, 0, 1)}, (5, 7, 9))
