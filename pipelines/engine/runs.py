"""What runs did: two lines for each in `data/.runs.jsonl`, one when it begins and one when it ends.

While a run is at work it holds a lock of the system on a file of its own below `data/.runs/`, and so does the program
that it has do its work. The system lets go of it when they end, however they end: a run without a second line whose
lock is free was killed, whatever host, process id or time its line names. Where a file system does not share locks
between machines (NFS without a lock daemon, some cloud mounts), a run on another machine is taken for killed.

The file is for people (`python -m pipelines status`), and tells a refresh whether a stage is at work. Nothing is
computed from it, and it may be deleted while nothing runs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features.paths import Paths
from features.progress import say

RUNNING, DONE, FAILED, KILLED = "running", "done", "failed", "killed"


@dataclass
class Run:
    """One run of a stage, or of a refresh."""

    id: str
    stage: str
    started: str
    """UTC, to the second."""
    pid: int
    host: str
    outcome: str = RUNNING
    seconds: float | None = None
    note: str = ""
    """Why it failed; what a refresh did."""
    counts: dict[str, Any] = field(default_factory=dict)
    """Of a stage: wanted, reused, computed, rejected, digest."""
    lock: int | None = None
    """Handle of its lock while it is at work, in its own process; a program that inherits it is part of the run."""


@contextlib.contextmanager
def recorded(root: Path, stage: str) -> Iterator[Run]:
    """Record what happens inside. Whoever runs may set `counts` and `note`."""
    run = Run(uuid.uuid4().hex, stage, datetime.now(UTC).isoformat(timespec="seconds"), os.getpid(), platform.node())
    began = time.monotonic()
    with _holding(_lock_of(root, run)) as run.lock:
        _append(root, {name: getattr(run, name) for name in ("id", "stage", "started", "pid", "host")})
        run.outcome = FAILED
        try:
            yield run
            run.outcome = DONE
        except BaseException as error:
            run.note = " ".join(str(error).split())[:500] or type(error).__name__
            raise
        finally:
            run.seconds = round(time.monotonic() - began, 3)
            _append(root, {name: getattr(run, name) for name in ("id", "outcome", "seconds", "note", "counts")})


def history(root: Path) -> list[Run]:
    """All runs, oldest first."""
    without_end = {run.id: _lock_of(root, run) for run in _read(root)[0] if run.outcome == RUNNING}
    gone = {identifier: lock for identifier, lock in without_end.items() if not is_held(lock)}
    runs, damaged = _read(root)  # again: who ended meanwhile has said so before letting go of the lock
    for run in runs:
        if run.id in gone and run.outcome == RUNNING:
            run.outcome = KILLED
    for lock in gone.values():
        with contextlib.suppress(OSError):  # of somebody else: it stays, and says nothing
            lock.unlink(missing_ok=True)
    for number in damaged:
        say(f"{Paths(root).runs}: line {number} is damaged and left out")
    return runs


def latest(root: Path) -> dict[str, Run]:
    """The last run of each stage."""
    return {run.stage: run for run in history(root)}


def is_held(lock: Path) -> bool:
    """Whether a process holds this lock; one that this user may not try is taken to be held."""
    try:
        handle = os.open(lock, os.O_RDONLY)  # which suffices, and may be another user's
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)  # else this file system has no locks at all
    finally:
        os.close(handle)


@contextlib.contextmanager
def _holding(lock: Path) -> Iterator[int]:
    """Hold a lock that nobody else wants: its handle."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: the run does without
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield handle
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _lock_of(root: Path, run: Run) -> Path:
    return Paths(root).run_locks / f"{run.id}.lock"


def _read(root: Path) -> tuple[list[Run], list[int]]:
    """Runs as the file has them, and the numbers of damaged lines."""
    path = Paths(root).runs
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    runs: dict[str, Run] = {}
    damaged = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line:
            continue
        try:
            content = json.loads(line)
            if content["id"] in runs:
                runs[content["id"]].__dict__.update(content)
            elif "stage" in content:  # the end of a run whose beginning was cut off says nothing
                runs[content["id"]] = Run(**content)
        except (ValueError, KeyError, TypeError):
            damaged.append(number)
    return list(runs.values()), damaged


def _append(root: Path, content: dict[str, Any]) -> None:
    """One line in one write, so that runs at once do not mix theirs; a new one, even after half a line."""
    path = Paths(root).runs
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, f"\n{json.dumps(content, ensure_ascii=False)}\n".encode())
    finally:
        os.close(handle)
