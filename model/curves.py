"""Learning curves of the networks of a model, as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from model.params import KINDS, Kind

History = Sequence[Mapping[str, float]]
"""Of one network, for each epoch `train_loss` and `validation_mae_` of each of its branches."""
Curve = list[dict[str, float | str]]
"""Rows `epoch`, `branch`, `train_loss`, `validation_mae`. One row for each branch, not one column: which branches there
are depends on `train.members`, and `dvc plots` draws nothing at all if a column that dvc.yaml names is missing."""


def mean_curve(kinds: Sequence[Kind], histories: Sequence[History]) -> Curve:
    """One learning curve of all networks: for each epoch the means over those that have reached it.

    Branch `structure` is the mean over the networks of structure alone where there are any, else that of the structure
    branches of fused networks; `text` likewise. A branch that no network has, or that has no error, has no rows.
    """
    result: Curve = []
    for epoch in range(max(len(history) for history in histories)):
        for branch in KINDS:
            own = branch if branch in kinds else "fused"
            there = [history[epoch] for kind, history in zip(kinds, histories, strict=True)
                     if kind == own and epoch < len(history)]
            errors = [row[f"validation_mae_{'fused' if own == branch else branch}"] for row in there]
            if errors and math.isfinite(error := float(np.mean(errors))):
                result.append({"epoch": epoch + 1, "branch": branch,
                               "train_loss": float(np.mean([row["train_loss"] for row in there])),
                               "validation_mae": error})
    return result
