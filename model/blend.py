"""Weights for the mean of several predictions, learned on crystals that none of them was trained on."""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST = 4
"""Kinds of predictions at most: the grid grows with a power of their number."""
EQUAL = 1e-9
"""Errors that differ by less are the same."""


def weights(predictions: ArrayLike, y: ArrayLike, step: float = 0.05) -> NDArray[np.float64]:
    """Non-negative weights that sum to 1 and give the smallest mean absolute error on a grid of width `step`.

    Among equals the one nearest to equal weights, of several as near the one that gives the first kinds less.

    Args:
        predictions: `[..., kinds, crystals]`, of one or more sets, each for itself. A crystal that one kind has no
            prediction for (NaN) is left out.
        y: `[crystals]`, in the same unit.
        step: 1 divided by a whole number.

    Returns:
        `[..., kinds]`.

    Raises:
        ValueError: for more than four kinds, another step, or a set without a crystal that all kinds predict.
    """
    predicted = np.asarray(predictions, np.float64)
    grid = simplex(predicted.shape[-2], step)
    known = np.asarray(np.isfinite(predicted).all(axis=-2))
    counts = known.sum(axis=-1)
    if not counts.all():
        raise ValueError("no crystal has a prediction of every kind, so that weights could be learned from it")
    y = np.asarray(y, np.float64)
    filled = np.where(known[..., None, :], predicted, 0.0)
    errors = np.stack([(np.abs(one @ filled - y) * known).sum(axis=-1) / counts
                       for one in grid], axis=-1)
    # the grid begins with what is nearest to equal weights, and argmax takes the first
    best = (errors <= errors.min(axis=-1, keepdims=True) + EQUAL).argmax(axis=-1)
    return grid[best]


@functools.lru_cache
def simplex(kinds: int, step: float) -> NDArray[np.float64]:
    """`[points, kinds]`, all weights that are multiples of `step` and sum to 1, those nearest to equal ones first."""
    parts = round(1 / step) if 0 < step <= 1 else 0
    if not 1 <= kinds <= MOST:
        raise ValueError(f"weights are learned for 1 to {MOST} kinds of predictions, not {kinds}")
    if not parts or abs(parts * step - 1) > EQUAL:
        raise ValueError(f"step is 1 divided by a whole number, not {step}")
    points = [(*point, parts - sum(point)) for point in itertools.product(range(parts + 1), repeat=kinds - 1)
              if sum(point) <= parts]
    # squared distance from equal weights, but for what all points share: whole numbers, so that ties are ties
    points.sort(key=lambda point: (sum(one * one for one in point), point))
    grid = np.array(points, np.float64) / parts
    grid.flags.writeable = False
    return grid
