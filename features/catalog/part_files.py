"""The file system of a user's SQL session: the part files of the tables, to be read, and nothing else.

A session of DuckDB that may read a local file may also write it: a COPY inside a WITH is a query by its type. So a
session gets no local file at all, but names like `tables://0/splits/part-00000.parquet`, and what answers to them
cannot write: it has no code for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import fsspec

from features.store.sums import Checked, Verified, again, verified

SCHEME = "tables://"


class PartFiles(fsspec.AbstractFileSystem):
    """Serves the given files read-only under their names; DuckDB's own Parquet reader reads them."""

    protocol = "tables"
    cachable = False  # another instance serves other files

    def __init__(self, files: Mapping[str, Path], hold: object = None) -> None:
        """`hold`: what keeps the files on disk; it lives as long as this."""
        super().__init__()
        self.files, self.hold = dict(files), hold
        self._checked: dict[Path, Checked] = {}
        """What is known of files that were opened before: DuckDB opens each several times a query."""

    def serve(self, files: Mapping[str, Path]) -> None:
        """Serve these too."""
        self.files |= files

    def open(self, path: str, mode: str = "rb", **_options: Any) -> Verified:
        """A part file. Raises `PermissionError` for any mode but reading, and `Damaged` if it is damaged."""
        if mode != "rb":
            raise PermissionError(f"{path} can only be read")
        place = self._local(path)
        known = self._checked.get(place)
        file = (again(known) if known else None) or verified(place)
        self._checked[place] = file.checked
        return file

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
