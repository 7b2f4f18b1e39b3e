"""Tables of SQL that lie in no file: made of the published ones when a query names them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa

MODULES: Mapping[str, str] = {"lineage": "features.catalog.lineage"}
"""Table → module that defines its `SCHEMA` and `make`, which is imported when a query names the table or asks which
tables there are."""


class Virtual(Protocol):
    """What such a module has."""

    SCHEMA: pa.Schema
    """Every field carries a description and, where it has one, a unit (`features.view.column`)."""

    @staticmethod
    def make(where: Path) -> pa.Table:
        """The table, of the project folder `where`, in this schema. Raises `UserError` if it cannot be made there."""


def names() -> list[str]:
    """All of them."""
    return sorted(MODULES)


def schema(name: str) -> pa.Schema:
    """Columns of one of them, with descriptions and units."""
    return _module(name).SCHEMA


def description(name: str) -> str:
    """What the module says of itself."""
    return _module(name).__doc__ or ""


def make(where: Path, name: str) -> pa.Table:
    """One of them, of the project folder `where`. Raises `UserError` if it cannot be made there."""
    module = _module(name)
    return module.make(where).cast(module.SCHEMA)


def _module(name: str) -> Virtual:
    module: Virtual = importlib.import_module(MODULES[name])  # type: ignore[assignment]  # a module is what it has
    return module
