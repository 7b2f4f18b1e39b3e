"""A folder that is replaced as a whole: written beside its place, then put there in two renames."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from features.store import sums
from features.store.files import sync, sync_folder


@contextlib.contextmanager
def whole(folder: Path, along: AbstractContextManager[None] | None = None,
          measured: Mapping[str, sums.Sums] | None = None, summed: bool = True) -> Iterator[Path]:
    """A folder beside that of a table or a model, to write all its files there. At the end it gets the sums of its
    files, is put into its place, and the old one goes; what fails before leaves the old one as it was.

    Between the two renames there is an instant without the folder; a process killed in it is mended by `restore`, which
    the next one calls.

    Args:
        along: what is put in place in the same moment: entered when all is written, left when the folder is there. If
            that fails, the old folder is back.
        measured: sums of files, by name, that are known by the end; the others are read for theirs.
        summed: whether it gets sums; a folder that leaves the project does not.
    """
    restore(folder)
    draft, old = _beside(folder, "new"), _beside(folder, "old")
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    draft.mkdir(parents=True)
    swapped = False
    try:
        yield draft
        for path in draft.iterdir():
            sync(path)
        if summed:
            sums.write(draft, measured)
        with along or contextlib.nullcontext():
            if folder.exists():
                folder.rename(old)
            draft.rename(folder)
            swapped = True
            sync_folder(folder.parent)
    except BaseException:
        if swapped:  # what goes along could not follow
            folder.rename(draft)
        restore(folder)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if folder.exists():  # else the old one is all there is, and the next process puts it back
            shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path) -> bool:
    """Put a folder back that a process had moved aside when it was killed. Whether there was one to put back."""
    old = _beside(folder, "old")
    if not old.exists() or folder.exists():
        return False
    old.rename(folder)
    return True


def leftovers(parent: Path) -> list[Path]:
    """What killed processes have left of the folders in this one: folders moved aside, then drafts."""
    return [*sorted(parent.glob(".*.old")), *sorted(parent.glob(".*.new"))]


def place_of(leftover: Path) -> Path:
    """The folder that a leftover was, or was to be."""
    return leftover.with_name(leftover.name[1:].rpartition(".")[0])


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")
