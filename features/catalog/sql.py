"""SQL over all tables, through DuckDB. Read-only for users: one SELECT (or EXPLAIN, DESCRIBE, …), nothing outside."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa

from features.catalog import search
from features.errors import UserError
from features.paths import Paths
from features.store import tables

REJECTS = "rejects"


def connect(root: Path, finder: search.Finder | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory catalog: one view for each table, and no way to read or write any other file."""
    connection = duckdb.connect(":memory:")
    sources = _sources(root)
    if not sources:
        raise UserError(f"there are no tables under {Paths(root).features} yet; run `dvc repro` to make them")
    _create_views(connection, sources)
    if search.TABLE in sources and finder is not None:
        finder.add(connection)
    files = ", ".join(_quote(str(path.resolve())) for listed in sources.values() for path in listed)
    connection.execute(f"SET allowed_paths = [{files}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def query(root: Path, sql: str) -> pa.Table:
    """Result of one read-only statement. Raises `UserError` with DuckDB's own words."""
    finder = search.Finder(root)
    with connect(root, finder) as connection:
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1:
                raise UserError(f"one SQL statement is expected, found {len(statements)}")
            _only_reads(connection, statements[0])
            return _with_unique_names(connection.sql(sql).to_arrow_table())
        except duckdb.Error as error:
            hint = ("; similar and find need the table text_embeddings, run `dvc repro`"
                    if not tables.exists(root, search.TABLE) and "Table Function" in str(error) else "")
            raise finder.failure or UserError(f"SQL: {str(error).splitlines()[0]}{hint}") from None


def _only_reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Refuse what is not a query. EXPLAIN ANALYZE runs what it explains, so what it explains must be one as well."""
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

    Its views name absolute paths, so it belongs to this checkout; every stage writes it anew.
    """
    sources = _sources(root)
    path = Paths(root).catalog
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".catalog-") as folder:
        draft = Path(folder) / path.name
        with duckdb.connect(str(draft)) as connection:
            _create_views(connection, sources)
        draft.replace(path)


def _sources(root: Path) -> dict[str, list[Path]]:
    sources = {name: tables.files(root, name) for name in tables.names(root) if name.isidentifier()}
    rejects = sorted((Paths(root).features / REJECTS).glob("*.parquet"))
    return sources | ({REJECTS: rejects} if rejects else {})


def _create_views(connection: duckdb.DuckDBPyConnection, sources: dict[str, list[Path]]) -> None:
    for name, files in sources.items():
        listed = ", ".join(_quote(str(path.resolve())) for path in files)
        # `name` is an identifier (see `_sources`) and the paths are quoted
        connection.execute(f"CREATE VIEW \"{name}\" AS SELECT * FROM read_parquet([{listed}], union_by_name = true)")  # noqa: S608
    if search.TABLE in sources:
        search.add_similar(connection)


def _quote(text: str) -> str:
    return "'" + re.sub("'", "''", text) + "'"
