"""Progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from tqdm import tqdm

from features.terminal import printable

LINE_EVERY_S = 15.0
WATCH_EVERY_S = 2.0

Watcher = Callable[[int, int], None]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


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
        self._started = self._last = time.monotonic()
        self._told = float("-inf")
        shown = sys.stderr.isatty() and total and not quiet
        self._bar = tqdm(total=total, desc=stage, unit=f" {unit}") if shown else None

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
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        if not self.quiet and now - self._last >= LINE_EVERY_S and self.done < self.total:
            self._last = now
            left = (now - self._started) / self.done * (self.total - self.done)
            say(f"{self.stage}: {self.done} of {self.total} {self.unit}, about {left:.0f} s left"
                f"{'; ' if note else ''}{note}")

    def _tell(self) -> None:
        watcher = _watcher.get()
        now = time.monotonic()
        if watcher is not None and (now - self._told >= WATCH_EVERY_S or self.done >= self.total):
            self._told = now
            watcher(self.done, self.total)


def say(line: str) -> None:
    """One plain line for the user, at once."""
    print(printable(line), file=sys.stderr, flush=True)
