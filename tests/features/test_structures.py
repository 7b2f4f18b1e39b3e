import itertools
from typing import Any

import numpy as np
import pytest

from features import crystal
from features import structures as view
from features.errors import RowError
from features.structures import TensorizeParams, neighbour_images


def brute_force(lattice: Any, fractions: Any, reach: float, far: int) -> set[tuple[int, int, float]]:
    """All images within |n_k| ≤ far, one by one."""
    found = set()
    for i, j in itertools.product(range(len(fractions)), repeat=2):
        squared = [float(np.sum(((fractions[j] - fractions[i] + n) @ lattice) ** 2))
                   for n in itertools.product(range(-far, far + 1), repeat=3)]
        low = min(squared)
        found |= {(i, j, round(r2**0.5, 6)) for r2 in squared if r2 - low < reach}
    return found


@pytest.mark.parametrize("skew", [np.eye(3), [[1, 0, 0], [2, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [1, 1, 1]]])
def test_no_image_is_missed_in_any_cell(structures: dict[str, Any], skew: Any) -> None:
    canonical = crystal.canonical_structure(structures["mp-149"])
    lattice = np.asarray(skew) @ canonical.lattice.matrix
    fractions = canonical.frac_coords @ np.linalg.inv(np.asarray(skew))
    i, j, distance = neighbour_images(lattice, fractions, 25.0)
    found = sorted((int(a), int(b), round(float(r), 6)) for a, b, r in zip(i, j, distance, strict=True))
    assert set(found) == brute_force(lattice, fractions, 25.0, far=7)
    assert found == sorted(found)


def test_every_pair_is_there_and_each_atom_sees_itself(structures: dict[str, Any]) -> None:
    canonical = crystal.canonical_structure(structures["mp-20928"])
    n = len(canonical)
    i, j, distance = neighbour_images(canonical.lattice.matrix, canonical.frac_coords, 40.0)
    assert {(int(a), int(b)) for a, b in zip(i, j, strict=True)} == set(itertools.product(range(n), repeat=2))
    assert np.allclose([distance[(i == k) & (j == k)].min() for k in range(n)], 0.0)


def test_a_larger_reach_only_adds(structures: dict[str, Any]) -> None:
    canonical = crystal.canonical_structure(structures["mp-30"])
    few, many = (neighbour_images(canonical.lattice.matrix, canonical.frac_coords, reach)[2] for reach in (20.0, 60.0))
    assert len(many) > len(few)
    assert np.allclose(np.sort(many)[:len(few)], np.sort(few))


def test_row_and_limit(structures: dict[str, Any]) -> None:
    cif = crystal.to_cif(crystal.canonical_structure(structures["mp-22862"]))
    row = view.compute.function({"material_id": "x", "cif": cif}, TensorizeParams())
    assert row["atomic_numbers"].tolist() == [11, 17]
    assert len(row["edge_i"]) == len(row["edge_j"]) == len(row["edge_distance"])
    with pytest.raises(RowError, match="max_sites"):
        view.tensors(cif, TensorizeParams(max_sites=1))


