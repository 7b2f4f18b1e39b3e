"""Whether anybody is at work here: a stage, or DVC."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from features.errors import UserError
from features.paths import Paths
from features.store.locks import is_held
from pipelines.engine import runs

SLACK_S = 2.0
"""How much younger than a line of DVC's lock the process may seem that wrote it: clocks of file systems are coarse."""


def nobody_at_work(root: Path, but: str | None = None) -> None:
    """Nothing is touched while somebody's `dvc repro` runs, or a stage that a killed refresh has left behind.

    `but`: the kind of run that asks. Raises `UserError` that says who is at work.
    """
    for run in runs.history(root):
        if run.outcome == runs.RUNNING and run.stage != but:
            raise UserError(f"stage '{run.stage}' is at work here since {run.started} (process {run.pid} on "
                            f"{run.host}); wait for it or stop it")
    for lock in sorted(Paths(root).rowstores.glob("*/lock")):
        if is_held(lock):
            raise UserError(f"somebody is computing '{lock.parent.name}' here; wait for it or stop it")
    if (who := dvc_at_work(root)) is not None:
        raise UserError(f"DVC is at work here ({who}); try again when it is done")


def dvc_at_work(root: Path) -> str | None:
    """Who holds DVC's locks: a command and its process; None if nobody does.

    DVC holds a lock of the system while it looks and commits. While a command runs it only has lines in
    `.dvc/tmp/rwlock`, which a kill leaves behind: they count if the process that wrote them is still there.
    """
    folder = Paths(root).dvc_tmp
    for name in ("lock", "rwlock.lock"):
        if is_held(folder / name):
            return f"{folder / name} is held"
    for entry in holders(folder / "rwlock"):
        if is_alive(entry, folder / "rwlock"):
            return f"{entry['cmd']}, process {entry['pid']}"
    return None


def holders(rwlock: Path) -> Iterator[dict[str, Any]]:
    """Entries (`pid`, `cmd`) of DVC's list of locks, as far as it can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        content = json.loads(rwlock.read_text(encoding="utf-8"))
        for entries in [*content.get("read", {}).values(), *content.get("write", {}).values()]:
            for entry in entries if isinstance(entries, list) else [entries]:
                if isinstance(entry, dict) and isinstance(entry.get("pid"), int) and "cmd" in entry:
                    yield entry


def is_alive(entry: dict[str, Any], rwlock: Path) -> bool:
    """Whether the process of an entry still runs, and is not another one that has got its number since."""
    import psutil

    try:
        process = psutil.Process(entry["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.create_time() <= rwlock.stat().st_mtime + SLACK_S)
    except (psutil.NoSuchProcess, FileNotFoundError, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:  # another user's
        return True
