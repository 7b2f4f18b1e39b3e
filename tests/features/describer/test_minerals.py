"""Prototypes that are not compared would not match."""

from typing import Any

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from features.describer.engine import Condenser
from features.describer.minerals import Minerals, _Matcher, _shares
from tests.features.describer import stock


@pytest.fixture(scope="module")
def minerals() -> Minerals:
    found = Condenser().mineral_matcher
    assert isinstance(found, Minerals)
    return found


@pytest.mark.parametrize(("material_id", "count"), [("mp-22862", 1), ("mp-5229", 1), ("mp-20066", 0)])
def test_matches_are_all_that_stock_finds(structures: dict[str, Any], low_dimensional: dict[str, Any],
                                          minerals: Minerals, material_id: str, count: int) -> None:
    structure = stock.canonical((structures | low_dimensional)[material_id])
    minerals._set_distance_matrix(structure)
    matcher = StructureMatcher(ltol=minerals.initial_ltol, stol=minerals.initial_stol,
                               angle_tol=minerals.initial_angle_tol, primitive_cell=True)
    reduced = _Matcher._preprocess_structure(structure)
    found = [one["type"] for one in _Matcher(minerals)._match_prototype(matcher, reduced)]
    table = minerals._mineral_db[minerals._mineral_db["n_elems"] == structure.n_elems]
    few = [row for _, row in table.iterrows() if len(row["structure"]) <= 8]
    assert [row["mineral"] for row in few if matcher.fit_anonymous(row["structure"], reduced)] == found
    assert len(found) >= count
    shares = _shares(structure)
    assert sum(prototype.could_be_cell_of(structure, shares) for prototype in table["prototype"]) >= len(found)
