"""Learning curves of the networks of a model, as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.params import KINDS, Kind

Curve = list[dict[str, float]]
"""For each epoch `epoch`, `train_loss` and `validation_mae_` of each branch."""


def mean_curve(kinds: Sequence[Kind], curves: Sequence[Curve]) -> Curve:
    """One learning curve of all networks: for each epoch the means over those that have reached it.

    `validation_mae_structure` is the mean over the networks of structure alone where there are any, else that of the
    structure branches; `validation_mae_text` likewise. What no network has is not a number.
    """
    result = []
    for epoch in range(max(len(curve) for curve in curves)):
        there = [(kind, curve[epoch]) for kind, curve in zip(kinds, curves, strict=True) if epoch < len(curve)]

        def mean(kind: Kind, name: str, there: list[tuple[Kind, dict[str, float]]] = there) -> float:
            values = [row[name] for of, row in there if of == kind]
            return float(np.mean(values)) if values else float("nan")

        row = {"epoch": epoch + 1, "train_loss": float(np.mean([row["train_loss"] for _, row in there]))}
        for kind in KINDS:
            own = kind if kind in kinds else "fused"
            row[f"validation_mae_{kind}"] = mean(own, f"validation_mae_{'fused' if own == kind else kind}")
        result.append(row)
    return result
