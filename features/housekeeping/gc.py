"""What may go, of each kind, and its removal beside whoever reads or writes.

Nothing is removed that is not here a second time, or can be made or fetched again, unless it is asked for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import pyarrow.parquet as pq

from features import profiles, registry
from features.errors import UserError
from features.housekeeping import cache
from features.housekeeping.kept import Kept
from features.paths import Paths
from features.store import objects, sums, versions
from features.store.files import DRAFT, remove
from features.store.locks import is_held
from features.store.revisions import size as shown
from features.store.rowstore import RowStore
from features.view import FINGERPRINT

GONE = "gone for good, unless the stages of their revision run again"
DAY_S = 86_400.0
TRAINING_S = 7 * DAY_S
"""Age from which the state of a training that has not ended counts as forgotten."""
DRAFT_S = 3600.0
"""Age from which a half-written file is what a killed process has left."""


@dataclass(frozen=True)
class Kind:
    """Things of one kind that may go."""

    name: str
    """What they are, in words."""
    loss: str
    """What their going costs."""
    paths: list[Path]
    remove: Callable[[Sequence[Path]], list[Path]]
    """Removes them, but for those that somebody is at: which went."""


@dataclass
class Plan:
    """All that may go, and what stays that somebody might have expected to."""

    kinds: list[Kind] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def carry_out(self, dry: bool = False) -> list[tuple[Kind, int, int]]:
        """Remove all of it: of each kind, how many things went, and how many bytes that freed. What stops the removal
        of a kind is a note.

        A file of several names, such as a part that several versions share, frees space where its last one goes.
        """
        files = {path: list(_files(path)) for kind in self.kinds for path in kind.paths}
        left: dict[tuple[int, int], int] = {}
        done = []
        for kind in self.kinds:
            try:
                went = kind.paths if dry else kind.remove(kind.paths)
            except UserError as error:  # what went before it is told all the same
                self.notes.append(f"{kind.name} stay: {error}")
                went = []
            freed = 0
            for inode, names, size in (file for path in went for file in files[path]):
                left[inode] = left.get(inode, names) - 1
                freed += size if not left[inode] else 0
            done.append((kind, len(went), freed))
        return done


def plan(root: Path, keep: Sequence[str] = (), lose: bool = False) -> Plan:
    """What may go when the work tree, what is published, HEAD and the revisions of `keep` stay.

    Args:
        lose: whether objects of DVC's cache that no remote has may go, too.

    Raises `UserError` for a revision that there is not, and if `data/published.json` is damaged.
    """
    kept = Kept.of(root, keep)
    made = Plan()
    _revisions(root, kept, made, lose)
    _versions(root, kept, made, lose)
    _row_store(root, kept, made)
    _vectors(root, kept, made)
    if _at_work(root):
        made.notes.append("a stage or a refresh is at work here: states of trainings and DVC's cache are left alone")
    else:
        _trainings(root, made)
        _cache(root, keep, kept, made, lose)
    made.kinds = [kind for kind in made.kinds if kind.paths]
    return made


def _revisions(root: Path, kept: Kept, made: Plan, lose: bool) -> None:
    names = kept.revisions()
    folders = [folder for folder in sorted(Paths(root).revisions.glob("*")) if folder.is_dir()
               and not folder.is_symlink() and folder.name not in names
               and (not folder.name.startswith(".") or _is_old(folder, DRAFT_S))]
    sole = [folder for folder in folders if not folder.name.startswith(".") and not _is_elsewhere(root, folder)]

    def again(paths: Sequence[Path]) -> list[Path]:
        return _unread([folder for folder in paths if folder.name.startswith(".") or _is_elsewhere(root, folder)])

    made.kinds.append(Kind("other git revisions, laid out for readers", "laid out again when they are read",
                           [folder for folder in folders if folder not in sole], again))
    _last_copies(made, lose, Kind("other git revisions whose tables are nowhere else", GONE, sole, _unread),
                 "other git revisions, whose tables are")


def _last_copies(made: Plan, lose: bool, kind: Kind, called: str) -> None:
    """What is nowhere else goes only where it may be lost; else a note says that it stays."""
    if lose:
        made.kinds.append(kind)
    elif kind.paths:
        made.notes.append(f"{len(kind.paths)} {called} neither in DVC's cache nor on its remote, stay; --lose removes "
                          f"them, and then they are {GONE}")


def _is_elsewhere(root: Path, folder: Path) -> bool:
    try:
        named = objects.tables_of(Paths(folder).lock.read_bytes())
    except FileNotFoundError:  # it is no revision
        return True
    except ValueError:  # nothing says what it is
        return False
    return objects.Cache(root).has_all(named)


def _unread(folders: Sequence[Path]) -> list[Path]:
    return [folder for folder in folders if versions.remove_unread(folder)]


def _versions(root: Path, kept: Kept, made: Plan, lose: bool) -> None:
    others = [folder for folder in versions.newest_first(root) if folder.name not in kept.versions]
    folders = others[versions.STAYING - 1:]  # clients of the catalog may read the newest ones, and hold no lock
    sole = [folder for folder in folders if not _is_committed(root, folder)]

    def clear(paths: Sequence[Path]) -> list[Path]:
        return versions.clear(root, paths)

    made.kinds.append(Kind("earlier published versions", "read from git and DVC's cache, where they were committed",
                           [folder for folder in folders if folder not in sole], clear))
    _last_copies(made, lose, Kind("earlier published versions that are nowhere else", GONE, sole, clear),
                 "earlier published versions, which are")


def _is_committed(root: Path, folder: Path) -> bool:
    """Whether DVC has each output of a published version; profiles aside, which are made of the others."""
    try:
        named = {out.path: out for out in objects.tables_of(Paths(folder).lock.read_bytes())}
    except (FileNotFoundError, ValueError):
        return False
    own = Paths(folder).table(profiles.NAME).relative_to(folder).as_posix()
    paths = [path for path in versions.outputs(folder) if path != own]
    return (all(path in named and objects.md5_of(folder / path) == named[path].md5 for path in paths)
            and objects.Cache(root).has_all([named[path] for path in paths]))


def _row_store(root: Path, kept: Kept, made: Plan) -> None:
    old: list[Path] = []
    drafts: list[Path] = []
    if Paths(root).rowstores.is_symlink():  # of a project of an experiment
        made.notes.append(f"{Paths(root).rowstores} belongs to another project: its rows are left alone")
        return
    views = {view.name: view for view in registry.all_views()}
    for top in sorted(path for path in Paths(root).rowstores.glob("*") if path.is_dir()):
        view = views.get(top.name)  # None of one that the code no longer has
        present = RowStore(top, view.schema, view.version).folder if view else None
        shapes = [folder for folder in sorted(top.glob("v*-*")) if folder.is_dir()]
        try:
            old += [folder for folder in shapes if folder != present and not _is_needed(root, kept, top.name, folder)]
        except UserError as damaged:
            made.notes.append(f"rows of earlier shapes of '{top.name}' are left alone, since a version that is kept "
                              f"cannot be read: {damaged}")
        drafts += [path for folder in shapes if folder not in old for path in sorted(folder.glob(f".*{DRAFT}"))
                   if _is_old(path, DRAFT_S)]
        if is_held(top / "lock"):
            made.notes.append(f"somebody is computing '{top.name}': its rows are left alone")
    made.kinds.append(Kind("rows of earlier shapes of tables", "computed again by code that makes tables of that shape",
                           old, _alone(lambda folder: folder.parent)))
    made.kinds.append(Kind("half-written rows of killed runs", "nothing", drafts,
                           _alone(lambda path: path.parent.parent)))


def _is_needed(root: Path, kept: Kept, table: str, folder: Path) -> bool:
    """Whether a version that is kept has a table of the shape of these rows."""
    version = folder.name[1:].partition("-")[0]
    segment = next(folder.glob("rows-*.parquet"), None)
    if segment is None or not version.isdigit():
        return False
    try:
        columns = pq.read_schema(segment)
    except (OSError, ValueError):  # damaged: a run would drop it
        return False
    if FINGERPRINT in columns.names:
        columns = columns.remove(columns.get_field_index(FINGERPRINT))
    return kept.has_shape(root, table, int(version), columns)


def _alone(top: Callable[[Path], Path]) -> Callable[[Sequence[Path]], list[Path]]:
    """Removes what lies in the row stores of views, of each while no run has it."""
    def one(path: Path) -> bool:
        try:
            with filelock.FileLock(top(path) / "lock", timeout=0):
                remove(path)
        except filelock.Timeout:
            return False
        return True

    return lambda paths: [path for path in paths if one(path)]


def _vectors(root: Path, kept: Kept, made: Plan) -> None:
    folder = Paths(root).vectors
    if not folder.is_dir():
        return
    places = [*kept.places, *(Paths(root).revisions / name for name in kept.revisions())]
    digests = {_digest(place, table) for place in places for table in ("text_embeddings", "structures")}
    found = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")
             and not any(digest and digest in path.name for digest in digests)]
    found += [path for path in sorted(folder.glob(f".*{DRAFT}")) if _is_old(path, DRAFT_S)]
    made.kinds.append(Kind("vectors of other versions", "made again when they are searched", found, _unlink))


def _digest(place: Path, table: str) -> str | None:
    """What the names of a table's vectors hold."""
    with contextlib.suppress(UserError):  # damaged: others say so
        digest = sums.digest(Paths(place).table(table))
        return digest[:32] if digest else None
    return None


