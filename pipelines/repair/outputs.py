"""Tables, rejects, model, results and published versions: what killed processes have left, and what is damaged.

What is damaged is replaced, file by file, by a copy that is known to be what was written: one of the same output whose
other files are the same. Nothing is removed for which there is no such copy.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from features import registry
from features.errors import UserError
from features.paths import Paths
from features.store import revisions, sums, swap, versions
from features.store.damage import damages
from features.store.files import beside, remove, remove_drafts, write_text
from features.store.locks import is_held
from features.store.rowstore import RowStore
from pipelines.repair import cache

BY_DVC = re.compile(r"\.[A-Za-z0-9_-]{22}\.tmp")
"""Name of a draft of DVC's, or of a file with which it tries what links a file system has, beside the outputs."""


def mend_leftovers(root: Path) -> Iterator[str]:
    """Put back tables that were moved aside by a process that was killed, and remove half-written ones."""
    paths = Paths(root)
    for top in (paths.features, paths.results, paths.model):
        for folder in (top, *(path for path in top.rglob("*") if path.is_dir())):
            remove_drafts(folder)
    remove_drafts(paths.data)
    for lock in paths.run_locks.glob("*.lock"):  # of runs that were killed before they stood in the record
        if not is_held(lock):
            lock.unlink()
    for left in root.glob(".*.tmp"):
        if BY_DVC.fullmatch(left.name):
            left.unlink()
    for left in [*swap.leftovers(paths.features), *swap.leftovers(paths.data)]:
        if swap.restore(swap.place_of(left)):
            yield f"{swap.place_of(left)} is back in its place"
        else:
            shutil.rmtree(left)


def mend_record(root: Path) -> Iterator[str]:
    """The record of runs, of which no value depends: a folder in its place is put aside."""
    path = Paths(root).runs
    if path.is_dir():
        path.rename(path.with_name(f"{path.name}.aside"))
        yield f"{path} was a folder and is put aside"


def mend_name(root: Path) -> Iterator[str]:
    """The file that names the published version."""
    path = Paths(root).published
    try:
        versions.read_manifest(root)
    except UserError:
        if path.is_dir():
            remove(path)
        version = versions.put_name_back(root)  # in the place of the damaged one, so that readers never miss a name
        if version is None:
            remove(path)
        yield (f"{path} was damaged and is removed, since no published version is here; `dvc repro` publishes again"
               if version is None else f"{path} was damaged and names version {version} again, the last published one")
    versions.adopt(root)


def mend_segments(root: Path) -> Iterator[str]:
    """Segments of the row store: they only save work, and go."""
    for view in registry.all_views():
        store = RowStore(Paths(root).rowstore(view.name), view.schema, view.version)
        if store.folder.is_dir():
            with store.locked():
                store.finished()
            if store.damaged:
                yield (f"{store.folder}: damaged segments: {len(store.damaged)}, which are dropped; the next run of "
                       f"'{view.stage}' computes their rows again")


def mend_damage(root: Path) -> Iterator[str]:
    """Read all outputs of the work tree and of the published version that have checksums."""
    for name in versions.outputs(root):
        yield from _mend_output(root, name)
    manifest = versions.read_manifest(root)
    if manifest is not None and Paths(root).version(manifest.version).is_dir():
        yield from _mend_version(root, manifest)


def mend_revisions(root: Path) -> Iterator[str]:
    """Other revisions that somebody has read, which DVC's cache or a remote can give once more."""
    for folder in sorted(path for path in Paths(root).revisions.glob("[0-9a-f]*")
                         if path.is_dir() and not path.is_symlink()):
        if damaged := revisions.damages(folder):
            yield f"{_shown(damaged)} damaged: {revisions.mend(root, folder, damaged)}"


def _mend_output(root: Path, name: str) -> Iterator[str]:
    damaged = damages(root / name)
    if not damaged:
        return
    dropped = cache.drop_damaged(root, name)
    strange = [path for path in damaged if path.exists() and _is_surplus(path)]
    for path in strange:
        path.rename(path.with_name(f".{path.name}.aside"))
        yield f"{path} is no part of the table and is put aside"
    damaged = [path for path in damaged if path not in strange]
    for source, copy in _copies(root, name):
        if damaged and _put(root / name, copy, damaged):
            yield f"{_shown(damaged)} damaged and taken from {source}"
            return
    if damaged:
        for path in damaged:
            if path.exists():
                os.utime(path)  # else DVC takes an output for unchanged whose size and time are the same
        too = f" (and {dropped} in DVC's cache)" if dropped else ""
        yield f"{_shown(damaged)} damaged{too}, and no sound copy is here; {_again(root, name)} makes it again"


def _is_surplus(path: Path) -> bool:
    """Whether it looks like a part of a table and is none."""
    published = sums.listed(path.parent) if path.name != sums.SUMS and (path.parent / sums.SUMS).is_file() else None
    return published is not None and path.name not in published


def _copies(root: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Where the same output may lie a second time."""
    for folder in versions.newest_first(root):
        if (folder / name).exists():
            yield f"version {folder.name}", folder / name
    with cache.checked_out(root, name) as copy:
        if copy is not None:
            yield "DVC's cache", copy


def _put(place: Path, copy: Path, damaged: list[Path]) -> bool:
    """Replace the damaged files of an output by those of a copy, if it is sound and all other files are the same."""
    if damages(copy):
        return False
    if place.is_file() or copy.is_file():
        pairs = [(place, copy)]
    else:
        others = {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()}
        for relative in others:
            if place / relative not in damaged and (not (place / relative).is_file() or
                                                    (place / relative).read_bytes() != (copy / relative).read_bytes()):
                return False
        if any(path.relative_to(place) not in others for path in damaged):
            return False
        pairs = [(path, copy / path.relative_to(place)) for path in damaged]
    for path, source in pairs:
        if path.is_dir():
            shutil.rmtree(path)
        with beside(path) as draft:
            shutil.copyfile(source, draft)
    return True


def _mend_version(root: Path, manifest: versions.Manifest) -> Iterator[str]:
    """Each output of the published version whose digest is not the one that it was published with."""
    folder = Paths(root).version(manifest.version)
    lost = []
    for name, digest in manifest.outputs.items():
        if versions.digest(folder / name) == digest:
            continue
        copy = next((other for other in (root, *versions.newest_first(root))
                     if other != folder and (other / name).exists() and versions.digest(other / name) == digest), None)
        if copy is None:
            lost.append(name)
            continue
        place = folder / name
        remove(place)
        versions.link_output(copy, folder, name)
        yield f"{place} was damaged and is taken from {'the work tree' if copy == root else f'version {copy.name}'}"
    if lost or manifest.damaged:
        marked = versions.Manifest(manifest.version, manifest.outputs, tuple(lost))
        if marked != manifest:
            write_text(Paths(root).published, marked.text())
    if lost:
        yield (f"{lost[0]} of the published version {manifest.version} is damaged ({len(lost)} outputs are), and no "
               "sound copy is here; readers of it are told so until `dvc repro` has published again")


def _shown(damaged: list[Path]) -> str:
    return f"{damaged[0]} was" if len(damaged) == 1 else f"{damaged[0]} and {len(damaged) - 1} more files were"


def _again(root: Path, name: str) -> str:
    """What makes an output again."""
    if (root / "dvc.yaml").exists():
        return "`dvc repro`"
    table = Path(name).stem if "rejects" in Path(name).parts else Path(name).name
    stage = next((view.stage for view in registry.all_views() if view.name == table), None)
    return f"`python -m pipelines {stage}`" if stage else "the stage that made it"
