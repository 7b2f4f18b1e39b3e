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
import stat
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from features.errors import UserError
from features.paths import Paths
from features.progress import say
from features.store import git, versions
from features.store.files import beside
from features.store.objects import NAME, Cache, Missing, Out, md5_of, outs, tables_of

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
    commit = git.commit(root, "HEAD" if revision.casefold() == "head" else revision)  # SQL does not tell them apart
    folder = Paths(root).revisions / key(commit)
    while True:
        with contextlib.suppress(FileNotFoundError):
            _hold(folder, commit)
            if not _broken_links(folder):
                return folder
        try:
            named, published = outs(commit.lock)
        except ValueError as error:
            raise UserError(f"the dvc.lock of revision '{revision}' cannot be read: {error}") from None
        if published and (version := _version(root, named.get(f"data/{NAME}"))) is not None:
            with contextlib.suppress(FileNotFoundError):
                return versions.hold(version)
        wanted = tables_of(commit.lock)
        if not wanted:
            raise UserError(f"the dvc.lock of revision '{revision}' names no table")
        files = _files(root, revision, wanted, fetch)
        if folder.is_dir():  # others may read it
            _link_again(folder, files)
        else:
            _build(folder, commit, files)


def key(commit: git.Commit) -> str:
    """Name of the folder of a revision: a digest of all that is in it."""
    return hashlib.sha256(commit.lock + b"\0" + (commit.params or b"")).hexdigest()[:16]


def is_one(folder: Path) -> bool:
    """Whether a project folder is a revision that was laid out."""
    return folder.absolute().parent.name == Paths(folder).revisions.name


def damages(folder: Path) -> list[Path]:
    """What of a laid-out revision is not what its commit has: its `dvc.lock`, files that their sums tell of, and else
    whole outputs. All of it is read."""
    from features.store import damage, sums

    if (lock := _lock(folder)) is None:
        return [Paths(folder).lock]
    found: set[Path] = set()
    for out in tables_of(lock):
        place = folder / out.path
        if (place / sums.SUMS).exists():
            found.update(damage.damages(place))
        elif md5_of(place) != out.md5:
            found.add(place)
    return sorted(found)


def _lock(folder: Path) -> bytes | None:
    """The `dvc.lock` of a laid-out revision; None if it or the parameters are not those after which it is named."""
    try:
        params = Paths(folder).params.read_bytes() if Paths(folder).params.exists() else None
        commit = git.Commit("", Paths(folder).lock.read_bytes(), params)
        tables_of(commit.lock)
    except (OSError, ValueError):
        return None
    return commit.lock if key(commit) == folder.name else None


def mend(root: Path, folder: Path, damaged: Sequence[Path]) -> str:
    """Do about a revision of which `damages` has found these what loses nothing that is sound; says what was done.

    Objects of DVC's cache that are damaged go. Then the revision goes, to be laid out again by its next reader, if
    the cache or the remote has all of it. Else it stays, without what would be read as if it were sound.
    """
    if (lock := _lock(folder)) is None:
        return "the next reader of that revision puts it right"
    cache, named = Cache(root), tables_of(lock)
    dropped = cache.drop_damaged(named)
    too = f", with {dropped} damaged objects of DVC's cache" if dropped else ""
    if cache.has_all(named):
        if versions.remove_unread(folder):
            return f"that revision is removed{too}, and laid out again when it is read"
        return f"somebody reads that revision, so that it stays{too and f'{too} removed'}; run this again afterwards"
    aside = []
    outputs = {out.path for out in named}
    for path in damaged:
        if str(path.relative_to(folder)) in outputs and path.exists():  # else its reader notices
            path.rename(path.with_name(f".{path.name}.aside"))
            aside.append(path.name)
    put = f" {' and '.join(aside)} put aside," if aside else ""
    return (f"that revision stays{too and f'{too} removed'},{put} since neither DVC's cache nor its remote has all of "
            "it; a checkout of its commit and `dvc repro` make it again")


def _hold(folder: Path, commit: git.Commit) -> None:
    """Keep the folder until this process ends, with the texts of the commit. Raises `FileNotFoundError` if it is not
    there."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise UserError(f"{folder} is no folder of this program's making, and is not read; remove it")
    versions.hold(folder)
    for place, content in _texts(folder, commit):
        if not place.is_file() or place.read_bytes() != content:
            with beside(place) as draft:
                draft.write_bytes(content)


def _texts(folder: Path, commit: git.Commit) -> Iterator[tuple[Path, bytes]]:
    yield Paths(folder).lock, commit.lock
    if commit.params is not None:
        yield Paths(folder).params, commit.params


def _broken_links(folder: Path) -> list[Path]:
    """Links whose files have gone from a cache on another disk."""
    return [path for path in folder.rglob("*") if path.is_symlink() and not path.exists()]


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
        for place, content in _texts(draft, commit):
            place.write_bytes(content)
        try:
            draft.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # it is there by now
                raise
        del hold
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _link_again(folder: Path, files: Mapping[str, Path]) -> None:
    """Replace the links that lead nowhere."""
    for path in _broken_links(folder):
        source = files.get(path.relative_to(folder).as_posix())
        if source is None:  # no file of that commit
            path.unlink()
            continue
        with beside(path) as draft:
            _link(source, draft)


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
