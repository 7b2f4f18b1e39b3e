import itertools
from typing import Any

import numpy as np
import pytest

from features import crystal
from features.errors import RowError
from features.views import structures as view
from features.views.structures import (
    WIDEST,
    TensorizeParams,
    axes,
    lists,
    neglected,
    neighbour_images,
    structure_tensors,
    symmetry,
)


def images(lattice: Any, fractions: Any, reach: float) -> tuple[Any, Any, Any]:
    i, j, vector = neighbour_images(lattice, fractions, reach)
    return i, j, np.linalg.norm(vector, axis=1)


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
    i, j, distance = images(lattice, fractions, 25.0)
    found = sorted((int(a), int(b), round(float(r), 6)) for a, b, r in zip(i, j, distance, strict=True))
    assert set(found) == brute_force(lattice, fractions, 25.0, far=7)
    assert found == sorted(found)


def test_every_pair_is_there_and_each_atom_sees_itself(structures: dict[str, Any]) -> None:
    canonical = crystal.canonical_structure(structures["mp-20928"])
    n = len(canonical)
    i, j, distance = images(canonical.lattice.matrix, canonical.frac_coords, 40.0)
    assert {(int(a), int(b)) for a, b in zip(i, j, strict=True)} == set(itertools.product(range(n), repeat=2))
    assert np.allclose([distance[(i == k) & (j == k)].min() for k in range(n)], 0.0)


def test_a_larger_reach_only_adds(structures: dict[str, Any]) -> None:
    canonical = crystal.canonical_structure(structures["mp-30"])
    few, many = (images(canonical.lattice.matrix, canonical.frac_coords, reach)[2] for reach in (20.0, 60.0))
    assert len(many) > len(few)
    assert np.allclose(np.sort(many)[:len(few)], np.sort(few))


def test_row_and_limit(structures: dict[str, Any]) -> None:
    cif = crystal.to_cif(crystal.canonical_structure(structures["mp-22862"]))
    row = view.compute.function({"material_id": "x", "cif": cif}, TensorizeParams())
    assert row["atomic_numbers"].tolist() == [11, 17]
    assert len(row["edge_i"]) == len(row["edge_j"]) == len(row["edge_distance"]) == len(row["edge_count"])
    assert row["n_edges"] == len(row["edge_i"])
    assert row["edge_distance"].dtype == np.float32
    with pytest.raises(RowError, match="max_sites"):
        view.tensors(cif, TensorizeParams(max_sites=1))



def by_atom(structure: Any) -> dict[str, Any]:
    lattice = np.array(structure.lattice.matrix)
    return lists(lattice, structure.frac_coords, np.arange(len(structure)), lattice, TensorizeParams())


@pytest.mark.parametrize("name", ["mp-22862", "mp-149", "mp-20928", "mp-5229", "mp-2700"])
def test_orbits_hold_the_images_of_all_their_atoms(structures: dict[str, Any], name: str) -> None:
    canonical = crystal.canonical_structure(structures[name])
    row, atoms = structure_tensors(canonical, TensorizeParams()), by_atom(canonical)
    orbit = row["orbit"]
    first = np.unique(orbit, return_index=True)[1]
    for i, j in itertools.product(range(len(first)), repeat=2):
        mine = (row["edge_i"] == i) & (row["edge_j"] == j)
        theirs = (atoms["edge_i"] == first[i]) & (orbit[atoms["edge_j"]] == j)
        nearest = row["edge_distance"][mine].min()
        within = theirs & (atoms["edge_distance"] ** 2 - nearest**2 < TensorizeParams().reach)
        expected = np.sort(np.repeat(atoms["edge_distance"][within], atoms["edge_count"][within]))
        found = np.repeat(row["edge_distance"][mine], row["edge_count"][mine])
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert np.all(np.diff(row["edge_distance"][mine]) > 0)


def test_every_atom_of_an_orbit_sees_the_same_distances(structures: dict[str, Any]) -> None:
    canonical = crystal.canonical_structure(structures["mp-20928"])
    orbit, _ = symmetry(canonical.lattice.matrix, canonical.frac_coords, np.array(canonical.atomic_numbers))
    assert 1 < orbit.max() + 1 < len(orbit)
    atoms = by_atom(canonical)
    seen = [np.sort(np.repeat(atoms["edge_distance"][mine], atoms["edge_count"][mine]))
            for mine in (atoms["edge_i"] == atom for atom in range(len(orbit)))]
    for atom, o in enumerate(orbit):
        np.testing.assert_allclose(seen[atom], seen[int(np.flatnonzero(orbit == o)[0])], atol=1e-4)


@pytest.mark.parametrize("reach", [20.0, 40.0, 60.0])
def test_what_is_left_out_is_within_the_bound(structures: dict[str, Any], reach: float) -> None:
    worst = 0.0
    for name in ("mp-30", "mp-149", "mp-22862", "mp-20928", "mp-2700", "mp-48"):
        row = structure_tensors(crystal.canonical_structure(structures[name]), TensorizeParams(reach=200.0))
        for i, j in itertools.product(range(max(row["orbit"]) + 1), repeat=2):
            mine = (row["edge_i"] == i) & (row["edge_j"] == j)
            beyond = row["edge_distance"][mine] ** 2 - row["edge_distance"][mine].min() ** 2
            weight = row["edge_count"][mine] * np.exp(-beyond / WIDEST)
            worst = max(worst, float(weight[beyond >= reach].sum() / weight.sum()))
    assert neglected(reach) < worst < 2 * neglected(reach)


def test_neighbours_are_the_nearest_and_whole_shells(structures: dict[str, Any]) -> None:
    canonical = crystal.canonical_structure(structures["mp-22862"])  # rock salt: shells of 6, 12, 8, 6
    row = structure_tensors(canonical, TensorizeParams(neighbours=12))
    distance = np.linalg.norm(row["near_vector"].reshape(-1, 3), axis=1)
    for orbit in (0, 1):
        mine = row["near_i"] == orbit
        a = np.linalg.norm(canonical.lattice.matrix[0]) * np.sqrt(2)
        np.testing.assert_allclose(distance[mine], [a / 2] * 6 + [a / np.sqrt(2)] * 12, rtol=1e-5)
        assert (row["near_j"][mine][:6] != orbit).all()
        assert (row["near_j"][mine][6:] == orbit).all()


@pytest.mark.parametrize(("lattice", "weights"), [
    (np.eye(3), [1, 1, 1]),  # simple cubic: one choice
    ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], [0.5] * 6),  # face-centred: twelve shortest, six directions
    ([[-1, 1, 1], [1, -1, 1], [1, 1, -1]], [0.75] * 4),  # body-centred: eight, four directions
    ([[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 2]], [2 / 3] * 3 + [1]),  # hexagonal
    ([[1, 0, 0], [0.1, 1.1, 0], [0.2, 0.3, 1.3]], [1, 1, 1]),  # triclinic
])
def test_axes(lattice: Any, weights: list[float]) -> None:
    lattice = np.array(lattice, float)
    vectors, found = axes(lattice)
    assert sorted(found) == pytest.approx(sorted(weights))
    skewed, others = axes(np.array([[1, 0, 0], [3, 1, 0], [-2, 1, 1]]) @ lattice)
    assert sorted(others) == pytest.approx(sorted(weights))
    for vector in skewed:
        assert min(np.abs(vectors - vector).sum(1).min(), np.abs(vectors + vector).sum(1).min()) < 1e-9
