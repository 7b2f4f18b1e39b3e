"""Neighbours are CrystalNN's to the last digit, and in its order."""

from typing import Any

import pytest
from pymatgen.analysis.local_env import CrystalNN
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from features.describer import voronoi
from tests.features.describer import stock


def ours(structure: Any, n: int) -> Any:
    return voronoi.nn_data(structure, n, structure.frac_coords, voronoi.Pairs(structure))


def facts(data: Any) -> tuple[Any, ...]:
    def entry(one: dict[str, Any]) -> tuple[Any, ...]:
        site = one["site"]
        return (one["site_index"], site.index, tuple(one["image"]), site.frac_coords.tobytes(), site.species_string,
                one["weight"], type(one["weight"]), site.nn_distance)

    return ([entry(one) for one in data.all_nninfo], list(data.cn_weights.items()),
            {cn: [entry(one) for one in chosen] for cn, chosen in data.cn_nninfo.items()})


@pytest.mark.parametrize("ions", [False, True], ids=["atoms", "ions"])
def test_equal_to_crystalnn(structures: dict[str, Any], low_dimensional: dict[str, Any], ions: bool) -> None:
    known = structures | low_dimensional
    for material_id in ["mp-5229", "mp-22862"] if ions else stock.DOZEN:
        structure = stock.canonical(known[material_id])
        cell = SpacegroupAnalyzer(structure, 0.01).get_conventional_standard_structure()
        if ions:
            cell.add_oxidation_state_by_guess()
        for n in range(0, len(cell), 3):
            assert facts(ours(cell, n)) == facts(CrystalNN().get_nn_data(cell, n))


@pytest.mark.parametrize("structure", [
    Structure(Lattice.cubic(20), ["Xe"], [[0, 0, 0]]),  # none other within the cutoff
    Structure(Lattice.orthorhombic(3, 3, 20), ["C"], [[0, 0, 0]]),  # all in a plane
    Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Rf", "O"], [[0, 0, 0], [0.305, 0.305, 0]]),
], ids=["alone", "flat", "no radius"])
def test_what_is_left_to_crystalnn(structure: Any) -> None:
    assert ours(structure, 0) is None
