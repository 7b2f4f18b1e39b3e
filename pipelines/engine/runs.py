"""What runs did: two lines for each in `data/.runs.jsonl`, one when it begins and one when it ends.

While a run is at work it holds a lock of the system on a file of its own below `data/.runs/`, and so does the program
that it has do its work. The system lets go of it when they end, however they end: a run without a second line whose
lock is free was killed, whatever host, process id or time its line names. Where a file system does not share locks
between machines (NFS without a lock daemon, some cloud mounts), a run on another machine is taken for killed.

The file is for people (`python -m pipelines status`), and tells a refresh whether a stage is at work. Nothing is
computed from it, and it may be deleted while nothing runs. What a run said is in its log (`features.runlog`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO

from features import runlog
from features.errors import UserError
from features.paths import Paths
from features.progress import say
from features.redaction import redacted
from features.store.locks import is_held

RUNNING, DONE, FAILED, KILLED, ENDED = "running", "done", "failed", "killed", "ended"
"""Ended: its second line is cut off before it says how."""
LONGEST = 64 * 2**10
"""Bytes of a line; a longer one is nothing that a run has written."""
MOST = 16 * 2**20
"""Bytes of the file that are read: the last ones."""
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "id": str, "stage": str, "started": str, "pid": int, "host": str, "outcome": str, "seconds": (int, float, NoneType),
    "note": str, "counts": dict}


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
    """Of a stage: wanted, reused, computed, rejected, and digest, that of the table which it has published."""
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
            with runlog.logged(root, stage, run.id):
                yield run
            run.outcome = DONE
        except BaseException as error:
            run.note = redacted(" ".join(str(error).split()))[:500] or type(error).__name__
            raise
        finally:
            run.seconds = round(time.monotonic() - began, 3)
            try:
                _append(root, {name: getattr(run, name) for name in ("id", "outcome", "seconds", "note", "counts")})
            except OSError as error:  # what the run has done is done
                say(f"{Paths(root).runs} cannot be written ({error.strerror}): it will not say that this run of "
                    f"'{stage}' was {run.outcome}")


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


def digest_on_disk(root: Path, table: str) -> str | None:
    """The digest that the run which published this table has recorded; None where there is no table."""
    parts = sorted(Paths(root).table(table).glob("part-*.parquet"))
    digest = hashlib.sha256()
    for path in parts:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest() if parts else None


def made_by(runs: Sequence[Run], stage: str, digest: str) -> Run | None:
    """The last of these runs of a stage that has published a table of this digest."""
    return next((run for run in reversed(runs) if run.stage == stage and run.counts.get("digest") == digest), None)


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
    runs: dict[str, Run] = {}
    damaged = []
    for number, line in _lines(Paths(root).runs):
        content = _content(line)
        if content is not None and content["id"] in runs:
            runs[content["id"]].__dict__.update(content)
        elif content is not None and {"stage", "started", "pid", "host"} <= content.keys():
            runs[content["id"]] = Run(**content)
        elif content is None and not _takes_cut(line, runs):
            damaged.append(number)  # the end of a run whose beginning was cut off says nothing
    return list(runs.values()), damaged


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of the file that are not empty, with their numbers; of a very long file the last ones."""
    try:
        with path.open("rb") as file:
            skipped = max(0, os.fstat(file.fileno()).st_size - MOST)
            before = _count_lines(file, skipped)
            for number, line in enumerate(file.read(MOST).split(b"\n"), before + 1):
                if line.strip() and (number > before + 1 or not skipped):
                    yield number, line
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it is a record for people and may be removed while "
                        "nothing runs") from None


def _count_lines(file: BinaryIO, size: int) -> int:
    """How many lines end in the first `size` bytes, which are then behind."""
    count = 0
    while size > 0 and (chunk := file.read(min(size, 2**20))):
        count, size = count + chunk.count(b"\n"), size - len(chunk)
    return count


def _content(line: bytes) -> dict[str, Any] | None:
    """What a line says, as far as runs say such things; None for one that no run has written whole."""
    try:
        content = json.loads(line) if len(line) <= LONGEST else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or "id" not in content:
        return None
    known = {name: value for name, value in content.items() if name in TYPES}
    if isinstance(known.get("counts"), dict):
        known["counts"] = {name: value for name, value in known["counts"].items() if isinstance(value, int | str)}
    return known if all(isinstance(value, TYPES[name]) for name, value in known.items()) else None


_CUT = re.compile(rb'\{"id": "(?P<id>[0-9a-f]{8,32})(?P<rest>.*)', re.DOTALL)
_SECOND = b'", "outcome": "'
"""What follows the id in the line that a run writes at its end, and in no other."""


def _takes_cut(line: bytes, runs: Mapping[str, Run]) -> bool:
    """Whether this is the beginning of the last line of a run: the run has ended then, as it says or somehow.

    How a run ends is decided before that line is written, and nothing is done after it.
    """
    cut = _CUT.match(line)
    if cut is None or not (cut["rest"].startswith(_SECOND) or _SECOND.startswith(cut["rest"])):
        return False
    of = [run for run in runs.values() if run.outcome == RUNNING and run.id.startswith(cut["id"].decode())]
    if len(of) != 1:
        return False
    outcome, seconds = re.search(rb'"outcome": "(done|failed)"', line), re.search(rb'"seconds": ([\d.]+),', line)
    of[0].outcome = outcome[1].decode() if outcome else ENDED
    of[0].seconds = float(seconds[1]) if seconds else None
    of[0].note = "the end of its record is cut off"
    return True


def _append(root: Path, content: dict[str, Any]) -> None:
    """One line in one write, so that runs at once do not mix theirs; a new one, even after half a line."""
    path = Paths(root).runs
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, f"\n{json.dumps(content)}\n".encode())
    finally:
        os.close(handle)
