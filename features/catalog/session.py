"""A user's session of SQL: an in-memory DuckDB that can read the tables and nothing else, and one query at a time.

Opening it opens no part file: the view of a table is made when a query first names the table. A qualifier that is no
schema of DuckDB's, as in `head.materials` or `"v1".similar('mp-149', 10)`, is a git revision, whose tables are then
read beside the others. So a damaged table, or a revision whose files are gone, stops only queries that name it.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

from features.catalog import meanings, names, views
from features.catalog.answer import Answer
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
                        # Footers are read once a session, and so are the blocks of part files as long as the memory
                        # that a query may have holds them: each call of our file system makes threads wait.
                        "parquet_metadata_cache = true", "cache_local_files = true",
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
