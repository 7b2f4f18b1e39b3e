"""The file system of a user's SQL session: the part files of the tables, to be read, and nothing else.

A session of DuckDB that may read a local file may also write it: a COPY inside a WITH is a query by its type. So a
session gets no local file at all, but names like `tables://splits/part-00000.parquet`, and what answers to them cannot
write: it has no code for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import fsspec

SCHEME = "tables://"


class PartFiles(fsspec.AbstractFileSystem):
    """Serves the given files read-only under their names, `<table>/<file>`; DuckDB's own Parquet reader reads them."""

    protocol = "tables"
    cachable = False  # another instance serves other files

    def __init__(self, files: Mapping[str, Path]) -> None:
        super().__init__()
        self.files = files

    def open(self, path: str, mode: str = "rb", **_options: Any) -> PartFile:
        """A part file. Raises `PermissionError` for any mode but reading."""
        if mode != "rb":
            raise PermissionError(f"{path} can only be read")
        return PartFile(self._local(path))

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        """Name, size and kind, as fsspec wants them."""
        return {"name": self._name(path), "size": self._local(path).stat().st_size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """When a file was written; DuckDB drops what it remembers of one that is newer."""
        return datetime.fromtimestamp(self._local(path).stat().st_mtime, UTC)

    def exists(self, path: str, **_options: Any) -> bool:
        return self._name(path) in self.files

    def ls(self, path: str, detail: bool = True, **_options: Any) -> list[Any]:
        names = [name for name in self.files if name == self._name(path) or name.startswith(self._name(path) + "/")]
        return [self.info(name) for name in names] if detail else names

    def _refuse(self, *_args: Any, **_options: Any) -> NoReturn:
        raise PermissionError("the tables can only be read")

    mkdir = makedirs = rmdir = rm = rm_file = _rm = cp_file = mv = touch = pipe_file = _open = _refuse

    def _name(self, path: str) -> str:
        return path.removeprefix(SCHEME)

    def _local(self, path: str) -> Path:
        try:
            return self.files[self._name(path)]
        except KeyError:
            raise FileNotFoundError(f"no part file {path}") from None


class PartFile:
    """An open part file. DuckDB's threads share it, and seek before they read: each thread has a place of its own."""

    _descriptor = -1  # until it is open

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._place = threading.local()
        self.size = os.fstat(self._descriptor).st_size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.size}[whence]
        return self.tell()

    def tell(self) -> int:
        return int(getattr(self._place, "at", 0))

    def read(self, count: int = -1) -> bytes:
        start = self.tell()
        wanted = self.size - start if count < 0 else count
        pieces = []
        while wanted > 0 and (piece := os.pread(self._descriptor, wanted, start)):
            pieces.append(piece)
            start += len(piece)
            wanted -= len(piece)
        self._place.at = start
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()
