"""Reading the text of a crystal file, packed or not, and writing a text whole."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

from features.errors import RowError

SUFFIXES = (".cif", ".cif.gz")


def read_text(path: Path) -> str:
    """Text of a `.cif` or `.cif.gz` file. Raises `RowError` with the reason if it cannot be read."""
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.name.lower().endswith(".gz") else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RowError("unreadable", f"{shown(path)}: {reason}") from None


def shown(path: Path) -> str:
    """The file's name; what is not UTF-8 in it shows as �, which no id may hold."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and rename it into it: nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
