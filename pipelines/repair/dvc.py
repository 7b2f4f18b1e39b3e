"""Files of DVC that a kill can leave half-written, so that every later command of DVC fails."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from features.errors import UserError
from features.paths import Paths
from features.store import git, versions
from features.store.dvc_lock import parsed
from features.store.files import DRAFT, remove, write_text
from pipelines import commands
from pipelines.engine.at_work import is_alive

MORE_LOCKS = ("model/experiments/dvc.lock",)
"""Locks of further pipelines of the project."""
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def mend(root: Path) -> Iterator[str]:
    """Mend what is damaged; a line for each thing. Only where DVC is not at work."""
    if not Paths(root).dvc_tmp.parent.is_dir():
        return
    yield from _rwlock(Paths(root).dvc_tmp / "rwlock")
    for lock in (Paths(root).lock, *(root / name for name in MORE_LOCKS)):
        yield from _lock(root, lock)
    yield from _runs(Paths(root).dvc_cache / "runs")
    yield from _objects(Paths(root).dvc_cache / "files" / "md5")


def _rwlock(path: Path) -> Iterator[str]:
    """DVC writes its list of locks in place: a kill leaves it empty, or with locks of processes that are gone."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = [*(entry for named in content.get("read", {}).values() for entry in named),
                   *content.get("write", {}).values()]
        sound = all(isinstance(entry["pid"], int) and isinstance(entry["cmd"], str) for entry in entries)
    except FileNotFoundError:
        return
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound = False
    except IsADirectoryError:
        shutil.rmtree(path)
        yield f"{path} was a folder and is removed"
        return
    if not sound:
        path.unlink()
        yield f"{path} was damaged and is removed; nobody holds a lock in it"
    elif entries and not any(is_alive(entry, path) for entry in entries):
        path.unlink()
        yield f"{path} held locks of processes that were killed and is removed"


def _lock(root: Path, path: Path) -> Iterator[str]:
    """DVC writes `dvc.lock` in place, too: the last whole one is taken from what was published, or from git."""
    if not path.exists() or _is_whole(path.read_bytes()):
        return
    for source, content in _kept(root, path):
        if content is not None and _is_whole(content):
            write_text(path, content.decode("utf-8"))
            yield f"{path} was damaged and is taken from {source}; `dvc repro` runs what has changed since"
            return
    path.unlink()
    yield f"{path} was damaged and is removed; `dvc repro` runs each stage, and computes what is not stored"


def _is_whole(lock: bytes) -> bool:
    """Whether DVC can read it. It ends the file with a line; one that was cut off may still be YAML."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA as SCHEMA
    from voluptuous import Invalid

    content = parsed(lock)
    if content is None or not lock.endswith(b"\n"):
        return False
    try:
        SCHEMA(content)
    except Invalid:
        return False
    return True


def _kept(root: Path, path: Path) -> Iterator[tuple[str, bytes | None]]:
    """Earlier contents of a `dvc.lock`, the latest first, as far as they are there."""
    if path == Paths(root).lock:
        for folder in versions.newest_first(root):
            yield "the published version", _bytes(Paths(folder).lock)
        yield "the last good version", _bytes(Paths(Paths(root).last_good_files).lock)
    try:
        shown = subprocess.run([commands.program("git"), "show", f"HEAD:./{path.relative_to(root)}"], cwd=root,
                               capture_output=True, check=False, env=git.environment())
    except UserError:  # no git
        return
    yield "git", shown.stdout if shown.returncode == 0 else None


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _runs(folder: Path) -> Iterator[str]:
    """The run cache has a folder for each run, which DVC makes before the file in it."""
    damaged = []
    for place in sorted(folder.glob("*/*")):
        files = list(place.iterdir()) if place.is_dir() else [place]
        broken = [path for path in files if not place.is_dir() or not _is_run(path)]
        for path in broken:
            remove(path)
        if place.is_dir() and len(broken) == len(files):
            place.rmdir()
            damaged.append(place)
        elif broken:
            damaged.append(place)
    if damaged:
        yield f"{folder}: {len(damaged)} half-written entries are removed; such a run is not taken from the cache"


def _is_run(path: Path) -> bool:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, OSError, RecursionError):
        return False
    return isinstance(content, dict) and "cmd" in content


def _objects(folder: Path) -> Iterator[str]:
    """Objects of the cache that cannot be what their name says, and drafts of objects."""
    damaged = []
    for path in sorted(folder.glob("*/*")):
        if path.is_dir():
            shutil.rmtree(path)
            damaged.append(path)
            continue
        if path.name.endswith(DRAFT):
            path.unlink()
            continue
        if path.name.endswith(".dir"):
            broken = not _is_listing(path)
        else:
            broken = path.stat().st_size == 0 and f"{path.parent.name}{path.name}" != EMPTY_MD5
        if broken:
            path.unlink()
            damaged.append(path)
    if damaged:
        yield f"{folder}: {len(damaged)} damaged objects are removed; what they were is made again"


def _is_listing(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
        return all("md5" in entry and "relpath" in entry for entry in content)
    except (ValueError, TypeError, RecursionError):
        return False
