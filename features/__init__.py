"""What a feature is: one file per feature view, the store that keeps tables, the SQL catalog over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from features.training_sets import training_set as training_set

_AT = {"training_set": "features.training_sets"}
"""Functions that are imported when they are first asked for, and where they are."""


def __getattr__(name: str) -> Any:
    if name not in _AT:
        raise AttributeError(f"module 'features' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_AT[name]), name)
