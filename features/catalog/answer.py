"""The answer to one query: its batches, made in a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self

import duckdb
import pyarrow as pa

from features.catalog.words import in_one_line
from features.errors import UserError

GRACE_S = 0.5
"""Seconds that an interrupted query gets to end. DuckDB looks for an interruption between chunks of 2,048 rows."""
THREAD = "sql"
"""Name of the thread that runs a query."""
BATCH_ROWS = 1 << 11
"""Rows of a result that are handed on at once."""
WAITING = 2
"""Batches of a result that wait for whoever reads it."""
TICK_S = 0.25
"""How often a waiting reader is asked for patience."""


class Runs(Protocol):
    """What a session is to its answers."""

    connection: duckdb.DuckDBPyConnection
    timeout_s: float

    def prepared(self, sql: str) -> duckdb.DuckDBPyRelation:
        """A statement that has passed as a query."""

    def failure(self) -> UserError | None:
        """Why a function of ours could not answer."""

    def abandon(self) -> None:
        """Leave the connection to a query that nothing interrupts."""


class Answer:
    """What a statement gives, batch by batch, while it runs in a thread of its own.

    As a context: its end is the end of the query, whoever reads on or not. So an exception which a signal raises in the
    main thread, such as `KeyboardInterrupt`, passes through at once and ends the query.
    """

    schema: pa.Schema
    """Of the batches; no two columns share a name."""

    def __init__(self, session: Runs, sql: str, waiting: Callable[[float], None] | None) -> None:
        self._session, self._sql, self._waiting = session, sql, waiting
        self._connection = session.connection
        self._batches: queue.Queue[Any] = queue.Queue(WAITING)
        self._ended = threading.Event()
        self._left_s = session.timeout_s + GRACE_S
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)

    def __enter__(self) -> Self:
        """Begin. Returns when the columns are known. Raises `UserError`."""
        try:
            self._thread.start()
            self.schema = self._next()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._end()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._next()) is not None:
            yield batch

    def _next(self) -> Any:
        """What the thread hands over. Raises `UserError` in the place of what went wrong there."""
        while True:
            began = time.monotonic()
            try:
                given = self._batches.get(timeout=min(TICK_S if self._waiting else self._left_s, max(self._left_s, 0)))
            except queue.Empty:
                self._left_s -= time.monotonic() - began
                if self._left_s <= 0:  # this second limit is for one long call of a function
                    raise self._took_too_long() from None
                if self._waiting is not None:
                    self._waiting(_share(self._connection))
                continue
            self._left_s -= time.monotonic() - began
            break
        if not isinstance(given, BaseException):
            return given
        failure = self._session.failure()
        if isinstance(given, duckdb.InterruptException):
            raise failure or self._took_too_long()
        if isinstance(given, duckdb.Error):
            raise failure or UserError(f"SQL: {in_one_line(str(given))}")
        raise given

    def _took_too_long(self) -> UserError:
        return UserError(f"SQL: the query was stopped after {self._session.timeout_s:g} s; ask for less, or allow more "
                         "time (--timeout)")

    def _run(self) -> None:
        try:
            reader = self._session.prepared(self._sql).to_arrow_reader(BATCH_ROWS)
            try:
                schema = _with_unique_names(reader.schema)
                self._hand_over(schema)
                for batch in reader:
                    if not self._hand_over(pa.RecordBatch.from_arrays(batch.columns, schema=schema)):
                        return
            except (OSError, pa.ArrowException) as error:  # what DuckDB's errors become on their way through Arrow
                kind = duckdb.InterruptException if "INTERRUPT" in str(error) else duckdb.Error
                raise kind(str(error)) from None
            self._hand_over(None)
        except BaseException as error:
            self._hand_over(error)

    def _hand_over(self, what: Any) -> bool:
        """Wait until there is room, and say whether somebody still reads."""
        while not self._ended.is_set():
            try:
                self._batches.put(what, timeout=TICK_S)
                return True
            except queue.Full:
                continue
        return False

    def _end(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._connection.interrupt()
            self._thread.join(GRACE_S)
        if self._thread.is_alive():  # closing would wait for it
            self._session.abandon()


def _share(connection: duckdb.DuckDBPyConnection) -> float:
    try:
        return float(connection.query_progress()) / 100
    except duckdb.Error:
        return -1.0


def _with_unique_names(schema: pa.Schema) -> pa.Schema:
    """A schema in which no two columns share a name: the later ones get a number that makes a name which none has."""
    given = set(schema.names)
    seen: dict[str, int] = {}
    fields = []
    for field in schema:
        name, number = field.name, seen.get(field.name, 0) + 1
        while number > 1 and (name := f"{field.name}_{number}") in given:
            number += 1
        seen[field.name] = number
        given.add(name)
        fields.append(field.with_name(name))
    return pa.schema(fields)