def _trainings(root: Path, made: Plan) -> None:
    found = [path for path in sorted(Paths(root).training.glob("*")) if _is_old(path, TRAINING_S)]
    made.kinds.append(Kind("states of trainings that were given up", "such a training begins anew", found,
                           lambda paths: [] if _at_work(root) else _unlink(paths)))


def _cache(root: Path, keep: Sequence[str], kept: Kept, made: Plan, lose: bool) -> None:
    try:
        there = cache.unused(root, kept)
    except UserError as error:
        made.notes.append(f"DVC's cache is left alone: {error}")
        return
    if there is None:
        return

    def objects(paths: Sequence[Path]) -> list[Path]:
        return [] if _at_work(root) else cache.remove(root, keep, paths)

    if there.remote:
        made.kinds.append(Kind(f"objects of DVC's cache that remote '{there.remote}' has", "fetched again when a "
                               "revision that needs them is read", there.in_remote, objects))
    kind = Kind("objects of DVC's cache that no remote has",
                GONE, there.elsewhere, objects)
    if lose:
        made.kinds.append(kind)
    elif there.elsewhere:
        size = sum(path.stat().st_size for path in there.elsewhere)
        made.notes.append(f"{len(there.elsewhere):,} {kind.name} ({shown(size)}) stay; --lose removes them, and then "
                          f"they are {kind.loss}")


def _is_old(path: Path, age_s: float) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > age_s
    except FileNotFoundError:
        return False


def _at_work(root: Path) -> bool:
    """Whether a stage or a refresh is."""
    return any(is_held(lock) for lock in Paths(root).run_locks.glob("*.lock"))


def _unlink(paths: Sequence[Path]) -> list[Path]:
    for path in paths:
        remove(path)
    return list(paths)


def _files(path: Path) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Inode, number of names and bytes of each file that a path is or holds; of a symbolic link, its own."""
    places: Iterable[Path] = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    for place in places:
        with contextlib.suppress(FileNotFoundError):  # it goes while we look
            if place.is_symlink() or not place.is_dir():
                stat = place.lstat()
                yield (stat.st_dev, stat.st_ino), stat.st_nlink, stat.st_size
