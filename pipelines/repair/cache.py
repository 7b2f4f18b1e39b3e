"""DVC's cache as a source of sound copies: its objects are named after their bytes."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from features.errors import UserError
from features.paths import Paths
from features.store import dvc_lock, objects


def drop_damaged(root: Path, name: str) -> int:
    """Remove the objects of an output that are not what their names say: how many. DVC would believe them."""
    try:
        named = objects.tables_of(Paths(root).lock.read_bytes())
    except (FileNotFoundError, ValueError):  # damaged, too
        return 0
    return objects.Cache(root).drop_damaged([out for out in named if out.path == name])


@contextlib.contextmanager
def checked_out(root: Path, name: str) -> Iterator[Path | None]:
    """A copy of an output as `dvc.lock` knows it, in a folder that goes afterwards; None if the cache lacks any of it.

    It lies below `data` under the same path as in a project, so that it may be looked into like an output.
    """
    objects = _objects(root, name)
    if not objects or not all(_path(root, md5).is_file() for md5 in objects.values()):
        yield None
        return
    with tempfile.TemporaryDirectory(dir=Paths(root).data, prefix=".repair-") as folder:
        place = Path(folder) / name
        for relative, md5 in objects.items():
            target = place / relative if relative else place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_path(root, md5), target)
        yield place


def _objects(root: Path, name: str) -> dict[str, str]:
    """md5 of each file of an output, by its path in it; of an output that is a file, under the empty path."""
    try:
        stages: dict[str, Any] = dvc_lock.read(root).get("stages", {})
    except UserError:  # damaged, too
        return {}
    md5 = next((str(out.get("md5", "")) for stage in stages.values() for out in stage.get("outs", [])
                if out.get("path") == name), "")
    if not md5.endswith(".dir"):
        return {"": md5} if md5 else {}
    try:
        return objects.listing(_path(root, md5).read_bytes())
    except (OSError, ValueError):  # not there, or damaged
        return {}


def _path(root: Path, md5: str) -> Path:
    return Paths(root).dvc_cache / "files" / "md5" / md5[:2] / md5[2:]
