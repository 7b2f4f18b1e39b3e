"""A user's session of SQL: an in-memory DuckDB that can read the tables and nothing else, and one query at a time.

Opening it opens no part file: the view of a table is made when a query first names the table. A qualifier that is no
schema of DuckDB's, as in `head.materials` or `"v1".similar('mp-149', 10)`, is a git revision, whose tables are then
read beside the others. So a damaged table, or a revision whose files are gone, stops only queries that name it.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from features.catalog import meanings, names, views
from features.catalog.part_files import SCHEME, PartFiles
from features.catalog.search import Search
from features.catalog.version_views import VersionViews
from features.catalog.views import identifier, quoted
from features.catalog.words import in_one_line
from features.errors import UserError
from features.paths import Paths
from features.store import git, revisions, versions

TIMEOUT_S = 300.0
"""Longest time for a query, in seconds: a scan of every vector of 200,000 texts takes a few, so a query that takes this
long is most likely a join that lacks its condition, and must not hold the machine overnight."""
MEMORY = "50%"
"""What a query may hold of the machine's memory: its result, and perhaps a stage, lie beside it."""
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


class Session:
    """Tables of one version of a project, and of revisions that its queries name."""

    def __init__(self, root: Path, at: str | None = None, timeout_s: float = TIMEOUT_S,
                 where: Path | None = None) -> None:
        """`where`: the folder of the version, for who has asked for it before. Raises `UserError` if there is no such
        revision."""
        self.root, self.timeout_s = root, timeout_s
        self.where = where or revisions.at(root, at)
        """The folder that is read, laid out like a project."""
        self._searches: dict[Path, Search] = {}
        self._open()

    def check(self) -> None:
        """Raise `UserError` if there are no tables."""
        if not views.sources(self.where):
            raise UserError(f"there are no tables under {Paths(self.where).features} yet; run `dvc repro` to make them")

    def _open(self) -> None:
        self.connection = duckdb.connect(":memory:", config=dict(CLOSED))
        self.files = PartFiles({}, versions.held(self.where))
        self.connection.register_filesystem(self.files)
        for setting in (f"max_execution_time = {max(1, round(self.timeout_s * 1000))}",
                        f"allowed_directories = [{quoted(SCHEME)}]",  # `PartFiles` alone answers there, and only reads
                        "allow_extension_repositories = 'forbidden'",
                        "enable_external_access = false",
                        "disabled_filesystems = 'LocalFileSystem'",  # whatever else may be allowed, no local file
                        "parquet_metadata_cache = true",  # footers are read once a session
                        "enable_progress_bar = true", "enable_progress_bar_print = false",
                        "lock_configuration = true"):
            self.connection.execute(f"SET {setting}")
        self._closing = weakref.finalize(self, self.connection.close)  # at the end of the program at the latest
        self._versions: dict[str, VersionViews] = {}
        self._version("").search(self.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the session; a query that nothing interrupts goes on by itself until it ends."""
        self._closing()

    def detached(self) -> duckdb.DuckDBPyConnection:
        """The connection, with all tables of this version that lie in files, for who runs queries without this session.
        """
        self.check()
        version = self._version("")
        for name in views.sources(self.where):
            version.make(self.connection, name)
        self._closing.detach()
        return self.connection

    @property
    def tables(self) -> list[str]:
        """Names of all tables, those that are made of others included."""
        return self.tables_of("")

    def tables_of(self, revision: str) -> list[str]:
        """The same of a revision; of this version if it is empty. Raises `UserError` if there is no such revision."""
        return sorted(self._version(revision).tables)

    def columns(self) -> dict[str, list[str]]:
        """Names of the columns of each table that can be read."""
        found = {}
        for name in self.tables:
            with contextlib.suppress(UserError):
                found[name] = self._version("").columns(name)
        return found

    def statements(self, text: str) -> list[str]:
        """The statements of a text, without running them. Raises `UserError` if it is no SQL."""
        _check_text(text)
        try:
            return [statement.query.strip() for statement in self.connection.extract_statements(text)]
        except duckdb.Error as error:
            raise UserError(f"SQL: {in_one_line(str(error))}") from None

    def answer(self, sql: str, waiting: Callable[[float], None] | None = None) -> Answer:
        """Begin one read-only statement; the answer is a context in which its batches can be iterated over.

        Args:
            waiting: called with the share of the work that is done, from 0 to 1, or a negative number where nobody
                knows, while a batch is waited for.
        """
        _check_text(sql)
        self._resolve(sql)
        return Answer(self, sql, waiting)

    def _resolve(self, sql: str) -> None:
        """Have the revisions that a query names: in the caller's thread, since it may be asked whether to fetch them.

        Raises `UserError` for what is no revision.
        """
        with contextlib.suppress(duckdb.Error):  # it is no SQL, which its answer says
            spoken = names.named(self.connection, sql)
            for schema, name in sorted(spoken.tables | spoken.functions):
                self._version_of(spoken, schema, name)
        if len(self._versions) == 1:  # it names no other
            self.check()

    def abandon(self) -> None:
        """Leave the connection to a query that nothing interrupts, and go on with another."""
        self._closing.detach()
        self._open()

    def prepared(self, sql: str) -> duckdb.DuckDBPyRelation:
        """A statement that has passed as a query, over views that are there. Raises `duckdb.Error`, `UserError`."""
        connection = self.connection
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise UserError(f"one SQL statement is expected, found {len(statements)}")
        _only_reads(connection, statements[0])
        spoken = names.named(connection, sql)
        self._make(spoken)
        try:
            relation = connection.sql(sql)
        except duckdb.CatalogException:
            if spoken.everything:
                raise
            self._make_all(commented=False)  # named in a way that the text does not show, or not there: a hint
            relation = connection.sql(sql)
        if relation is None:
            raise UserError("the statement has no result")
        for column, kind in zip(relation.columns, relation.types, strict=True):
            if "UHUGEINT" in str(kind):  # on the way through Arrow the larger half of them would become negative
                raise UserError(f"column {column} is of UHUGEINT, which no format holds; `::varchar` makes it a text")
        return relation

    def failure(self) -> UserError | None:
        """Why a function of ours could not answer; told once."""
        told = next((search.failure for search in self._searches.values() if search.failure), None)
        for search in self._searches.values():
            search.failure = None
        return told

    def _make(self, spoken: names.Named) -> None:
        """Make the views that a query names. Raises `Damaged`, and `UserError` for what is no revision."""
        for schema, name in sorted(spoken.tables | spoken.functions):
            version = self._version_of(spoken, schema, name)
            if version is not None:
                version.make(self.connection, name)
                if name.casefold() in meanings.FUNCTIONS:
                    version.search(self.connection)
        if spoken.everything:
            self._make_all(commented=True)

    def _version_of(self, spoken: names.Named, schema: str, name: str) -> VersionViews | None:
        """The version that a name in a query belongs to; None for a name that is no table or function of ours."""
        if schema.casefold() in names.SCHEMAS:
            if self._known(name):
                self._check_no_revision(schema, name)
            schema = ""
        if schema and not spoken.exact and not self._known(name):
            return None  # the column of a table, rather than the table of a revision
        if schema and (schema, name) not in spoken.tables and name.casefold() not in meanings.FUNCTIONS:
            return None
        try:
            return self._version(schema)
        except UserError:
            if spoken.exact:
                raise
            return None  # an alias; what else it may be, DuckDB says

    def _check_no_revision(self, schema: str, name: str) -> None:
        """Raise `UserError` for a schema of DuckDB's own that is a branch or a tag, too: either may be meant."""
        for place, spelled in itertools.product(("heads", "tags"), dict.fromkeys((schema, schema.casefold()))):
            if git.there_is(self.root, f"refs/{place}/{spelled}"):
                raise UserError(f'{schema}.{name} is ambiguous: "{place}/{spelled}".{name} is that of the git revision '
                                f"and {name} alone that of the version that this session reads")

    def _known(self, name: str) -> bool:
        return name.casefold() in meanings.FUNCTIONS or self._version("").name(name) is not None

    def _make_all(self, commented: bool) -> None:
        for version in list(self._versions.values()):
            for name in version.tables:
                version.make_or_stand_in(self.connection, name)
                if commented:
                    version.comment(self.connection, name)
            if commented:
                version.comment_functions(self.connection)

    def _version(self, schema: str) -> VersionViews:
        """The version whose tables stand in a schema. Raises `UserError` if that is no revision."""
        key = schema.casefold()
        if key not in self._versions:
            where = self.where if not schema else revisions.at(self.root, schema)
            search = self._searches.setdefault(where, Search(where))
            version = VersionViews(schema or "main", schema, where, search, str(len(self._versions)), self.files)
            if schema:
                self.connection.execute(f"CREATE SCHEMA {identifier(schema)}")
            self._versions[key] = version
        version = self._versions[key]
        if version.revision != schema and key != "head":
            raise UserError(f"{schema} and {version.revision} differ in capitals alone, which SQL does not tell apart")
        return version


class Answer:
    """What a statement gives, batch by batch, while it runs in a thread of its own.

    As a context: its end is the end of the query, whoever reads on or not. So an exception which a signal raises in the
    main thread, such as `KeyboardInterrupt`, passes through at once and ends the query.
    """

    schema: pa.Schema
    """Of the batches; no two columns share a name."""

    def __init__(self, session: Session, sql: str, waiting: Callable[[float], None] | None) -> None:
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


def _check_text(sql: str) -> None:
    """Raise `UserError` for what the command line was given in no encoding."""
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise UserError("SQL: the query is no text in UTF-8") from None


def _only_reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Refuse what is not a query, in clear words; that a query cannot write either is the session's doing.

    EXPLAIN ANALYZE runs what it explains, so what it explains must be a query as well. A statement with a PIVOT that
    looks for its values is several to DuckDB, whatever it does; only a query may stand in the place of a table.
    """
    kind = statement.type
    query = names.explained(statement.query)
    if kind is duckdb.StatementType.EXPLAIN:
        kind = connection.extract_statements(query)[0].type
    if kind is duckdb.StatementType.MULTI:
        try:
            connection.extract_statements(f"SELECT * FROM (\n{query.rstrip().rstrip(';')}\n)")  # noqa: S608 (not run)
        except duckdb.ParserException:
            raise UserError("only queries are allowed here: the catalog is read-only") from None
        return
    if kind is not duckdb.StatementType.SELECT:
        raise UserError(f"only queries are allowed here, not {kind.name}: the catalog is read-only")


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
