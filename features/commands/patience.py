"""What a terminal is told while a query takes long."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

PATIENCE_S = 2.0
"""A query that takes longer says how far it is."""


class Patience:
    """Says on standard error how far a query is that takes long, in one line that goes when it ends."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.end()

    def __call__(self, share: float) -> None:
        """`share`: of the work that is done; negative where nobody knows."""
        lasted = time.monotonic() - self._began
        if lasted > PATIENCE_S:
            self._said = True
            print(f"\r{f'{share:.0%}, ' if share > 0 else ''}{lasted:.0f} s; Ctrl-C stops it \033[K", end="",
                  file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line."""
        if self._said:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._said = False
