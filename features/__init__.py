"""What a feature is: one file per feature view, the store that keeps tables, the SQL catalog over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from features.training_sets import TrainingSet as TrainingSet
    from features.training_sets import training_set as training_set

_AT = {"training_set": "features.training_sets", "TrainingSet": "features.training_sets"}
"""What is imported when it is first asked for, and where it is."""


def __getattr__(name: str) -> Any:
    if name not in _AT:
        raise AttributeError(f"module 'features' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_AT[name]), name)
