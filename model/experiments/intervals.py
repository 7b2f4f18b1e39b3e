"""Intervals of errors and of paired differences, by a bootstrap over crystals and over seeds.

Crystals are drawn by whole reduced formulas. Each resample also draws as many sets of seeds as there are disjoint ones,
with replacement, for an arm and for what it is compared with apart, on the same resampled crystals. Where all seeds are
one set, nothing is left to draw, and the interval is over crystals alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.experiments.blending import Blend
from model.experiments.runs import Floats, Ground

SEEN_IN = 0.8
"""Share of repetitions in which a detectable difference is seen."""


@dataclass(frozen=True)
class Measured:
    """An error, or a difference of errors."""

    value: float
    low: float
    high: float
    deviation: float
    """Standard error: deviation over the resamples."""


@dataclass(frozen=True)
class Resamples:
    """Resamples of the groups of some folds: the same ones for every line."""

    group: NDArray[np.int64]
    """`[crystals]`, the number of each crystal's reduced formula."""
    times: Floats
    """`[resamples, groups]`, how often each group is drawn."""
    crystals: Floats
    """`[resamples]`, how many crystals that makes."""

    @classmethod
    def of(cls, ground: Ground, number: int) -> Self:
        """So many, of the crystals of these folds."""
        _, group = np.unique(ground.formulas, return_inverse=True)
        sizes = np.bincount(group).astype(np.float64)
        drawn = np.random.default_rng(0).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), number)
        times = drawn.astype(np.float64)
        return cls(group, times, times @ sizes)

    def resampled(self, blend: Blend) -> Resampled:
        """The errors of all sets of seeds of a blend."""
        errors = blend.errors()
        by_group = np.stack([np.bincount(self.group, one) for one in errors])
        return Resampled(float(errors.mean()), (self.times @ by_group.T) / self.crystals[:, None], blend.disjoint)


@dataclass(frozen=True)
class Resampled:
    """Mean absolute errors of all sets of seeds."""

    value: float
    """Over all crystals and sets."""
    errors: Floats
    """`[resamples, sets]`, on resampled crystals."""
    disjoint: int
    """How many sets without a common seed there are."""

    def drawn(self, rng: np.random.Generator) -> Floats:
        """`[resamples]`, the mean over resampled sets."""
        chosen = rng.integers(0, self.errors.shape[1], (len(self.errors), self.disjoint))
        result: Floats = np.take_along_axis(self.errors, chosen, axis=1).mean(axis=1)
        return result


def measure(ours: Resampled, theirs: Resampled | None, confidence: float) -> Measured:
    """Mean absolute error over crystals and sets of seeds, or its difference from that of `theirs`."""
    rng = np.random.default_rng(1)
    value, drawn = ours.value, ours.drawn(rng)
    if theirs is not None:
        value, drawn = value - theirs.value, drawn - theirs.drawn(rng)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Measured(value, float(low), float(high), float(drawn.std()))


def detectable(deviation: float, confidence: float) -> float:
    """The difference that is clear of zero in four of five repetitions, from the standard error of one.

    The sum of two quantiles of the normal distribution, that of the interval and that of the power, as in Cohen (1988).
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - (1 - confidence) / 2) + normal.inv_cdf(SEEN_IN)) * deviation
