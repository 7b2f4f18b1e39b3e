"""SQL over the tables."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from features import catalog
from features.catalog.session import THREAD, TIMEOUT_S
from features.commands.options import Output, Root
from features.commands.output import Format, show
from features.errors import UserError
from features.progress import say

Timeout = Annotated[float, typer.Option(min=0.001, max=86_400, help="Longest time for the query, in seconds.")]


def sql(query: str, root: Root = Path(), form: Output = Format.table, timeout: Timeout = TIMEOUT_S) -> None:
    """Run one read-only SQL query over all tables."""
    with _stopped_by_signals():
        show(catalog.query(root, query, timeout), form)


class _Stopped(BaseException):
    """A signal asked for the end."""


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what runs inside: one line, and exit code 130 or 143."""
    def stop(number: int, _frame: FrameType | None) -> None:
        for kind in kinds:
            signal.signal(kind, signal.SIG_IGN)  # the end has begun
        raise _Stopped(number)

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, stop) for kind in kinds]
    try:
        yield
    except _Stopped as stopped:
        number = int(stopped.args[0])
        print(f"stopped by {signal.Signals(number).name}", file=sys.stderr, flush=True)
        os._exit(128 + number)  # not `sys.exit`, which would wait for a reader of what is only half written
    except UserError as error:
        if not any(thread.name == THREAD for thread in threading.enumerate()):
            raise
        # a query that nothing interrupts is still at work, and would be torn down in the middle
        say(f"error: {error}")
        os._exit(2)
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
