"""Intervals around predictions: normalised split conformal prediction.

A nonconformity score is |y − ŷ| / (spread + β), where spread is what the members of a prediction disagree by, and β
keeps crystals on which all agree from intervals of no width (Papadopoulos et al. 2002). The interval is
ŷ ± q (spread + β) with q the ⌈(n + 1) · confidence⌉-th smallest of n scores. If the crystals of the calibration and the
one predicted are exchangeable, and β is given, it holds the true value with a probability of at least `confidence`,
whatever the model and the errors are (Vovk et al. 2005). Here β is the mean spread of the calibration crystals, which
moves the probability by less and less as they become more. Crystals that stopped the training, or that weights were
learned on, are predicted a little too well to be exchangeable with new ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
CONFIDENCE = 0.9
"""Of the intervals that predictions carry, unless another one is asked for."""
ROUNDING = 1e-9
"""(n + 1) · confidence is a whole number where it is one but for the rounding of floats."""


@dataclass(frozen=True)
class Calibration:
    """What crystals that no member was trained on say about the errors."""

    floor: float
    """β, in the unit of what is predicted; 1 where no members disagree, as of a single one."""
    scores: list[float]
    """Nonconformity scores, sorted."""

    @classmethod
    def of(cls, predicted: ArrayLike, spread: ArrayLike, y: ArrayLike) -> Self:
        """From calibration crystals.

        Args:
            predicted: `[crystals]`.
            spread: `[crystals]`, standard deviation over the members' predictions, in the same unit.
            y: `[crystals]`, true values.

        Raises:
            ValueError: if there is no crystal, or one of the values is no finite number.
        """
        ours, widths, true = (np.asarray(one, np.float64) for one in (predicted, spread, y))
        if not (ours.shape == widths.shape == true.shape and ours.ndim == 1 and len(ours)):
            raise ValueError("a calibration needs a prediction, a spread and a value of each of one crystal or more")
        if not np.isfinite([ours, widths, true]).all() or (widths < 0).any():
            raise ValueError("a calibration needs finite numbers, and spreads that are not negative")
        floor = float(widths.mean()) or 1.0
        return cls(floor, np.sort(np.abs(true - ours) / (widths + floor)).tolist())

    def quantile(self, confidence: float) -> float:
        """q; infinite if there are too few scores. Raises `ValueError` unless 0 < confidence < 1."""
        if not 0 < confidence < 1:
            raise ValueError(f"a confidence lies between 0 and 1, not at {confidence}")
        index = math.ceil((len(self.scores) + 1) * confidence - ROUNDING)
        return self.scores[index - 1] if index <= len(self.scores) else math.inf

    def interval(self, predicted: ArrayLike, spread: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
        """Lower and upper ends, of the shape and in the unit of `predicted`."""
        ours = np.asarray(predicted, np.float64)
        half = self.quantile(confidence) * (np.asarray(spread, np.float64) + self.floor)
        return ours - half, ours + half

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"floor": self.floor, "scores": self.scores}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(float(content["floor"]), [float(score) for score in content["scores"]])
