"""Whether the tables are what they should be."""

from __future__ import annotations

from pathlib import Path

from features.catalog import validate as checks
from features.commands.options import At, Root
from features.store import revisions


def validate(root: Root = Path(), at: At = None) -> None:
    """Check every table against its view: schema, version, unique keys, no row without its upstream row."""
    where = revisions.at(root, at)
    if at is not None:
        what = f"revision {at}"
    else:
        what = f"version {where.name}" if where != root else "the work tree, since nothing is published"
    print(f"{checks.check(where)} tables of {what} are valid")
