"""What runs did: two lines for each in `data/.runs.jsonl`, one when it begins and one when it ends.

A run that ended without a word was killed. The file is for people (`python -m pipelines status`), and tells a
refresh whether a stage is at work. Nothing is computed from it, and it may be deleted.
"""

from __future__ import annotations

import contextlib
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

import psutil

from features.paths import Paths
from features.progress import say

RUNNING, DONE, FAILED, KILLED = "running", "done", "failed", "killed"
CLOCK_S = 5.0
"""How far two clocks of a machine may be apart: the one that stamps runs, and the one that stamps processes."""


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
    """Why it failed; what a refresh found."""
    counts: dict[str, Any] = field(default_factory=dict)
    """Of a stage: wanted, reused, computed, rejected, digest."""


@contextlib.contextmanager
def recorded(root: Path, stage: str) -> Iterator[Run]:
    """Record what happens inside. Whoever runs may set `counts` and `note`."""
    run = Run(uuid.uuid4().hex, stage, datetime.now(UTC).isoformat(timespec="seconds"), os.getpid(), platform.node())
    began = time.monotonic()
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
    path = Paths(root).runs
    found: dict[str, Run] = {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line:
            continue
        try:
            content = json.loads(line)
            if content["id"] in found:
                found[content["id"]].__dict__.update(content)
            elif "stage" in content:  # the end of a run whose beginning was cut off says nothing
                found[content["id"]] = Run(**content)
        except (ValueError, KeyError, TypeError):
            say(f"{path}: line {number} is damaged and left out")
    for run in found.values():
        if run.outcome == RUNNING and not _is_alive(run):
            run.outcome = KILLED
    return list(found.values())


def latest(root: Path) -> dict[str, Run]:
    """The last run of each stage."""
    return {run.stage: run for run in history(root)}


def _is_alive(run: Run) -> bool:
    """Whether its process is there; a run on another machine is taken to be."""
    if run.host != platform.node():
        return True
    try:
        process = psutil.Process(run.pid)
        # a zombie has ended, and one that began later only has the same number
        stamp = datetime.fromisoformat(run.started).timestamp()
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= stamp + CLOCK_S)
    except psutil.AccessDenied:  # it is there, and belongs to somebody else
        return True
    except psutil.NoSuchProcess:
        return False


def _append(root: Path, content: dict[str, Any]) -> None:
    """One line in one write, so that runs at once do not mix theirs; a new one, even after half a line."""
    path = Paths(root).runs
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, f"\n{json.dumps(content, ensure_ascii=False)}\n".encode())
    finally:
        os.close(handle)
