"""What a terminal shows while something runs: a bar, or plain lines where there is no terminal.

All lines go through one logger of Python's `logging`. Standard error shows those that the user wants: every one with
`--verbose` (or `CPF_VERBOSE=1`), the summary at the end alone with `--quiet` (or `CPF_QUIET=1`). Whatever it shows, all
lines go to the log of the run (`features.runlog`), where there is one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from tqdm import tqdm

from features.errors import UserError
from features.redaction import redacted
from features.terminal import printable

FIRST_LINE_S = 2.0
LINE_EVERY_S = 15.0
"""Plain lines come after 2, 4, 8 and 16 seconds, and from then on in this distance."""
WATCH_EVERY_S = 2.0
SUMMARY = 25
"""Level of the line that says what a run did, between those of `logging.INFO` and `logging.WARNING`."""
VERBOSE, QUIET = "CPF_VERBOSE", "CPF_QUIET"
"""Environment variables, which reach the processes that a command starts."""
ON, OFF = ("1", "true", "t", "yes", "y", "on"), ("", "0", "false", "f", "no", "n", "off")
"""What they may say, in capitals or not."""

Watcher = Callable[[int, int], None]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


class _Terminal(logging.Handler):
    """Standard error, whatever it is at the time: plain lines."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=sys.stderr):  # below a bar, not through it
            print(printable(redacted(record.getMessage())), file=sys.stderr, flush=True)


LOGGER = logging.getLogger("multimodal_cpf")
LOGGER.propagate = False
LOGGER.setLevel(logging.DEBUG)
_terminal = _Terminal()
LOGGER.handlers = [_terminal]
logging.addLevelName(SUMMARY, "SUMMARY")


def show(verbose: bool = False, quiet: bool = False) -> None:
    """Show more or less from now on, here and in the processes that this one starts."""
    if verbose and quiet:
        raise UserError(f"--verbose and --quiet (or {VERBOSE} and {QUIET}) exclude each other")
    _terminal.setLevel(_level(verbose, quiet))
    for name, on in ((VERBOSE, verbose), (QUIET, quiet)):
        if on:
            os.environ[name] = "1"
        else:
            os.environ.pop(name, None)


def from_environment() -> dict[str, bool]:
    """Arguments for `show`, as the environment has them. Raises `UserError` for what is neither yes nor no."""
    for name in (VERBOSE, QUIET):
        value = os.environ.get(name, "")
        if value.lower() not in (*ON, *OFF):
            raise UserError(f"{name} is '{value[:80]}', and 1 or 0 is expected")
    return {"verbose": _is_on(VERBOSE), "quiet": _is_on(QUIET)}


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").lower() in ON


def _level(verbose: bool, quiet: bool) -> int:
    return logging.DEBUG if verbose else SUMMARY if quiet else logging.INFO


_terminal.setLevel(_level(_is_on(VERBOSE), _is_on(QUIET)))


def say(line: str) -> None:
    """One plain line for the user, at once."""
    LOGGER.info(line)


def detail(line: str, row: str | None = None) -> None:
    """What only `--verbose` shows; `row` is the id of the crystal that it speaks of."""
    LOGGER.debug(line, extra={"row": row})


def conclude(line: str) -> None:
    """What a run did, in one line, which `--quiet` shows too."""
    LOGGER.log(SUMMARY, line)


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher(done, total)` how far what runs inside is: now and then, and at its end."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


class Progress:
    """Counts units of one stage."""

    def __init__(self, stage: str, total: int, unit: str = "rows", quiet: bool = False) -> None:
        self.stage, self.total, self.unit, self.quiet = stage, total, unit, quiet
        self.done = 0
        self._watcher = _watcher.get()  # of who began this, whatever is watched inside
        self._started = self._last = time.monotonic()
        self._told = float("-inf")
        shown = sys.stderr.isatty() and total and not quiet and _terminal.level == logging.INFO
        self._bar = tqdm(total=total, desc=stage, unit=f" {unit}") if shown else None
        if self._bar is None and total and not quiet:
            say(f"{stage}: {total} {unit} to do")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int, note: str = "") -> None:
        """`count` more are done; `note` says how it goes."""
        self.done += count
        self._tell()
        if not self.quiet:
            detail(f"{self.stage}: {self.done} of {self.total} {self.unit}{'; ' if note else ''}{note}")
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        wait = min(max(FIRST_LINE_S, self._last - self._started), LINE_EVERY_S)
        if not self.quiet and now - self._last >= wait and 0 < self.done < self.total:
            self._last = now
            left = (now - self._started) / self.done * (self.total - self.done)
            say(f"{self.stage}: {self.done} of {self.total} {self.unit}, about {left:.0f} s left"
                f"{'; ' if note else ''}{note}")

    def _tell(self) -> None:
        now = time.monotonic()
        if self._watcher is not None and (now - self._told >= WATCH_EVERY_S or self.done >= self.total):
            self._told = now
            self._watcher(self.done, self.total)
