"""Local structure order parameters, compiled: how much the neighbours of an atom look like a given motif.

The motifs and their constants are those of Robocrystallographer's fingerprint (matminer's `CrystalNNFingerprint`,
preset "ops"); the formulas are those of Zimmermann & Jain, RSC Advances 10, 6063 (2020), after Peters, J. Chem. Phys.
131, 244103 (2009), and of Steinhardt, Nelson & Ronchetti, Phys. Rev. B 28, 784 (1983) for q2, q4, q6.

In the Peters-like parameters every neighbour j in turn is the north pole and every other neighbour k the prime
meridian; θ is the angle from the pole and φ the azimuth from the meridian. Each pair (j, k) collects Gaussians in the
deviation of θ from the motif's angles, weighted with a power of a cosine of φ for the remaining neighbours m.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TINY = 1e-12
NOISE = 1e-7  # rad; far above rounding errors
SAME = 1e-5  # more than `NOISE` changes a smooth value, less than any reader of likenesses sees
# One number per family of formulas.
BENT, PLANE, PYRAMID, BIPYRAMID, PENTAGON, BODY_CENTRED, CUBOCTAHEDRON, SEE_SAW, HEXAGON = range(9)
FAMILIES = {
    "bent": BENT, "tri_plan_max": PLANE, "tet_max": PLANE, "T": PYRAMID, "tri_pyr": PYRAMID, "sq_pyr": PYRAMID,
    "pent_pyr": PYRAMID, "hex_pyr": PYRAMID, "tri_bipyr": BIPYRAMID, "sq_bipyr": BIPYRAMID, "pent_bipyr": BIPYRAMID,
    "hex_bipyr": BIPYRAMID, "oct_max": BIPYRAMID, "sq_plan_max": BIPYRAMID, "hex_plan_max": HEXAGON,
    "see_saw_rect": SEE_SAW, "pent_plan_max": PENTAGON, "bcc": BODY_CENTRED, "cuboct_max": CUBOCTAHEDRON,
}
STEINHARDT = {"q2": 2, "q4": 4, "q6": 6}
SLOTS = ("TA", "IGW_TA", "IGW_EP", "fac_AA", "exp_cos_AA", "min_SPP", "IGW_SPP", "w_SPP", 2, 4, 5, 6)
"""Constants of a motif in the order in which the compiled code reads them; an absent one is 0."""


def constants(parameters: Mapping[Any, float] | None) -> Floats:
    """Constants of a motif as an array, in the order of `SLOTS`."""
    return np.array([float((parameters or {}).get(name, 0.0)) for name in SLOTS])


class Surroundings:
    """Directions of the neighbours of an atom, and the angles between them that every motif is compared with."""

    def __init__(self, vectors: Floats) -> None:
        """`vectors`: `[n, 3]`, from the atom to its neighbours, Å."""
        self.lengths = np.sqrt((vectors**2).sum(axis=1))
        self.directions = vectors / self.lengths[:, None]

    @cached_property
    def angles(self) -> tuple[Floats, NDArray[np.bool_], Floats]:
        """See `_angles`."""
        return _angles(self.directions)


def order_parameter(motif: str, values: Floats, around: Surroundings) -> tuple[float, bool]:
    """Order parameter of one motif, 0 where it is not defined; and whether rounding errors leave it as it is.

    Formulas change their branch at fixed angles: a value is settled if it stands when all angles are a little larger
    or smaller.

    Args:
        motif: name of the formula, a key of `FAMILIES` or `STEINHARDT`, or `sgl_bd`.
        values: its `constants`.
        around: the neighbours.

    Raises `KeyError` for a motif that is not known here.
    """
    if motif == "sgl_bd":
        shortest = np.sort(around.lengths)
        return 1.0 if len(shortest) == 1 else float(1 - shortest[0] / shortest[1]), True
    if motif in STEINHARDT:
        return _steinhardt(STEINHARDT[motif], around.directions), True
    value, difference = _with_difference(FAMILIES[motif], values, *around.angles)
    return float(value), abs(difference) < SAME


def depends_on_order(motif: str) -> bool:
    """Whether the value depends on the order of the neighbours: one formula counts each pair once, as it comes."""
    return FAMILIES.get(motif) == BODY_CENTRED


def _steinhardt(degree: int, directions: Floats) -> float:
    """q_l = √( Σ_ij P_l(cos γ_ij) ) / n, by the addition theorem of the spherical harmonics."""
    cosines = np.clip(directions @ directions.T, -1.0, 1.0)
    coefficients = np.zeros(degree + 1)
    coefficients[degree] = 1.0
    total = float(np.polynomial.legendre.legval(cosines, coefficients).sum())
    return math.sqrt(max(total, 0.0)) / len(directions)


@numba.njit(cache=True, error_model="numpy")
def _dot(a: Floats, b: Floats) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@numba.njit(cache=True, error_model="numpy")
def _gauss(x: float) -> float:
    return math.exp(-0.5 * x * x)


@numba.njit(cache=True, error_model="numpy")
def _first(family: int, c: Floats, theta: float, j: int, k: int) -> tuple[float, float]:
    """What the angle of the neighbour k itself adds: value and norm."""
    t = theta / math.pi
    if family in (BENT, PLANE):
        return _gauss(c[1] * (t - c[0])), 1.0
    if family == PYRAMID:
        return _gauss(c[2] * (t - 0.5)), 1.0
    if family in (BIPYRAMID, SEE_SAW):
        return (_gauss(c[2] * (t - 0.5)), 1.0) if theta < c[5] else (0.0, 0.0)
    if family == HEXAGON:
        return (_gauss(c[1] * (abs(t - 0.5) - c[0])), 1.0) if theta < c[5] else (0.0, 0.0)
    if family == PENTAGON:
        return _gauss(c[1] * (t - (0.4 if theta <= c[0] * math.pi else 0.8))), 1.0
    if theta >= c[5] and (family == CUBOCTAHEDRON or j < k):
        return c[7] * _gauss(c[6] * (t - 1.0)), c[7]
    return 0.0, 0.0


@numba.njit(cache=True, error_model="numpy")
def _other(family: int, c: Floats, theta_k: float, theta: float, phi: float, j: int, k: int) -> tuple[float, float]:
    """What another neighbour m at (θ, φ) adds: value and norm."""
    t = theta / math.pi
    if family == PLANE:
        return _gauss(c[1] * (t - c[0])) * math.cos(c[3] * phi) ** c[4], 1.0
    if family == PYRAMID:
        return _gauss(c[2] * (t - 0.5)) * math.cos(c[3] * phi) ** c[4], 1.0
    if family in (BIPYRAMID, SEE_SAW, HEXAGON):
        if theta >= c[5] or theta_k >= c[5] or (family == SEE_SAW and phi >= 0.75 * math.pi):
            return 0.0, 0.0
        deviation = c[1] * (abs(t - 0.5) - c[0]) if family == HEXAGON else c[2] * (t - 0.5)
        return _gauss(deviation) * math.cos(c[3] * phi) ** c[4], 1.0
    if family == PENTAGON:
        return _gauss(c[1] * (t - (0.4 if theta <= c[0] * math.pi else 0.8))) * math.cos(phi) ** 2, 1.0
    if family == BODY_CENTRED and j < k and theta_k < c[5]:
        x = (theta - math.pi / 2) / math.asin(1 / 3)
        sign = 1.0 if theta_k > math.pi / 2 else -1.0
        return sign * math.cos(3 * phi) * math.exp(0.5) * x * _gauss(x), 1.0
    if family == CUBOCTAHEDRON and theta < c[5] and c[9] < theta_k < c[8]:
        if c[9] < theta < c[8]:
            return math.cos(phi) ** 2 * _gauss(c[10] * (t - 0.5)), 1.0
        if theta in (c[8], c[9]):
            return 0.0, 0.0
        third = 1 / 3 if theta < c[9] else 2 / 3
        return _gauss(0.0556 * (math.cos(phi - 0.5 * math.pi) - 0.81649658)) * _gauss(c[11] * (t - third)), 1.0
    return 0.0, 0.0


@numba.njit(cache=True, error_model="numpy")
def _angles(d: Floats) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Angles between unit vectors `d`, `[n, 3]`.

    `[j, m]` θ of m with the pole j; `[j, m]` whether m is off the axis of the pole j; `[j, k, m]` φ of m where k is
    the meridian, if both are off the axis.
    """
    n = len(d)
    theta = np.zeros((n, n))
    off_axis = np.zeros((n, n), np.bool_)
    phi = np.zeros((n, n, n))
    across = np.zeros((n, 3))
    for j in range(n):
        for m in range(n):
            if m == j:
                continue
            cosine = _dot(d[j], d[m])
            theta[j, m] = math.acos(min(1.0, max(-1.0, cosine)))
            share = cosine / _dot(d[j], d[j])
            for axis in range(3):
                across[m, axis] = d[m, axis] - share * d[j, axis]
            length = math.sqrt(_dot(across[m], across[m]))
            off_axis[j, m] = length >= TINY
            if off_axis[j, m]:
                for axis in range(3):
                    across[m, axis] /= length
        for k in range(n):
            if off_axis[j, k]:
                for m in range(n):
                    if off_axis[j, m]:
                        phi[j, k, m] = math.acos(min(1.0, max(-1.0, _dot(across[m], across[k]))))
    return theta, off_axis, phi


