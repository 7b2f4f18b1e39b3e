"""SQL over all tables, through DuckDB. Read-only for users: one SELECT (or EXPLAIN, DESCRIBE, …), nothing outside."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from features.catalog import search
from features.catalog.part_files import SCHEME, PartFiles
from features.errors import UserError
from features.paths import Paths
from features.progress import say
from features.store import tables, versions
from features.store.files import beside
from features.store.sums import Damaged

REJECTS = "rejects"
TIMEOUT_S = 300.0
"""Longest time for a query, in seconds: a scan of every vector of 200,000 texts takes a few, so a query that takes this
long is most likely a join that lacks its condition, and must not hold the machine overnight."""
MEMORY = "50%"
"""What a query may hold of the machine's memory: its result, and perhaps a stage, lie beside it."""
RESULT_BYTES = 4 << 30
"""Largest result, as Arrow: `select * from range(1000000000000)` would fill the memory row by row, unseen by DuckDB."""
GRACE_S = 0.5
"""Seconds that an interrupted query gets to end. DuckDB looks for an interruption between chunks of 2,048 rows."""
THREAD = "sql"
"""Name of the thread that runs a query."""
STORAGE_VERSION = "v1.0.0"
"""Of `data/catalog.duckdb`: the oldest that DuckDB writes, so that clients of all 1.x and 2.x read it."""

CLOSED: Mapping[str, str] = {
    "python_enable_replacements": "false",  # a query must not read the variables of this program
    "python_scan_all_frames": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    # Nothing spills to disk: DuckDB would let a query write any file into the folder. One that needs more memory than
    # it may have ends with a line that says so.
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "memory_limit": MEMORY,
}
"""Settings of a user's session from its start. They are locked before the user's first word."""

T = TypeVar("T")


def connect(root: Path, finder: search.Finder | None = None, timeout_s: float = TIMEOUT_S) -> duckdb.DuckDBPyConnection:
    """An in-memory catalog: one view for each table of the published version, and no way to open any other file.

    The part files are read through `PartFiles`, which cannot write. A query that takes longer than `timeout_s` seconds
    ends with `duckdb.InterruptException`. Raises `UserError` if there are no tables.
    """
    root = versions.current(root)
    sources = _sources(root)
    if not sources:
        raise UserError(f"there are no tables under {Paths(root).features} yet; run `dvc repro` to make them")
    connection = duckdb.connect(":memory:", config=dict(CLOSED))
    served = {f"{path.parent.name}/{path.name}": path for files in sources.values() for path in files}
    connection.register_filesystem(PartFiles(served, versions.held(root)))
    try:
        _create_views(connection, {name: [f"{SCHEME}{path.parent.name}/{path.name}" for path in files]
                                   for name, files in sources.items()})
    except duckdb.Error as error:  # a file is damaged
        connection.close()
        raise UserError(f"SQL: {_in_one_line(str(error))}") from None
    if search.TABLE in sources and finder is not None:
        finder.add(connection)
    connection.execute(f"SET max_execution_time = {max(1, round(timeout_s * 1000))}")
    connection.execute(f"SET allowed_paths = [{', '.join(_quote(SCHEME + name) for name in served)}]")
    connection.execute("SET allow_extension_repositories = 'forbidden'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET disabled_filesystems = 'LocalFileSystem'")  # whatever else may be allowed, no local file
    connection.execute("SET lock_configuration = true")
    return connection


def query(root: Path, sql: str, timeout_s: float = TIMEOUT_S) -> pa.Table:
    """Result of one read-only statement. Raises `UserError` with DuckDB's own words, or after `timeout_s` seconds.

    The query runs in a thread of its own, so that an exception which a signal raises in the main thread (such as
    `KeyboardInterrupt`) passes through here at once, and ends the query.
    """
    root = versions.current(root)
    finder = search.Finder(root)
    connection = connect(root, finder, timeout_s)
    answer = _in_thread(lambda: _answer(connection, sql))
    try:
        return answer.result(timeout_s + GRACE_S)  # the second limit is for one long call of a function
    except TimeoutError:
        raise _took_too_long(timeout_s) from None
    except duckdb.InterruptException:
        raise finder.failure or _took_too_long(timeout_s) from None
    except duckdb.Error as error:
        hint = ("; similar and find need the table text_embeddings, run `dvc repro`"
                if not tables.exists(root, search.TABLE) and "Table Function" in str(error) else "")
        raise finder.failure or UserError(f"SQL: {_in_one_line(str(error))}{hint}") from None
    finally:
        if not answer.done():
            connection.interrupt()
            wait([answer], GRACE_S)
        if answer.done():  # closing waits for a query that is still at work
            connection.close()


