"""The last good version of everything that DVC tracks, kept while a refresh works on the next one.

Files are linked, not copied, so that keeping them costs neither time nor space: stages and DVC write new files and
rename them, and never write into an old one.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import yaml

from features.errors import UserError
from features.params import load_section
from features.paths import Paths
from features.store.dvc_lock import outputs
from features.store.files import remove, write_text
from features.store.versions import link
from pipelines.params import IngestParams
from pipelines.sources.materials_project.move import pin


class LastGood:
    """What stood below `root` before the refresh. It outlives a refresh that was killed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = Paths(root).refresh / "last_good"
        self.files = Paths(root).last_good_files
        self.note = self.folder / "note.yaml"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One refresh at a time; a second one is told so and ends."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(self.folder.parent / "lock", timeout=0):
                yield
        except filelock.Timeout:
            raise UserError("another refresh is running here; wait for it or stop it") from None

    def exists(self) -> bool:
        """Whether a refresh is at work, or was killed at work."""
        return self.note.exists()

    def keep(self) -> None:
        """Link all outputs that `dvc.lock` knows, and note the pinned database version."""
        self.drop()
        had_lock = Paths(self.root).lock.exists()
        for path in outputs(self.root):
            _link(self.root / path, self.files / path)
        if had_lock:
            self.files.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Paths(self.root).lock, Paths(self.files).lock)
        # written last: without it, what was linked is not a whole version
        write_text(self.note, yaml.safe_dump({"had_lock": had_lock, "database_version": _pinned(self.root)}))

    def database_version(self) -> str | None:
        """The version of the Materials Project's database that was pinned."""
        version: str | None = self._note()["database_version"]
        return version

    def same_lock(self) -> bool:
        """Whether `dvc.lock` is as it was: what DVC tracks has not changed."""
        old, new = (Paths(where).lock for where in (self.files, self.root))
        return old.exists() and new.exists() and old.read_bytes() == new.read_bytes()

    def save_lock(self, lock: Path) -> tuple[Path, bool]:
        """Copy a `dvc.lock` that is about to go: the copy, and whether it is new. DVC has the data in its cache."""
        content = lock.read_bytes()
        copy = self.folder.parent / f"dvc.lock.{hashlib.sha256(content).hexdigest()[:12]}"
        is_new = not copy.exists()
        write_text(copy, content.decode("utf-8"))
        return copy, is_new

    def put_back(self) -> bool:
        """Make everything as it was when `keep` was called. May be repeated if it was broken off.

        Says whether there was a version to put back; before the first one there is none, and nothing is removed.
        """
        had_lock: bool = self._note()["had_lock"]
        if had_lock:
            for path in sorted({*outputs(self.root), *outputs(self.files)}):
                remove(self.root / path)  # also what was not there before
                _link(self.files / path, self.root / path)
            write_text(Paths(self.root).lock, Paths(self.files).lock.read_bytes().decode("utf-8"))
        # last, since a params.yaml that is broken meanwhile stops it
        if self.database_version() != _pinned(self.root):
            pin(self.root, self.database_version())
        self.drop()
        return had_lock

    def _note(self) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load(self.note.read_text(encoding="utf-8"))
        return content

    def drop(self) -> None:
        """Forget it: what stands below `root` is good."""
        self.note.unlink(missing_ok=True)
        if self.folder.exists():
            shutil.rmtree(self.folder)


def _pinned(root: Path) -> str | None:
    return load_section(root, "ingest", IngestParams).materials_project.database_version


def _link(source: Path, target: Path) -> None:
    """A file or a folder under a second name. What is not there is left out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=link)
    elif source.exists():
        link(source, target)
