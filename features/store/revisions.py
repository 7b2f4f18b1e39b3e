"""Time travel: the tables of any git revision, read from DVC's cache without a checkout."""

from __future__ import annotations

from pathlib import Path

from features.errors import UserError
from features.store import versions


def at(root: Path, revision: str | None = None) -> Path:
    """The project folder that readers of a revision read, laid out like a project; the published version if it is None.

    Raises `UserError` if there is no such revision, or if its files are on no disk and no remote.
    """
    if revision is None:
        return versions.current(root)
    raise UserError(f"--at {revision}: reading other revisions is not here yet")
