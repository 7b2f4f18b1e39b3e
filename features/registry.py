"""All feature views, in the order of the data. Adding one is a file beside this and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from features.errors import UserError
from features.view import FeatureView

MODULES: Mapping[str, str] = {
    "ingest": "features.views.materials",
    "describe": "features.views.descriptions",
    "paraphrase": "features.views.paraphrases",
    "embed": "features.views.text_embeddings",
    "tokenize": "features.views.text_tokens",
    "tensorize": "features.views.structures",
    "chgnet": "features.views.chgnet_atoms",
    "split": "features.views.splits",
}
"""Stage → module that defines its `VIEW`."""


def view_of(stage: str) -> FeatureView[Any]:
    """The view that a stage makes."""
    try:
        module = MODULES[stage]
    except KeyError:
        raise UserError(f"no stage '{stage}'; stages are: {', '.join(MODULES)}") from None
    view: FeatureView[Any] = importlib.import_module(module).VIEW
    return view


def view_named(table: str) -> FeatureView[Any] | None:
    """The view of a table; None for a table that is no view."""
    return next((view_of(stage) for stage, module in MODULES.items() if module.rpartition(".")[2] == table), None)


def all_views() -> list[FeatureView[Any]]:
    """Every view, upstream before downstream."""
    return [view_of(stage) for stage in MODULES]