@numba.njit(cache=True, error_model="numpy")
def _with_difference(family: int, c: Floats, thetas: Floats, off_axis: NDArray[np.bool_],
             phis: Floats) -> tuple[float, float]:
    """The order parameter, and how much it changes between all angles smaller and larger by `NOISE`."""
    difference = _peters(family, c, thetas, off_axis, phis, NOISE) - _peters(family, c, thetas, off_axis, phis, -NOISE)
    return _peters(family, c, thetas, off_axis, phis, 0.0), difference


@numba.njit(cache=True, error_model="numpy")
def _peters(family: int, c: Floats, thetas: Floats, off_axis: NDArray[np.bool_], phis: Floats, shift: float) -> float:
    """Order parameter of the Peters kind from `_angles`, to each of which `shift` is added; 0 where not defined."""
    n = len(thetas)
    has_south_pole = family in (BIPYRAMID, SEE_SAW, HEXAGON)
    total = norms = best = 0.0
    for j in range(n):
        for k in range(n):
            if k == j:
                continue
            theta_k = thetas[j, k] + shift
            value, norm = _first(family, c, theta_k, j, k)
            if off_axis[j, k] and family != BENT:
                for m in range(n):
                    if m in (j, k):
                        continue
                    theta = thetas[j, m] + shift
                    if has_south_pole and theta >= c[5]:
                        value += _gauss(c[6] * (theta / math.pi - 1.0))
                        norm += 1.0
                    if not off_axis[j, m]:
                        continue
                    more, weight = _other(family, c, theta_k, theta, phis[j, k, m] + shift, j, k)
                    value += more
                    norm += weight
            total += value
            norms += norm
            if norm > TINY:
                best = max(best, value / norm)
    if family == BENT:
        return total / norms if norms > TINY else 0.0
    if family == BODY_CENTRED:
        return total / (0.5 * n * (6 + (n - 2) * (n - 3))) if n > 3 else 0.0
    return best
