"""Objects of DVC's cache that no version which is kept names. DVC says which those are, and who else may need them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.errors import UserError
from features.housekeeping.kept import Kept
from features.store.objects import MD5, folder_of, listing, outs


@dataclass(frozen=True)
class Unused:
    """Objects that may go."""

    remote: str | None
    """Name of the remote that was asked."""
    in_remote: list[Path]
    elsewhere: list[Path]
    """Those that it has not."""


def remove(root: Path, keep: Sequence[str], paths: Sequence[Path]) -> list[Path]:
    """Remove objects while DVC is not at work, as far as they still may go: which went.

    Raises `UserError` if DVC is at work, or as `unused` does.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo, repo.lock:
            still = unused(root, Kept.of(root, keep))
            spare = {*still.in_remote, *still.elsewhere} if still else set()
            went = [path for path in paths if path in spare]
            # folders first: DVC takes one that it has the list of for whole
            for path in sorted(went, key=lambda path: path.suffix != ".dir"):
                path.unlink(missing_ok=True)
    except DvcException as error:
        raise UserError(" ".join(str(error).split())) from None
    return went


def unused(root: Path, kept: Kept) -> Unused | None:
    """Objects that the work tree and what is kept do not name; None without DVC.

    Raises `UserError` if other projects may share the cache, if DVC cannot say what a revision needs, or if its remote
    does not answer.
    """
    folder = folder_of(root)
    if folder is None or not folder.is_dir():
        return None
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with Repo(str(root)) as repo:
            if not folder.resolve().is_relative_to(Path(repo.root_dir).resolve()):
                raise UserError(f"{folder} may be shared with other projects; `dvc gc --projects` knows of them")
            used = {info.value for objects in repo.used_objs(revs=[commit.sha for commit in kept.commits]).values()
                    for info in objects}
            for lock in kept.locks():
                used |= set(_named(folder, lock))
            spare = [path for path in _objects(folder) if f"{path.parent.name}{path.name}" not in used]
            name = repo.config["core"].get("remote")
            there: set[str] = set()
            if name and spare:
                remote = repo.cloud.get_remote_odb(name)
                there = set(remote.list_oids_exists({f"{path.parent.name}{path.name}" for path in spare}))
    except (DvcException, OSError) as error:
        raise UserError(" ".join(str(error).split())) from None
    has = [f"{path.parent.name}{path.name}" in there for path in spare]
    return Unused(name, [path for path, is_there in zip(spare, has, strict=True) if is_there],
                  [path for path, is_there in zip(spare, has, strict=True) if not is_there])


def _named(folder: Path, lock: bytes) -> Iterator[str]:
    """The objects that a `dvc.lock` names, and those that these name."""
    try:
        found, _ = outs(lock)
    except ValueError as error:
        raise UserError(f"a dvc.lock of what is kept cannot be read: {error}") from None
    for out in found.values():
        yield out.md5
        if out.md5.endswith(".dir"):
            with contextlib.suppress(FileNotFoundError):  # then there is nothing of it to keep
                path = folder / out.md5[:2] / out.md5[2:]
                try:
                    yield from listing(path.read_bytes()).values()
                except ValueError as error:
                    raise UserError(f"{path} is damaged ({error}); `python -m pipelines repair` mends it") from None


def _objects(folder: Path) -> Iterable[Path]:
    for place in sorted(folder.glob("[0-9a-f][0-9a-f]")):
        with os.scandir(place) as entries:
            yield from sorted(Path(entry.path) for entry in entries if MD5.fullmatch(f"{place.name}{entry.name}"))
