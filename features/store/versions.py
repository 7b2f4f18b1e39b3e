"""Published versions: what readers read, whatever stages make of the tables in the meantime.

Stages write below `data/features`, `data/model` and `data/results`, the work tree, where DVC removes and replaces
tables one by one. When all of them belong together they are published: linked under a second name,
`data/.published/<id>`, which is laid out like a project, and named in `data/published.json`, the one file whose
replacement makes the new version the one that readers see. Files are linked, not copied, so that a version costs no
space of its own: stages and DVC write new files and rename them, and never write into an old one.

`data/published.json` is an output of a stage, so that a checkout of an older revision names that one's version. Where
the version that it names is not on this machine, or nothing has been published, readers read the work tree.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from features.errors import UserError
from features.paths import Paths
from features.store import swap
from features.store.files import sync_folder, write_text

ID = re.compile(r"[0-9a-f]{16}")
APART = ("experiments",)
"""Tables that no stage makes and that belong to no version: whoever makes them calls `show_apart`."""
BLOCK = 1 << 20
_read_here: dict[Path, tuple[str, int]] = {}
"""By project: the version that this process reads, and the handle of its lock."""
_settling = threading.Lock()


def current(root: Path) -> Path:
    """The project folder that readers of this project read: a published version, or the work tree.

    The version stays on disk until this process ends or asks again after a newer one was published, and one version
    longer. Raises `UserError` if `data/published.json` is damaged.
    """
    with _settling:
        return _settled(root)


def _settled(root: Path) -> Path:
    while (version := published(root)) is not None:
        folder = Paths(root).version(version)
        here = _read_here.get(folder.parent.absolute())
        if here is not None and here[0] == version and folder.is_dir():
            return folder
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if published(root) == version:  # else another was published in this instant, and this one removed
                break
            continue
        with contextlib.suppress(OSError):  # a file system without locks: the version before the last one is kept
            fcntl.flock(handle, fcntl.LOCK_SH)
        if not folder.is_dir():  # it went between the two
            os.close(handle)
            continue
        if here is not None:
            os.close(here[1])
        _read_here[folder.parent.absolute()] = version, handle
        return folder
    return root


def published(root: Path) -> str | None:
    """The id in `data/published.json`; None if nothing was published. Raises `UserError` if the file is damaged."""
    path = Paths(root).published
    try:
        version = json.loads(path.read_text(encoding="utf-8"))["version"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        version = None
    if not isinstance(version, str) or not ID.fullmatch(version):
        raise UserError(f"{path} is damaged; `python -m pipelines repair` mends it")
    return version


def publish(root: Path) -> tuple[str, bool]:
    """Make the work tree the version that readers read: its id, and whether it is new.

    Whoever calls this has made sure that nobody writes there, and that its tables belong together.
    """
    paths = Paths(root)
    outputs = digests(root)
    if not outputs:
        raise UserError(f"there is nothing to publish below {paths.data}; run `dvc repro`")
    version = _id(outputs)
    with _alone(paths.versions):
        before = _readable(root)
        if not paths.version(version).is_dir():
            _link_all(root, paths.version(version))
        if version != before:
            write_text(paths.published, _manifest(version, outputs))
        _show_apart(root, version)
        _remove_all_but(paths.versions, {version, before})
    return version, version != before


def show_apart(root: Path) -> None:
    """Show readers those tables of the work tree that belong to no version, beside the published one."""
    version = _readable(root)
    if version is not None and Paths(root).version(version).is_dir():
        with _alone(Paths(root).versions):
            _show_apart(root, version)


def _show_apart(root: Path, version: str) -> None:
    for name in APART:
        source = Paths(root).table(name)
        if source.is_dir():
            with swap.whole(Paths(Paths(root).version(version)).table(name)) as draft:
                for path in _files(source):
                    link(path, draft / path.name)


def _readable(root: Path) -> str | None:
    try:
        return published(root)
    except UserError:  # a damaged name of a version is replaced by a good one
        return None


def adopt(root: Path) -> None:
    """Keep the version that `data/published.json` names where only the work tree has it, as after a checkout.

    For whoever is about to change the work tree; if that is not the version any more, nothing is kept.
    """
    named = _readable(root)
    if named is None or Paths(root).version(named).is_dir():
        return
    if _id(digests(root)) == named:
        with _alone(Paths(root).versions):
            _link_all(root, Paths(root).version(named))


def digests(root: Path) -> dict[str, str]:
    """Digest of each output of a project or of a published version, by its path."""
    return {str(place.relative_to(root)): _digest(place) for place in outputs(root)}


def put_name_back(root: Path) -> bool:
    """Name the newest published version again after `data/published.json` was damaged. Whether there was one."""
    for folder in newest_first(root):
        outputs = digests(folder)
        if _id(outputs) == folder.name:
            write_text(Paths(root).published, _manifest(folder.name, outputs))
            return True
    Paths(root).published.unlink(missing_ok=True)
    return False


def newest_first(root: Path) -> list[Path]:
    """The versions on this machine."""
    whole = [folder for folder in Paths(root).versions.glob("*") if ID.fullmatch(folder.name)]
    return sorted(whole, key=lambda folder: folder.stat().st_mtime, reverse=True)


def is_sound(root: Path, version: str) -> bool:
    """Whether each file of a version is what was published."""
    return _id(digests(Paths(root).version(version))) == version


def drop(root: Path, version: str) -> None:
    """Remove a version that is damaged, so that it can be made again."""
    with _alone(Paths(root).versions):
        shutil.rmtree(Paths(root).version(version))


@contextlib.contextmanager
def _alone(versions: Path) -> Iterator[None]:
    """Nobody else changes the versions meanwhile."""
    versions.mkdir(parents=True, exist_ok=True)
    with (versions / "lock").open("w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _id(outputs: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()[:16]


def _manifest(version: str, outputs: dict[str, str]) -> str:
    return json.dumps({"version": version, "outputs": outputs}, indent=1) + "\n"


def outputs(root: Path) -> list[Path]:
    """Whole tables, rejects, model and results of the work tree, as far as they are there."""
    paths = Paths(root)
    apart = {paths.table(name) for name in APART}
    places = [place for place in paths.features.glob("*") if place not in apart]
    return sorted(place for place in [*places, paths.model, *paths.results.glob("*")]
                  if place.exists() and not place.name.startswith(".") and (place.is_file() or any(place.iterdir())))


def _files(place: Path) -> Iterator[Path]:
    """Files of an output, drafts left out."""
    if place.is_file():
        yield place
    else:
        yield from sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))


def _digest(place: Path) -> str:
    """Digest of the names and bytes of an output."""
    total = hashlib.sha256()
    for path in _files(place):
        one = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                one.update(block)
        total.update(f"{path.relative_to(place.parent)}\0{one.hexdigest()}\n".encode())
    return total.hexdigest()


def _link_all(root: Path, folder: Path) -> None:
    """The version's folder, complete at the moment at which it appears."""
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for place in outputs(root):
            for path in _files(place):
                target = draft / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                link(path, target)
        for extra in (Paths(root).lock, Paths(root).params):  # they are edited in place: copied
            if extra.exists():
                shutil.copy2(extra, draft / extra.name)
        for inner in (*(path for path in draft.rglob("*") if path.is_dir()), draft):
            sync_folder(inner)
        draft.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def link(source: str | Path, target: str | Path) -> None:
    """A file under a second name; a copy where the file system has no links."""
    try:
        os.link(os.path.realpath(source), target)  # DVC may have put a symbolic link to its cache there
    except OSError:
        shutil.copy2(source, target)  # a full disk fails here with its own words


def _remove_all_but(versions: Path, needed: set[str | None]) -> None:
    """Remove versions that nobody reads, and what killed processes have left."""
    for folder in versions.glob("*"):
        if folder.name in needed or not folder.is_dir():
            continue
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody reads it
            continue
        else:
            gone = folder if folder.name.startswith(".") else folder.rename(folder.with_name(f".{folder.name}.old"))
            shutil.rmtree(gone)
        finally:
            os.close(handle)
