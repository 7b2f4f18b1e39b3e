"""Bringing the tables of other revisions here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from features.commands.options import Root
from features.errors import UserError
from features.progress import conclude
from features.store import revisions

Revision = Annotated[str, typer.Argument(metavar="REV", help="A git revision: a tag, a branch, a hash, HEAD~1.")]


def fetch(revision: Revision, root: Root = Path()) -> None:
    """Bring the tables of a git revision here from DVC's remote, as far as they are not here already."""
    if revision in (revisions.WORK, revisions.PUBLISHED):
        raise UserError(f"'{revision}' is what this machine has; name a git revision: a tag, a branch, a hash, HEAD~1")
    revisions.at(root, revision, fetch=True)
    conclude(f"revision {revision} is here; `--at {revision}` reads it")
