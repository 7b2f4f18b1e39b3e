"""Tables, model and published versions: what killed processes have left, and what is damaged."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from features.errors import UserError
from features.paths import Paths
from features.store import sums, swap, versions
from features.store.files import remove_drafts
from pipelines import commands
from pipelines.engine.dvc_lock import outputs

BY_DVC = re.compile(r"\.[A-Za-z0-9_-]{22}\.tmp")
"""Name of a draft of DVC's, or of a file with which it tries what links a file system has, beside the outputs."""


def mend_leftovers(root: Path) -> Iterator[str]:
    """Put back tables that were moved aside by a process that was killed, and remove half-written ones."""
    paths = Paths(root)
    for top in (paths.features, paths.results, paths.model):
        for folder in (top, *(path for path in top.rglob("*") if path.is_dir())):
            remove_drafts(folder)
    remove_drafts(paths.data)
    for left in root.glob(".*.tmp"):
        if BY_DVC.fullmatch(left.name):
            left.unlink()
    for left in [*swap.leftovers(paths.features), *swap.leftovers(paths.data)]:
        if swap.restore(swap.place_of(left)):
            yield f"{swap.place_of(left)} is back in its place"
        else:
            shutil.rmtree(left)


def mend_name(root: Path) -> Iterator[str]:
    """The file that names the published version, and the version itself."""
    path = Paths(root).published
    try:
        version = versions.published(root)
    except UserError:
        shutil.rmtree(path) if path.is_dir() else None
        if versions.put_name_back(root):
            yield f"{path} was damaged and names the last published version again"
        else:
            yield f"{path} was damaged and is removed; `dvc repro` publishes again"
        return
    if version is not None:
        versions.adopt(root)


def mend_damage(root: Path) -> Iterator[str]:
    """Read everything that has checksums. What is damaged is taken from another copy, or removed to be made again."""
    for place in versions.outputs(root):
        if (damage := first_damage(place)) is not None:
            yield _mended(root, place, damage)
    version = versions.published(root)
    if version is None or not Paths(root).version(version).is_dir() or versions.is_sound(root, version):
        return
    versions.drop(root, version)
    versions.adopt(root)
    if Paths(root).version(version).is_dir():
        yield f"version {version} was damaged and is published again from the work tree"
    else:
        Paths(root).published.unlink()
        yield f"version {version} was damaged, and no other copy is left; `dvc repro` publishes again"


def first_damage(place: Path) -> Path | None:
    """The first damaged file of an output."""
    if place.is_dir():
        damage = next((damage for folder in (place, *place.glob("*/")) for damage in sums.damages(folder)), None)
        return None if damage is None else damage.path
    if place.suffix != ".parquet":
        return None
    try:
        with sums.parquet(place) as file:
            file.read()
    except sums.Damaged as damage:
        return damage.path
    return None


def _mended(root: Path, place: Path, damaged: Path) -> str:
    """Take an output from DVC's cache, else remove it."""
    name = str(place.relative_to(root))
    _remove(place)
    if name in outputs(root):
        try:
            commands.run([commands.program("dvc"), "checkout", "--force", "--quiet", name], root, lambda _line: None)
        except UserError:  # the cache does not have it
            _remove(place)
        if place.exists() and first_damage(place) is None:
            return f"{damaged} was damaged; {name} is taken from DVC's cache"
        _remove(place)
    return f"{damaged} was damaged; {name} is removed, and `dvc repro` makes it again"


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
