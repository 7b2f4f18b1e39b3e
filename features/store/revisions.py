"""Time travel: the tables of any git revision, read from DVC's cache without a checkout.

A revision's `dvc.lock` names every table by the md5 of its bytes, and DVC's cache holds these bytes under that name. So
a revision is laid out like a project below `data/.revisions`, by links, with its `dvc.lock` and `params.yaml`, and
whatever reads a project reads it. Nothing else of the work tree is touched.

The links are hard ones where the cache is on the same disk, so that a reader keeps what it reads when `dvc gc` empties
the cache, and symbolic ones elsewhere. `python -m features gc` removes what nobody reads any more.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import uuid
from pathlib import Path

from features.errors import UserError
from features.paths import Paths
from features.progress import say
from features.store import git, versions
from features.store.objects import NAME, Cache, Missing, Out, outs

WORK = "work"
"""Names the work tree, with whatever stages have made of it, among revisions. A branch of that name is `heads/work`."""
PUBLISHED = "published"
"""Names what is published now."""


def at(root: Path, revision: str | None = None, fetch: bool | None = None) -> Path:
    """The project folder that readers of a revision read, laid out like a project; the published version if it is None.

    The folder stays on disk until this process ends. `published`, `work` (the work tree) and the ids of versions that
    are on disk are revisions, too.

    Args:
        fetch: whether to bring what is only on a remote; None: ask where there is a terminal, else do not.

    Raises `UserError` if there is no such revision, or if its files are on no disk and no remote.
    """
    if revision is None or revision == PUBLISHED:
        return versions.current(root)
    if revision == WORK:
        return root
    if versions.ID.fullmatch(revision):
        with contextlib.suppress(FileNotFoundError):
            return versions.hold(Paths(root).version(revision))
    commit = git.commit(root, revision)
    folder = Paths(root).revisions / key(commit)
    while True:
        with contextlib.suppress(FileNotFoundError):
            return _used(folder)
        try:
            named, published = outs(commit.lock)
        except ValueError as error:
            raise UserError(f"the dvc.lock of revision '{revision}' cannot be read: {error}") from None
        if published and (version := _version(root, named.get(f"data/{NAME}"))) is not None:
            with contextlib.suppress(FileNotFoundError):
                return versions.hold(version)
        wanted = [out for path, out in named.items() if path != f"data/{NAME}"]
        if not wanted:
            raise UserError(f"the dvc.lock of revision '{revision}' names no table")
        _build(folder, commit, _files(root, revision, wanted, fetch))


def key(commit: git.Commit) -> str:
    """Name of the folder of a revision: a digest of all that is in it."""
    return hashlib.sha256(commit.lock + b"\0" + (commit.params or b"")).hexdigest()[:16]


def _used(folder: Path) -> Path:
    """The folder, kept from now on. Raises `FileNotFoundError` if it is not there, or not whole any more."""
    versions.hold(folder)
    if not all(path.exists() for path in folder.rglob("*") if path.is_symlink()):  # the cache has been emptied
        gone = folder.rename(folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old"))
        shutil.rmtree(gone)
        raise FileNotFoundError(folder)
    with contextlib.suppress(OSError):  # it only says how long ago somebody read it
        os.utime(folder)
    return folder


def _version(root: Path, name: Out | None) -> Path | None:
    """The published version, if it is the one that a revision has published."""
    published = Paths(root).published
    if name is None or not published.is_file():
        return None
    if hashlib.md5(published.read_bytes(), usedforsecurity=False).hexdigest() != name.md5:
        return None
    manifest = versions.read_manifest(root)
    return Paths(root).version(manifest.version) if manifest is not None else None


def _files(root: Path, revision: str, wanted: list[Out], fetch: bool | None) -> dict[str, Path]:
    """Where each file of these outputs lies, by its path in the project; brought here if that is allowed."""
    cache = Cache(root)
    try:
        return cache.files(wanted)
    except Missing as missing:
        what = f"{len(missing.outs)} of {len(wanted)} outputs of revision '{revision}' ({size(missing.size)})"
        if not cache.has_remote():
            raise UserError(f"{what} are not in DVC's cache, and DVC has no remote to fetch them from; `dvc remote "
                            f"add --default` names one, or a checkout of '{revision}' and `dvc repro` make them "
                            "again") from None
        if fetch is None and sys.stdin.isatty() and sys.stderr.isatty():
            import typer

            fetch = typer.confirm(f"{what} are only on the remote. Fetch them?", err=True)
        if not fetch:
            raise UserError(f"{what} are not in DVC's cache; `python -m features fetch {revision}` "
                            "brings them from the remote") from None
        say(f"fetching {what}")
        cache.fetch(missing)
    try:
        return cache.files(wanted)
    except Missing as missing:
        count = f"{len(missing.outs)} of {len(wanted)} outputs are"
        raise UserError(f"{missing.outs[0].path} of revision '{revision}' is gone ({count}): neither DVC's cache nor "
                        f"its remote has it; a checkout of '{revision}' and `dvc repro` make it again") from None


def _build(folder: Path, commit: git.Commit, files: dict[str, Path]) -> None:
    """Lay a revision out beside its place, and put it there, unless another process has been faster."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    ignore = folder.parent / ".gitignore"
    if not ignore.exists():  # whatever the project's own says
        ignore.write_text("*\n", encoding="utf-8")
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.new")
    draft.mkdir()
    try:
        hold = versions.Hold(draft)  # so that it is not taken for what a killed process has left
        for name, source in files.items():
            place = draft / name
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(source, place)
        (draft / Paths(draft).lock.name).write_bytes(commit.lock)
        if commit.params is not None:
            (draft / Paths(draft).params.name).write_bytes(commit.params)
        try:
            draft.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # it is there by now
                raise
        del hold
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def drop(root: Path, folder: Path) -> int:
    """Remove a revision that was found damaged, and those of DVC's objects below it that are not what their names say,
    so that the next reader has it from a remote: how many objects went."""
    cache = Cache(root)
    with contextlib.suppress(ValueError, FileNotFoundError):  # its dvc.lock is what is damaged
        named, _ = outs(Paths(folder).lock.read_bytes())
        dropped = cache.drop_damaged([out for path, out in named.items() if path != f"data/{NAME}"])
        shutil.rmtree(folder)
        return dropped
    shutil.rmtree(folder)
    return 0


def _link(source: Path, place: Path) -> None:
    real = os.path.realpath(source)
    try:
        os.link(real, place)
    except OSError:  # on another disk, or another user's
        place.symlink_to(real)


def size(count: float) -> str:
    """A number of bytes, for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"
