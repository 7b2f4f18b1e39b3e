"""Published versions: what readers read, whatever stages make of the tables in the meantime.

Stages write below `data/features`, `data/model` and `data/results`, the work tree, where DVC removes and replaces
tables one by one. When all of them belong together they are published: linked under a second name,
`data/.published/<id>`, which is laid out like a project, and named in `data/published.json`, the one file whose
replacement makes the new version the one that readers see. Files are linked, not copied, so that a version costs no
space of its own: stages and DVC write new files and rename them, and never write into an old one.

`data/published.json` is an output of a stage, so that a checkout of an older revision names that one's version. Where
the version that it names is not on this machine, readers read the work tree, as long as that is this version; where
nothing has been published, they read the work tree as it is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from features.errors import UserError
from features.paths import Paths
from features.store import swap
from features.store.damage import damages
from features.store.files import sync_folder, write_text
from features.store.sums import Damaged

ID = re.compile(r"[0-9a-f]{16}")
APART = ("experiments",)
"""Tables that no stage makes and that belong to no version: whoever makes them calls `show_apart`."""
STAYING = 2
"""Versions that stay on disk, the current one among them, for clients that hold no lock."""


@dataclass(frozen=True)
class Manifest:
    """What `data/published.json` says."""

    version: str
    """Digest of `outputs`: a version is named by what it holds."""
    outputs: Mapping[str, str]
    """Digest of each output, by its path in the project."""
    damaged: tuple[str, ...] = ()
    """Outputs of which no sound copy is left: the version is to be made again."""

    @classmethod
    def of(cls, outputs: Mapping[str, str]) -> Manifest:
        """Of outputs with these digests."""
        return cls(hashlib.sha256(json.dumps(dict(outputs), sort_keys=True).encode()).hexdigest()[:16], outputs)

    def text(self) -> str:
        """As it stands in the file."""
        content: dict[str, Any] = {"version": self.version, "outputs": dict(self.outputs)}
        return json.dumps(content | ({"damaged": list(self.damaged)} if self.damaged else {}), indent=1) + "\n"


class Hold:
    """A version that somebody reads: it is not removed while this is alive."""

    def __init__(self, folder: Path) -> None:
        """Raises `FileNotFoundError` if it is not there."""
        self.folder = folder.absolute()
        self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # a file system without locks: the version before the last one stays
            fcntl.flock(self._handle, fcntl.LOCK_SH)
        if not folder.is_dir():  # it went between the two
            raise FileNotFoundError(folder)

    def is_still_there(self) -> bool:
        """Whether the folder of that name is the one that this holds."""
        return self.folder.is_dir() and os.path.samestat(os.fstat(self._handle), self.folder.stat())

    def __del__(self) -> None:
        if (handle := getattr(self, "_handle", None)) is not None:
            os.close(handle)


_held: dict[Path, Hold] = {}
"""By project: the version that this process reads."""
_checked: dict[Path, str] = {}
"""By project: the version that the work tree was found to be."""
_settling = threading.Lock()


def current(root: Path) -> Path:
    """The project folder that readers of this project read: a published version, or the work tree.

    The version stays on disk until this process ends or asks again after a newer one was published, and one version
    longer. Raises `UserError` if `data/published.json` is damaged, or names a version that is not on this machine and
    that the work tree is not.
    """
    with _settling:
        return _settled(root)


def hold(folder: Path) -> Path:
    """Keep a folder that is laid out like a project on disk until this process ends. Raises `FileNotFoundError`."""
    with _settling:
        if folder.absolute() not in _held or not _held[folder.absolute()].is_still_there():
            _held[folder.absolute()] = Hold(folder)
    return folder


def held(folder: Path) -> Hold | None:
    """What keeps the version in `folder` on disk, for whoever needs it longer than until this process asks again."""
    return next((hold for hold in _held.values() if hold.folder == folder.absolute()), None)


def _settled(root: Path) -> Path:
    while (manifest := read_manifest(root)) is not None:
        folder = Paths(root).version(manifest.version)
        key = folder.parent.absolute()
        if key in _held and _held[key].folder == folder.absolute() and folder.is_dir():
            return folder
        try:
            _held[key] = Hold(folder)
        except FileNotFoundError:
            if _same(read_manifest(root), manifest) and not folder.is_dir():  # else another was published meanwhile
                return _work_tree(root, manifest)
            continue
        return folder
    return root


def _same(one: Manifest | None, other: Manifest) -> bool:
    return one is not None and one.version == other.version


def _work_tree(root: Path, manifest: Manifest) -> Path:
    """The work tree, where it is the version: as after a checkout, or in a clone that has pulled all or some of it."""
    key = root.absolute()
    if _checked.get(key) == manifest.version:
        return root
    try:
        here = digests(root)
    except FileNotFoundError:  # a stage is at work on it
        here = {"": ""}
    if others := [path for path, found in here.items() if manifest.outputs.get(path) != found]:
        for path in others:
            if damaged := damages(root / path):
                raise Damaged(damaged[0], "it is not what was published")
        raise UserError(f"version {manifest.version}, which {Paths(root).published} names, is not on this machine, and "
                        "the tables that are here are others; `dvc repro` publishes them, `dvc checkout` brings those "
                        "of the version")
    if here.keys() >= manifest.outputs.keys():
        with contextlib.suppress(OSError):  # where nothing may be written, the work tree itself is read
            _keep(root, manifest)
            _held[Paths(root).versions.absolute()] = Hold(Paths(root).version(manifest.version))
            return Paths(root).version(manifest.version)
    _checked[key] = manifest.version
    return root


def read_manifest(root: Path) -> Manifest | None:
    """What was published; None if nothing was. Raises `UserError` if `data/published.json` is damaged."""
    path = Paths(root).published
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        manifest = replace(Manifest.of(content["outputs"]), damaged=tuple(content.get("damaged", ())))
        sound = manifest.text() == text  # its version among the rest, which follows from the outputs
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IsADirectoryError):
        sound = False
    if not sound:
        raise UserError(f"{path} is damaged; `python -m pipelines repair` mends it")
    return manifest


def publish(root: Path) -> tuple[str, bool]:
    """Make the work tree the version that readers read: its id, and whether it is new.

    Whoever calls this has made sure that nobody writes there, and that its tables belong together. Raises `UserError`
    if an output is missing, of those that `dvc.yaml` names or, without one, that were published before.
    """
    before = _readable(root)
    manifest = Manifest.of(digests(root))
    if not manifest.outputs:
        raise UserError(f"there is nothing to publish below {Paths(root).data}; run `dvc repro`")
    expected = _named(root)
    if expected is None:
        expected = list(before.outputs) if before is not None else []
    if missing := sorted(set(expected) - set(manifest.outputs)):
        raise UserError(f"{missing[0]} is missing ({len(missing)} of {len(expected)} outputs are), so that nothing is "
                        "published; run `dvc repro`")
    folder = Paths(root).version(manifest.version)
    with _alone(Paths(root).versions):
        if folder.is_dir() and before is not None and before.damaged and _same(before, manifest):
            shutil.rmtree(folder)  # to be made again
        if not folder.is_dir():
            _link_all(root, manifest, folder)
        if before != manifest:
            write_text(Paths(root).published, manifest.text())
        _show_apart(root, manifest.version)
        staying = [folder.name for folder in newest_first(root) if folder.name != manifest.version][:STAYING - 1]
        _remove_all_but(Paths(root).versions, {manifest.version, *staying})
    return manifest.version, not _same(before, manifest)


def adopt(root: Path) -> None:
    """Keep the version that `data/published.json` names where only the work tree has it, as after a checkout.

    For whoever is about to change the work tree; if that is not the version any more, nothing is kept.
    """
    named = _readable(root)
    if named is not None and not Paths(root).version(named.version).is_dir() and digests(root) == dict(named.outputs):
        _keep(root, named)


def _keep(root: Path, manifest: Manifest) -> None:
    with _alone(Paths(root).versions):
        if not Paths(root).version(manifest.version).is_dir():
            _link_all(root, manifest, Paths(root).version(manifest.version))
        _show_apart(root, manifest.version)


def show_apart(root: Path) -> None:
    """Show readers those tables of the work tree that belong to no version, beside the published one."""
    named = _readable(root)
    if named is not None and Paths(root).version(named.version).is_dir():
        with _alone(Paths(root).versions):
            _show_apart(root, named.version)


def _show_apart(root: Path, version: str) -> None:
    for name in APART:
        source = Paths(root).table(name)
        if source.is_dir():
            with swap.whole(Paths(Paths(root).version(version)).table(name)) as draft:
                for path in _files(source):
                    link(path, draft / path.name)


def _readable(root: Path) -> Manifest | None:
    try:
        return read_manifest(root)
    except UserError:  # a damaged name of a version is replaced by a good one
        return None


def put_name_back(root: Path) -> str | None:
    """Name the newest published version again after `data/published.json` was damaged: its id, if there is one."""
    for folder in newest_first(root):
        manifest = Manifest.of(digests(folder))
        if manifest.version == folder.name:
            write_text(Paths(root).published, manifest.text())
            return folder.name
    return None


def newest_first(root: Path) -> list[Path]:
    """The versions on this machine."""
    whole = [folder for folder in Paths(root).versions.glob("*") if ID.fullmatch(folder.name)]
    return sorted(whole, key=lambda folder: folder.stat().st_mtime, reverse=True)


def digests(root: Path) -> dict[str, str]:
    """Digest of each output of a project or of a published version, by its path."""
    return {name: digest(root / name) for name in outputs(root)}


def outputs(root: Path) -> list[str]:
    """Paths of the outputs that are there: those that `dvc.yaml` names; without one, in a version or in a project
    without DVC, each table, file of rejects and result, and the model.
    """
    named = _named(root)
    if named is None:
        paths = Paths(root)
        rejects = paths.rejects("*").parent
        places = [*(place for place in paths.features.glob("*") if place != rejects), *rejects.glob("*"), paths.model,
                  *paths.results.glob("*")]
        apart = {paths.table(name) for name in APART}
        named = [str(place.relative_to(root)) for place in places
                 if place not in apart and not place.name.startswith(".")]
    return sorted(name for name in named if (root / name).is_file() or any(_files(root / name)))


def _named(root: Path) -> list[str] | None:
    """Outputs below `data` in `dvc.yaml`, but for the name of the version; None without such a file."""
    try:
        content = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
        stages = content["stages"].values()
        entries = [entry for stage in stages for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ())]
    except FileNotFoundError:
        return None
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{root / 'dvc.yaml'} cannot be read: {error}") from None
    paths = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    own = Paths(root).published.relative_to(root).as_posix()
    return [path for path in paths if path.startswith("data/") and path != own]


def _files(place: Path) -> Iterator[Path]:
    """Files of an output, drafts left out."""
    if place.is_file():
        yield place
    else:
        yield from sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))


def digest(place: Path) -> str:
    """Digest of the names and bytes of an output."""
    total = hashlib.sha256()
    for path in _files(place):
        with path.open("rb") as file:
            one = hashlib.file_digest(file, "sha256")
        total.update(f"{path.relative_to(place.parent)}\0{one.hexdigest()}\n".encode())
    return total.hexdigest()


def _link_all(root: Path, manifest: Manifest, folder: Path) -> None:
    """The version's folder, complete at the moment at which it appears."""
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for name in manifest.outputs:
            link_output(root, draft, name)
        for extra in (Paths(root).lock, Paths(root).params):  # they are edited in place: copied
            if extra.exists():
                shutil.copy2(extra, draft / extra.name)
        for inner in (*(path for path in draft.rglob("*") if path.is_dir()), draft):
            sync_folder(inner)
        draft.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def link_output(source: Path, target: Path, name: str) -> None:
    """An output of one project folder under the same path in another."""
    for path in _files(source / name):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        link(path, place)


