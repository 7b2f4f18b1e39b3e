"""What is said loudly of a model that nobody should rely on: too few crystals, or no better than the mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEW = 10
"""Validation or test crystals below which errors and intervals say next to nothing."""
FEW_TRAINED = 50
"""Training crystals below which a model is an exercise."""


def of_model(split_sizes: Mapping[str, int], validation: Mapping[str, float]) -> list[str]:
    """Sentences about a model, from what it knows of itself.

    Args:
        split_sizes: number of crystals by split.
        validation: `mae` of the model and `mean_mae` of the mean of its training crystals, on the validation crystals;
            empty if nobody knows.
    """
    said = []
    trained, validated = split_sizes.get("train", 0), split_sizes.get("validation", 0)
    if trained < FEW_TRAINED:
        said.append(f"The model was trained on {_crystals(trained)} only: its predictions show that the chain works, "
                    "and nothing about crystals.")
    if validated < FEW:
        said.append(f"Only {_crystals(validated)} validated the model: its intervals, where there are any, mean "
                    "little.")
    if validation and not validation["mae"] < validation["mean_mae"]:
        said.append(_no_better("validation", validated, validation["mae"], validation["mean_mae"]))
    return said


def of_test(tested: int, mae: float, mean_mae: float) -> list[str]:
    """Sentences about a test: how many crystals it had, and the errors of the model and of the mean predictor."""
    said = []
    if tested < FEW:
        said.append(f"Only {_crystals(tested)} tested the model: its errors are anecdotes, and have no intervals.")
    if not mae < mean_mae:
        said.append(_no_better("test", tested, mae, mean_mae))
    return said


def stored(metrics: Mapping[str, Any], weights_sha256: str) -> list[str]:
    """The cautions of `metrics.json`, if it is that of the model with these weights."""
    return list(metrics.get("cautions", [])) if metrics.get("weights_sha256") == weights_sha256 else []


def _no_better(split: str, crystals: int, mae: float, mean_mae: float) -> str:
    return (f"On its {_crystals(crystals, split)} the model is no better than the mean of its training crystals (error "
            f"{mae:.4g}, of the mean {mean_mae:.4g}): do not use it.")


def _crystals(count: int, split: str = "") -> str:
    return f"{count} {split}{' ' if split else ''}crystal{'' if count == 1 else 's'}"
