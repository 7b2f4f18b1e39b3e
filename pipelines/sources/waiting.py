"""What must not lie where crystals are read from, since DVC reads all of it before any stage runs.

`ingest` itself makes a reject of a pipe or a device under the name of a crystal. But `ingest.path` is a dependency of
it, so that DVC first takes the digest of each file there: a pipe keeps it waiting for ever, a device such as
`/dev/zero` never ends, and at a link that leads nowhere it stops. Links to folders are followed by neither.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from features.crystal_files import MOST_NAMES, shown
from features.errors import UserError
from features.params import load_section
from features.reading import KINDS
from pipelines.params import IngestParams

OF_OTHERS = (".git", ".hg", ".dvc")
"""Folders that DVC looks into nowhere."""
ENDLESS = {"a pipe": "DVC would wait for it for ever", "a device": "DVC would read it without end"}
"""What DVC makes of a kind of file; all others it cannot read."""


def check(root: Path) -> None:
    """Raises `UserError` if something below `ingest.path` would keep DVC from its work; whatever the source is, DVC
    reads it. That there is nothing at all is for others to say.
    """
    path = load_section(root, "ingest", IngestParams).path
    first, number = None, 0
    for name, what in _hindrances(root / path):
        first, number = first or (name, what), number + 1
    if first is None:
        return
    name, what = first
    named = shown(os.path.relpath(name, root) if not path.is_absolute() else str(name))
    others = f" (and {number - 1} more like it)" if number > 1 else ""
    raise UserError(f"{named} is {what}; {ENDLESS.get(what, 'DVC cannot read it')}: remove it{others}")


def _hindrances(top: Path) -> Iterator[tuple[Path, str]]:
    """What is neither file nor folder there or below, in the order of the paths, and what it is."""
    if not os.path.isdir(top):
        yield from _hindrance(top)
        return
    seen = 0
    for here, folders, files in os.walk(top):  # leaves out what it may not read, as DVC does
        folders[:] = sorted(set(folders) - set(OF_OTHERS))
        seen += len(folders) + len(files)
        if seen > MOST_NAMES:
            return  # which ingest says
        for name in sorted(files):
            yield from _hindrance(Path(here, name))


def _hindrance(path: Path) -> Iterator[tuple[Path, str]]:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if not path.is_symlink():
            return  # it has gone, or is the machine's trouble, which whoever reads it meets
        yield path, "a link that leads in a circle" if error.errno == errno.ELOOP else "a link that leads nowhere"
        return
    if not stat.S_ISREG(mode):
        yield path, next((name for test, name in KINDS if test(mode)), "no file")
