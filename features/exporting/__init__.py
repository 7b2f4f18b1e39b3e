"""Tables for the tools of others: a data set of the Hub, tensors, or CSV files, each folder written whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from features.errors import UserError
from features.store import swap
from features.terminal import printable

MARK = "export.json"
"""Says what an export holds, and that a folder is one, so that nothing else is ever replaced."""


@contextlib.contextmanager
def whole(folder: Path, replace: bool) -> Iterator[Path]:
    """A draft of the folder, which stands in its place at the end; what fails before changes nothing.

    Raises `UserError` if there is something already, and may not be replaced, or is no export.
    """
    place = folder.resolve()
    shown = printable(str(folder))
    if place.exists() and not place.is_dir():
        raise UserError(f"{shown} is a file")
    if place.is_dir() and any(place.iterdir()):
        if not replace:
            raise UserError(f"{shown} is not empty; give another folder, or --replace if an export is to be replaced")
        if not (place / MARK).is_file():
            raise UserError(f"{shown} holds something else than an export ({MARK} is missing), and is not replaced")
    place.parent.mkdir(parents=True, exist_ok=True)
    with swap.whole(place, summed=False) as draft:
        yield draft


def mark(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what an export says of itself, the last of its files."""
    (folder / MARK).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
