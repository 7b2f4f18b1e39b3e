"""SQL over all tables, through DuckDB. Read-only for users: one SELECT (or EXPLAIN, DESCRIBE, …), nothing outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa

from features.catalog import macros, views
from features.catalog.answer import THREAD
from features.catalog.session import CLOSED, TIMEOUT_S, Session
from features.catalog.views import quoted
from features.catalog.words import in_one_line
from features.errors import UserError
from features.paths import Paths
from features.progress import say
from features.store import tables, versions
from features.store.files import beside

__all__ = ["CLOSED", "THREAD", "TIMEOUT_S", "connect", "query", "refresh"]

RESULT_BYTES = 4 << 30
"""Largest result, as Arrow: `select * from range(1000000000000)` would fill the memory row by row, unseen by DuckDB."""
STORAGE_VERSION = "v1.0.0"
"""Of `data/catalog.duckdb`: the oldest that DuckDB writes, so that clients of all 1.x and 2.x read it. Numbers of half
precision, in `text_embeddings` and `chgnet_atoms`, they read from 1.3 on."""


def connect(root: Path, timeout_s: float = TIMEOUT_S) -> duckdb.DuckDBPyConnection:
    """An in-memory catalog with a view for each table of the published version, and no way to open any other file.

    The part files are read through `PartFiles`, which cannot write. A query that takes longer than `timeout_s` seconds
    ends with `duckdb.InterruptException`. Raises `UserError` if there are no tables, or if one is damaged.
    """
    session = Session(root, timeout_s=timeout_s)
    try:
        return session.detached()
    except duckdb.Error as error:
        session.close()
        raise UserError(f"SQL: {in_one_line(str(error))}") from None
    except UserError:
        session.close()
        raise


def query(root: Path, sql: str, timeout_s: float = TIMEOUT_S, at: str | None = None) -> pa.Table:
    """Result of one read-only statement. Raises `UserError` with DuckDB's own words, or after `timeout_s` seconds.

    The query runs in a thread of its own, so that an exception which a signal raises in the main thread (such as
    `KeyboardInterrupt`) passes through here at once, and ends the query.
    """
    with Session(root, at, timeout_s) as session:
        return collected(session, sql)


def collected(session: Session, sql: str, waiting: Callable[[float], None] | None = None) -> pa.Table:
    """Result of a statement as a whole. `waiting`: see `Session.answer`. Raises as `query` does."""
    with session.answer(sql, waiting) as answer:
        batches, size = [], 0
        for batch in answer:
            batches.append(batch)
            size += batch.nbytes
            if size > RESULT_BYTES:
                raise UserError(f"SQL: the result is larger than {RESULT_BYTES:,} bytes; ask for fewer rows or columns")
        return pa.Table.from_batches(batches, answer.schema)


def refresh(root: Path) -> None:
    """Write `data/catalog.duckdb`, the same views in a file that any DuckDB client opens read-only.

    Its views name absolute paths, so it belongs to this checkout; every stage writes it anew, after it has published.
    So nothing here is worth a failure: what goes wrong becomes one line, and the file from before stays.
    """
    path = Paths(root).catalog
    try:
        with beside(path) as draft, duckdb.connect(":memory:") as connection:
            connection.execute(f"ATTACH {quoted(str(draft))} AS catalog (STORAGE_VERSION '{STORAGE_VERSION}')")
            connection.execute("USE catalog")
            _create_views(connection, versions.current(root))
    except Exception as error:  # the stage has published; the line names whatever it was
        say(f"warning: could not update {path} ({type(error).__name__}: {in_one_line(str(error))}); the tables "
            "themselves are complete. To update it, remove the cause and run any stage again")


def _create_views(connection: duckdb.DuckDBPyConnection, where: Path) -> None:
    made = views.sources(where)
    for name in made:
        parts = views.files(where, name)
        views.create(connection, "main", name, parts, [str(part.resolve()) for part in parts])
        views.comment(connection, "main", name, parts)
    reach = 0.0
    if "structures" in made:
        reach = float(tables.footer(tables.files(where, "structures")[0]).get("params", {}).get("reach", 60.0))
    macros.add(connection, "main", made, reach)
