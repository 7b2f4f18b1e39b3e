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

from features.catalog.answer import THREAD
from features.catalog.session import TIMEOUT_S, Session
from features.catalog.sql import collected
from features.commands.options import At, Output, Root
from features.commands.output import Format, show, write
from features.commands.patience import Patience
from features.errors import RowError, UserError
from features.progress import say
from features.reading import MB, read_bytes

Query = Annotated[str | None, typer.Argument(
    help="One query; `-` reads queries from standard input. Without it, a terminal gets a prompt.", show_default=False)]
File = Annotated[Path | None, typer.Option("--file", "-f", help="Run the queries of this file, one after another.")]
Timeout = Annotated[float, typer.Option(min=0.001, max=86_400, help="Longest time for a query, in seconds.")]
STANDARD_INPUT = "-"
LARGEST_SCRIPT = 16 * MB


def sql(query: Query = None, root: Root = Path(), file: File = None, at: At = None, form: Output = Format.table,
        timeout: Timeout = TIMEOUT_S) -> None:
    """Run read-only SQL over all tables: one query, those of a file, or at a prompt.

    Tables of other revisions are there under their name: `select … from head.materials a join "v1".materials b using
    (material_id)`. docs/sql.md has more.
    """
    if query is not None and file is not None:
        raise UserError("either a query or --file is expected, not both")
    if query is None and file is None and sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty():
        from features.commands import prompt  # a library that queries of scripts do without

        prompt.run(root, at, timeout)
        return
    with _stopped_by_signals(), aborting(), Session(root, at, timeout) as session:
        if query is not None and query != STANDARD_INPUT:
            _run(session, query, form)
            return
        statements = session.statements(_text(file))
        if form is Format.parquet and len(statements) != 1:
            raise UserError(f"parquet holds one result, and these are {len(statements)} queries")
        if not statements:
            raise UserError("there is no query; on a terminal `python -m features sql` gives a prompt")
        for number, statement in enumerate(statements):
            if number and form is not Format.jsonl:
                print()
            _run(session, statement, form)


def _text(file: Path | None) -> str:
    try:
        if file is None or str(file) == STANDARD_INPUT:
            if sys.stdin is None:
                raise UserError("there is no query, and standard input is closed")
            return sys.stdin.read()
        return read_bytes(file, LARGEST_SCRIPT).decode("utf-8-sig")
    except RowError as error:
        raise UserError(f"{file}: {error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file or 'standard input'} is no text in UTF-8") from None


def _run(session: Session, query: str, form: Format) -> None:
    with Patience() if sys.stderr and sys.stderr.isatty() else contextlib.nullcontext() as patience:
        if form is Format.table:
            table = collected(session, query, patience)
            if patience is not None:
                patience.end()
            show(table, form)
            return
        with session.answer(query, patience) as answer:
            if patience is not None:
                patience.end()
            write(answer.schema, answer, form)


@contextlib.contextmanager
def aborting() -> Iterator[None]:
    """End the program at once after an error that leaves a query at work which nothing interrupts: the usual end would
    tear it down in the middle."""
    try:
        yield
    except UserError as error:
        if not any(thread.name == THREAD for thread in threading.enumerate()):
            raise
        say(f"error: {error}")
        os._exit(2)


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
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
