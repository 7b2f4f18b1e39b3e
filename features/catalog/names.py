"""What a query speaks of: tables, table functions and the versions that they are of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb

SCHEMAS = frozenset({"main", "information_schema", "pg_catalog", "temp", "system", "memory"})
"""Schemas and data bases of DuckDB's own: any other name in their place is a git revision."""
CATALOGS = re.compile(r"duckdb_\w+|pragma_\w+|sqlite_\w+|pg_\w+|query|query_table", re.IGNORECASE)
"""Tables and functions of DuckDB that list tables, or that take names of tables as texts."""
_WORD = r'(?:"(?:[^"]|"")+"|[^\W\d]\w*)'
_NAME = re.compile(rf"({_WORD})\s*\.\s*({_WORD})|({_WORD})")
_TEXT = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)

_EXPLAIN = re.compile(r"^(?:\s|--[^\n]*\n|/\*.*?\*/)*explain\s+(?:analyze\s+|\([^)]*\)\s*)?",
                      re.IGNORECASE | re.DOTALL)


@dataclass
class Named:
    """Names as they stand in a query, each with its schema, which is empty where none is given."""

    tables: set[tuple[str, str]] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    everything: bool = False
    """Whether it asks which tables there are."""
    exact: bool = True
    """Whether each of `tables` is one; else it may be the name of a column, or an alias."""


def named(connection: duckdb.DuckDBPyConnection, sql: str) -> Named:
    """Names in a query, which is read and not run. Where DuckDB does not tell, as of a PIVOT, all words are names."""
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [explained(sql)]).fetchall()
    try:
        tree = json.loads(text)
    except RecursionError:  # some hundred functions inside each other
        tree = {"error": True}
    found = Named()
    if tree["error"]:
        found.exact = False
        for match in _NAME.finditer(_TEXT.sub(" ", sql)):
            schema, name = (_plain(match[1]), _plain(match[2])) if match[3] is None else ("", _plain(match[3]))
            found.tables.add((schema, name))
            found.functions.add((schema, name))
            found.everything |= bool(CATALOGS.fullmatch(name)) or "information_schema" in (schema, name)
        return found
    for node in _nodes(tree):
        if node.get("type") == "BASE_TABLE":
            schema, name = _schema(node["schema_name"], node["catalog_name"]), node["table_name"]
            found.tables.add((schema, name))
            found.everything |= schema.lower() in ("information_schema", "pg_catalog") or bool(CATALOGS.fullmatch(name))
        elif node.get("type") == "TABLE_FUNCTION":
            function = node["function"]
            schema, name = _schema(function.get("schema", ""), function.get("catalog", "")), function["function_name"]
            found.functions.add((schema, name))
            found.everything |= bool(CATALOGS.fullmatch(name))
        elif node.get("type") == "SHOW_REF":
            found.everything |= bool(node["table_name"])  # SHOW TABLES; of DESCRIBE x, x is a table of its own
    return found


def explained(sql: str) -> str:
    """What an EXPLAIN explains; any other statement as it is."""
    return _EXPLAIN.sub("", sql)


def _schema(schema: str, catalog: str) -> str:
    """The schema that a name gives, empty for `memory.main`: after a data base it is no revision's name."""
    return "" if catalog and schema.casefold() == "main" else schema


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]  # not by recursion: a query may be nested deeply
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _plain(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word
