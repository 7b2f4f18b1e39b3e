"""The views of one version of the tables in a session of SQL, each made when it is first asked for."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from features.catalog import meanings, views, virtual
from features.catalog.part_files import SCHEME, PartFiles
from features.catalog.search import Search
from features.catalog.views import identifier, quoted
from features.catalog.words import in_one_line
from features.errors import UserError
from features.store.sums import Damaged


class VersionViews:
    """The views of one version in a session."""

    def __init__(self, schema: str, revision: str, where: Path, search: Search, mark: str, files: PartFiles) -> None:
        self.schema, self.revision, self.where, self.mark, self.files = schema, revision, where, mark, files
        self.tables = [*views.sources(where), *(name for name in virtual.names())]
        self._search = search
        self._spelled = {name.casefold(): name for name in self.tables}
        self._made: set[str] = set()
        self._listed: set[str] = set()
        self._commented: set[str] = set()
        self._damaged: dict[str, Damaged] = {}
        self._searching = False

    def name(self, spelled: str) -> str | None:
        """The table of this name, however its letters are written."""
        return self._spelled.get(spelled.casefold())

    def search(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Define `similar`, `find` and `near`."""
        if not self._searching:
            self._search.add(connection, self.schema, self.mark)
            self._searching = True

    def make(self, connection: duckdb.DuckDBPyConnection, spelled: str) -> None:
        """Make the view of a table, if there is such a table. Raises `Damaged`."""
        name = self.name(spelled)
        if name in self._damaged:
            raise self._damaged[name]
        if name is None or name in self._made:
            return
        try:
            if name in virtual.MODULES:
                self._show(connection, name, virtual.make(self.where, name))
            else:
                parts = views.files(self.where, name)
                inside = {f"{self.mark}/{name}/{part.name}": part for part in parts}
                self.files.serve(inside)
                views.create(connection, self.schema, name, parts, [f"{SCHEME}{url}" for url in inside])
        except Damaged as damage:
            self._damaged[name] = damage
            raise
        except duckdb.Error as error:
            if "Traceback" not in str(error):
                raise
            self._damaged[name] = Damaged(views.files(self.where, name)[0], in_one_line(str(error)))
            raise self._damaged[name] from None
        self._made.add(name)

    def make_or_stand_in(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """The same, for lists of tables: one that cannot be made has a view that says so, and one that would be made of
        others has its columns and no row yet."""
        if name in virtual.MODULES:
            if name not in self._made | self._listed:
                self._show(connection, name, virtual.schema(name).empty_table())
                self._listed.add(name)
            return
        try:
            self.make(connection, name)
        except UserError as error:
            connection.execute(f"CREATE OR REPLACE VIEW {identifier(self.schema)}.{identifier(name)} AS "
                               f"SELECT error({quoted(str(error))}) AS damaged")

    def _show(self, connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
        with connection.cursor() as other:  # `register` would leave a table that SHOW TABLES lists
            other.execute(f"USE {identifier(self.schema)}")
            other.from_arrow(table).create_view(name, replace=True)
        self._commented.discard(name)

    def columns(self, name: str) -> list[str]:
        """Names of the columns of a table. Raises `UserError`."""
        if name in virtual.MODULES:
            return list(virtual.schema(name).names)
        return list(views.columns(name, views.files(self.where, name)))

    def comment(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Comment a view and its columns."""
        if name in self._commented or name not in self._made | self._listed:
            return
        self._commented.add(name)
        if name in virtual.MODULES:
            views.say(connection, self.schema, name, meanings.meaning(name),
                      {field.name: views.told(field) for field in virtual.schema(name)})
        else:
            views.comment(connection, self.schema, name, views.files(self.where, name))

    def comment_functions(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Comment the table functions."""
        if self._searching:
            for name, said in meanings.FUNCTIONS.items():
                connection.execute(f"COMMENT ON MACRO TABLE {identifier(self.schema)}.{identifier(name)} "
                                   f"IS {quoted(said)}")
