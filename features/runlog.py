"""The log of each run: a file of JSON lines below `data/.logs/`, for whoever wants to know afterwards what happened.

Each line has `time` (UTC), `run`, `stage`, `level` and `message`, and `row` where it speaks of one crystal. The last
`KEEP` files stay, none grows beyond `LIMIT`. Nothing reads them but people and their programs: a log that cannot be
written is said in one line, and the run goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from features.paths import Paths
from features.progress import LOGGER, SUMMARY, say
from features.redaction import redacted

KEEP = 100
LIMIT = 16 * 2**20
"""Bytes of a file; beyond them only summary, warnings and errors are written."""
RUN = "CPF_RUN"
"""Environment variable: name of the file that a process which works for another one's run writes to, too."""
_NAME = re.compile(r"[\w:+-]+-(?P<id>[0-9a-f]{32})\.jsonl")


class _File(logging.Handler):
    """One JSON line in one write for each record, so that processes of one run do not mix theirs."""

    def __init__(self, path: Path, stage: str, run: str) -> None:
        super().__init__()
        self.path, self.stage, self.run = path, stage, run
        self._full = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def emit(self, record: logging.LogRecord) -> None:
        if self._full and record.levelno < SUMMARY:
            return
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        row = getattr(record, "row", None)
        line = {"time": when, "run": self.run, "stage": self.stage, **({} if row is None else {"row": row}),
                "level": record.levelname.lower(), "message": redacted(record.getMessage())}
        try:
            os.write(self._handle, f"{json.dumps(line)}\n".encode())
            self._full = self._full or os.fstat(self._handle).st_size > LIMIT
        except OSError as error:
            LOGGER.removeHandler(self)
            _without(error)

    def close(self) -> None:
        os.close(self._handle)
        super().close()


@contextlib.contextmanager
def logged(root: Path, stage: str, run: str | None = None) -> Iterator[None]:
    """Log what is said inside, how it ends, and why it failed.

    `run` is the id of the run; without one it is that of the run that this process works for, or else a new one.
    """
    handler = _opened(root, stage, run)
    if handler is None:
        yield
        return
    began = time.monotonic()
    LOGGER.addHandler(handler)
    try:
        _only(handler, logging.INFO, "begins")
        yield
        _only(handler, logging.INFO, f"ends after {time.monotonic() - began:.1f} s")
    except BaseException as error:
        said = " ".join(str(error).split())
        _only(handler, logging.ERROR, f"{type(error).__name__}{': ' if said else ''}{said}")
        raise
    finally:
        LOGGER.removeHandler(handler)
        handler.close()


def _only(handler: logging.Handler, level: int, message: str) -> None:
    """A line for the log alone."""
    if handler in LOGGER.handlers:  # else it could not be written
        handler.handle(LOGGER.makeRecord(LOGGER.name, level, "", 0, message, (), None))


def environment() -> dict[str, str]:
    """What a process must find in its environment to write into the log of the run that is at work here."""
    files = [handler for handler in LOGGER.handlers if isinstance(handler, _File)]
    return {RUN: files[-1].path.name} if files else {}


def _opened(root: Path, stage: str, run: str | None) -> _File | None:
    if not Paths(root).params.exists():  # a folder that is no project gets no log
        return None
    folder = Paths(root).logs
    given = _NAME.fullmatch(os.environ.get(RUN, "")) if run is None else None
    run = given["id"] if given else run or uuid.uuid4().hex
    name = given.string if given else f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{stage}-{run}.jsonl"
    try:
        handler = _File(folder / name, stage, run)
        for old in sorted(folder.glob("*.jsonl"))[:-KEEP]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _without(error)
        return None
    return handler


def _without(error: OSError) -> None:
    say(f"the log of this run cannot be written ({error.strerror}); the run goes on without it")
