"""The one way to write a file whole: beside its place, onto the disk, then renamed into its place.

Nobody ever sees half of a file, and a loss of power leaves the old one or the new one: what replaces another file is on
the disk before the other one goes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.store import seal

DRAFT = ".tmp"
"""Ending of what is being written, and of what a killed process has left of it."""


@contextlib.contextmanager
def beside(path: Path, place: Callable[[Path], Path] | None = None) -> Iterator[Path]:
    """A place beside that of a file, to write it there; renamed into it at the end, removed if that is not reached.

    The place is new each time, so that processes that write one file at once do not write into each other's. `place`
    gives the final one where it depends on what was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}{DRAFT}")
    try:
        yield draft
        sync(draft)
        final = place(draft) if place else path
        try:
            draft.replace(final)
        except IsADirectoryError as error:  # the system names the draft
            raise IsADirectoryError(error.errno, error.strerror, str(final)) from None
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8; its ends of lines are those of the text."""
    with beside(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


def write_beside(table: pa.Table, path: Path, *, row_group_size: int = 4096) -> None:
    """Write a Parquet file whole, with a seal. The bytes depend on the table alone."""
    with beside(path) as draft:
        write_parquet(table, draft, row_group_size=row_group_size, sealed=True)


def write_parquet(table: pa.Table, path: Path, *, row_group_size: int = 4096, sealed: bool = False) -> None:
    """Write a Parquet file where it is named: for a draft. The bytes depend on the table alone."""
    if sealed:  # what was read from a sealed file bears the seal of that one
        told = {name: value for name, value in (table.schema.metadata or {}).items() if name != seal.KEY.encode()}
        table = table.replace_schema_metadata(told or None)
    with pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=3, write_statistics=True,
                          version="2.6", store_schema=True, write_page_checksum=True) as writer:
        writer.write_table(table, row_group_size=row_group_size)
        if sealed:
            writer.add_key_value_metadata({seal.KEY: seal.BLANK})
    if sealed:
        seal.seal(path)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk, as far as its file system can: some network mounts refuse.

    What has been renamed is in its place by then, so that nothing is undone for it.
    """
    with contextlib.suppress(OSError):
        sync(path)


def sync(path: Path) -> None:
    """Flush a file's content to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_drafts(folder: Path, name: str = "") -> None:
    """Remove what killed processes have left of a file of that name, or of any.

    Call it only where no other process writes it.
    """
    for leftover in folder.glob(f".{name}.*{DRAFT}" if name else f"*{DRAFT}"):
        leftover.unlink(missing_ok=True)