def _in_thread(function: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=THREAD, daemon=True).start()
    return future


def _answer(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise UserError(f"one SQL statement is expected, found {len(statements)}")
    _only_reads(connection, statements[0])
    relation = connection.sql(sql)
    if relation is None:
        raise UserError("the statement has no result")
    batches, size = [], 0
    try:
        reader = relation.to_arrow_reader()
        for batch in reader:
            batches.append(batch)
            size += batch.nbytes
            if size > RESULT_BYTES:
                raise UserError(f"SQL: the result is larger than {RESULT_BYTES:,} bytes; ask for fewer rows or columns")
    except (OSError, pa.ArrowException) as error:  # what DuckDB's errors become on their way through Arrow
        kind = duckdb.InterruptException if "INTERRUPT" in str(error) else duckdb.Error
        raise kind(str(error)) from None
    return _with_unique_names(pa.Table.from_batches(batches, reader.schema))


def _took_too_long(timeout_s: float) -> UserError:
    return UserError(f"SQL: the query was stopped after {timeout_s:g} s; ask for less, or allow more time (--timeout)")


def _in_one_line(message: str) -> str:
    """DuckDB's words with its hints (`Did you mean …`, candidates), without the picture of the place in the query."""
    words = re.split(r"\n+LINE \d+:", message)[0].strip()
    if "Traceback" in words:  # an error of Python inside a query: its last line says what was wrong
        return words.splitlines()[-1].removeprefix(f"{Damaged.__name__}: ")
    return " ".join(re.sub(r"(?<=[^:.!\s])\s*\n\t", "; ", words).split())


def _only_reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Refuse what is not a query, in clear words; that a query cannot write either is the session's doing.

    EXPLAIN ANALYZE runs what it explains, so what it explains must be a query as well.
    """
    kind = statement.type
    if kind is duckdb.StatementType.EXPLAIN:
        inner = re.sub(r"^(?:\s|--[^\n]*\n|/\*.*?\*/)*explain\s+(?:analyze\s+|\([^)]*\)\s*)?", "", statement.query,
                       flags=re.IGNORECASE | re.DOTALL)
        kind = connection.extract_statements(inner)[0].type
    if kind is not duckdb.StatementType.SELECT:
        raise UserError(f"only queries are allowed here, not {kind.name}: the catalog is read-only")


def _with_unique_names(table: pa.Table) -> pa.Table:
    """A result in which no two columns share a name: the later ones get a number."""
    seen: dict[str, int] = {}
    names = []
    for name in table.column_names:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return table.rename_columns(names)


def refresh(root: Path) -> None:
    """Write `data/catalog.duckdb`, the same views in a file that any DuckDB client opens read-only.

    Its views name absolute paths, so it belongs to this checkout; every stage writes it anew, after it has published.
    So nothing here is worth a failure: what goes wrong becomes one line, and the file from before stays.
    """
    path = Paths(root).catalog
    try:
        with beside(path) as draft, duckdb.connect(":memory:") as connection:
            connection.execute(f"ATTACH {_quote(str(draft))} AS catalog (STORAGE_VERSION '{STORAGE_VERSION}')")
            connection.execute("USE catalog")
            _create_views(connection, {name: [str(part.resolve()) for part in files]
                                       for name, files in _sources(versions.current(root)).items()})
    except Exception as error:  # the stage has published; the line names whatever it was
        say(f"warning: could not update {path} ({type(error).__name__}: {_in_one_line(str(error))}); the tables "
            "themselves are complete. To update it, remove the cause and run any stage again")


def _sources(root: Path) -> dict[str, list[Path]]:
    sources = {name: tables.files(root, name) for name in tables.names(root) if name.isidentifier()}
    rejects = sorted((Paths(root).features / REJECTS).glob("*.parquet"))
    return sources | ({REJECTS: rejects} if rejects else {})


def _create_views(connection: duckdb.DuckDBPyConnection, sources: Mapping[str, list[str]]) -> None:
    for name, files in sources.items():
        listed = ", ".join(map(_quote, files))
        # `name` is an identifier (see `_sources`) and the paths are quoted
        connection.execute(f"CREATE VIEW \"{name}\" AS SELECT * FROM read_parquet([{listed}], union_by_name = true)")  # noqa: S608 (see above)
    if search.TABLE in sources:
        search.add_similar(connection)


def _quote(text: str) -> str:
    return "'" + re.sub("'", "''", text) + "'"
