"""The compiled order parameters against pymatgen's."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matminer.featurizers.site import CrystalNNFingerprint

from features.describer import order_parameters

STOCK = [(cn, one) for cn, parameters in CrystalNNFingerprint.from_preset("ops", cation_anion=False).ops.items()
         for one in parameters if one != "wt"]
PERFECT = {
    2: [[1, 0, 0], [-1, 0, 0]],
    3: [[1, 0, 0], [-0.5, 3**0.5 / 2, 0], [-0.5, -(3**0.5) / 2, 0]],
    4: [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]],
    5: [[0, 0, 1], [0, 0, -1], [1, 0, 0], [-0.5, 3**0.5 / 2, 0], [-0.5, -(3**0.5) / 2, 0]],
    6: [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]],
    8: [[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)],
    12: [[s, t, 0] for s in (1, -1) for t in (1, -1)] + [[s, 0, t] for s in (1, -1) for t in (1, -1)]
    + [[0, s, t] for s in (1, -1) for t in (1, -1)],
}


class Point:
    """What pymatgen reads of a site."""

    def __init__(self, coords: Any) -> None:
        self.coords = np.asarray(coords, float)


def both(parameter: Any, vectors: Any) -> tuple[float, float]:
    """Stock value and ours."""
    points = [Point([0, 0, 0]), *map(Point, vectors)]
    stock = parameter.get_order_parameters(points, 0, indices_neighs=list(range(1, len(points))))[0]
    values = order_parameters.constants(parameter.get_parameters(0))
    around = order_parameters.Surroundings(np.asarray(vectors, float))
    ours, _ = order_parameters.order_parameter(parameter.get_type(0), values, around)
    return float(stock or 0), ours


@pytest.mark.parametrize(("cn", "parameter"), STOCK, ids=lambda value: str(getattr(value, "_types", value)))
def test_perfect_and_disturbed_polyhedra(cn: int, parameter: Any) -> None:
    rng = np.random.default_rng(cn)
    shapes = [rng.normal(size=(cn, 3)) for _ in range(3)]
    if cn in PERFECT:
        perfect = np.array(PERFECT[cn], float)
        shapes += [perfect, 2.3 * perfect, perfect + 0.1 * rng.normal(size=perfect.shape)]
    for vectors in shapes:
        stock, ours = both(parameter, vectors)
        assert ours == pytest.approx(stock, abs=1e-9)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.sampled_from(range(len(STOCK))), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-9, 1e-3]))
def test_neighbours_in_line_and_in_plane(number: int, seed: int, noise: float) -> None:
    """Directions of a cubic net: poles, opposite neighbours and shared planes, where the azimuth is not defined."""
    cn, parameter = STOCK[number]
    rng = np.random.default_rng(seed)
    net = np.array([v for v in np.ndindex(3, 3, 3) if v != (1, 1, 1)], float) - 1
    vectors = net[rng.permutation(len(net))[:cn]] + noise * rng.normal(size=(cn, 3))
    stock, ours = both(parameter, vectors)
    assert ours == pytest.approx(stock, abs=1e-6)


def test_every_motif_of_the_fingerprint_is_known() -> None:
    known = {*order_parameters.FAMILIES, *order_parameters.STEINHARDT, "sgl_bd"}
    assert {parameter.get_type(0) for _, parameter in STOCK} <= known
