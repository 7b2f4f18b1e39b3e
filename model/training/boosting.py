"""Gradient boosting, stopped by the validation crystals as networks are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.params import TreesParams

Floats = NDArray[np.float64]
LOSSES = ("squared_error", "absolute_error")
"""The validation crystals choose: of targets with few very large values absolute errors learn better."""


def boosted(x: Floats, y: Floats, validation: tuple[Floats, Floats], params: TreesParams, seed: int) -> tuple[Any, int]:
    """Gradient boosting (Friedman 2001) of both losses: the better one, and how many of its trees are best.

    Args:
        x: `[crystals, features]`.
        y: `[crystals]`.
        validation: the same two of other crystals.
        params: section `train.trees`.
        seed: of the random halves.
    """
    from sklearn.ensemble import GradientBoostingRegressor

    grown: list[tuple[float, int, Any]] = []
    for number, loss in enumerate(LOSSES):
        model = GradientBoostingRegressor(
            loss=loss, n_estimators=params.trees, learning_rate=params.learning_rate, max_depth=params.depth,
            subsample=params.subsample, max_features=params.features, min_samples_leaf=params.leaf, random_state=seed)
        model.fit(x, y)
        errors = [float(np.abs(values - validation[1]).mean()) for values in model.staged_predict(validation[0])]
        grown.append((min(errors), number, (model, int(np.argmin(errors)) + 1)))
    _, _, result = min(grown, key=lambda one: one[:2])
    return result