def link(source: str | Path, target: str | Path) -> None:
    """A file under a second name; a copy where the file system has no links."""
    try:
        os.link(os.path.realpath(source), target)  # DVC may have put a symbolic link to its cache there
    except OSError:
        shutil.copy2(source, target)  # a full disk fails here with its own words


@contextlib.contextmanager
def _alone(versions: Path) -> Iterator[None]:
    """Nobody else changes the versions meanwhile."""
    versions.mkdir(parents=True, exist_ok=True)
    with (versions / "lock").open("w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_all_but(versions: Path, staying: set[str]) -> None:
    """Remove versions that nobody reads, and what killed processes have left."""
    for folder in versions.glob("*"):
        if folder.name not in staying and folder.is_dir():
            remove_unread(folder)


def clear(root: Path, folders: Iterable[Path]) -> list[Path]:
    """Remove these versions, but for the one that readers are led to and those that somebody reads: which went."""
    with _alone(Paths(root).versions):
        named = read_manifest(root)
        return [folder for folder in folders if (named is None or folder.name != named.version)
                and remove_unread(folder)]


def remove_unread(folder: Path) -> bool:
    """Remove a folder that readers hold while they read it (`Hold`), unless one does, or it is no folder. Whether it
    went."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):  # somebody reads it; else there are no locks here
            os.close(handle)
            return False
    try:  # who comes now waits for the lock, and finds the folder gone
        gone = folder
        if not folder.name.startswith("."):  # a name of its own: a killed removal may have left one
            gone = folder.rename(folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old"))
    finally:
        os.close(handle)
    shutil.rmtree(gone)
    return True
