"""The tables as views of DuckDB: which files they read, properties of the user's own as columns, comments."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from features import contract
from features.catalog import meanings
from features.paths import Paths
from features.store import sums, tables
from features.store.tables import REJECTS

OWN = "other_properties"
"""Column of `materials` whose names become columns of the view."""
PROVENANCE = ("source", "source_version", "license")
"""Columns whose value, where all rows share it, stands in the comment of the table."""


def sources(root: Path) -> dict[str, Path]:
    """Folder of each table, and of the rejects."""
    found = {name: Paths(root).table(name) for name in tables.names(root) if name.isidentifier()}
    return found | ({REJECTS: Paths(root).features / REJECTS} if tables.reject_files(root) else {})


def files(root: Path, name: str) -> list[Path]:
    """Files of a table, or of the rejects. Raises `Damaged`."""
    return tables.reject_files(root) if name == REJECTS else tables.files(root, name)


def create(connection: duckdb.DuckDBPyConnection, schema: str, name: str, parts: Sequence[Path],
           urls: Sequence[str]) -> None:
    """Create the view of a table, whose `parts` the connection reads under `urls`. DuckDB looks into the first.

    Raises `duckdb.Error`, and `Damaged` if a part of `materials` is damaged.
    """
    # all parts of a table have one schema; those that somebody else has put there may differ
    options = "" if (parts[0].parent / sums.SUMS).exists() or name == REJECTS else ", union_by_name = true"
    own = own_properties(parts) if name == "materials" else []
    columns = "".join(f", map_extract({OWN}, {quoted(prop)})[1] AS {identifier(prop)}" for prop in own)
    columns += "".join(f", CAST(NULL AS {_type(field)}) AS {identifier(field.name)}"
                       for field in contract.newer_columns(name, parts[0]))
    listed = ", ".join(map(quoted, urls))
    connection.execute(f"CREATE VIEW {identifier(schema)}.{identifier(name)} AS "  # noqa: S608 (all of it is quoted)
                       f"SELECT *{columns} FROM read_parquet([{listed}]{options})")


def _type(field: pa.Field) -> str:
    """DuckDB's name of a column's type."""
    empty = pa.table([pa.array([], _without_halves(field.type))], [field.name])
    return str(duckdb.from_arrow(empty).types[0])


def _without_halves(dtype: pa.DataType) -> pa.DataType:
    """The type as DuckDB reads it: it has no numbers of half precision."""
    if pa.types.is_list(dtype):
        return pa.list_(_without_halves(dtype.value_type))
    return pa.float32() if pa.types.is_float16(dtype) else dtype


def comment(connection: duckdb.DuckDBPyConnection, schema: str, name: str, parts: Sequence[Path]) -> None:
    """Say in the catalog what a table and its columns mean, and where its rows are from. Raises `Damaged`."""
    about = [meanings.meaning(name), _provenance(parts) if name == "materials" else ""]
    say(connection, schema, name, "; ".join(filter(None, about)), columns(name, parts))


def say(connection: duckdb.DuckDBPyConnection, schema: str, name: str, about: str,
        columns: Mapping[str, tuple[str, str]]) -> None:
    """Comment a view, and its columns with their description and unit."""
    view = f"{identifier(schema)}.{identifier(name)}"
    connection.execute(f"COMMENT ON VIEW {view} IS {quoted(about)}")
    for column, (description, unit) in columns.items():
        text = f"{description}, in {unit}" if unit else description
        connection.execute(f"COMMENT ON COLUMN {view}.{identifier(column)} IS {quoted(text)}")


def columns(name: str, parts: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """Description and unit of each column of a view; both are empty where nobody has said them. Raises `Damaged`."""
    schema = tables.REJECTS_SCHEMA if name == REJECTS else tables.schema_of(parts[0])
    said = {field.name: told(field) for field in schema}
    if name == "materials":
        units: Mapping[str, str] = tables.footer(parts[0]).get("units", {})
        if units and OWN in said:
            said[OWN] = (said[OWN][0], "; ".join(f"{prop}: {unit}" for prop, unit in units.items()))
        said |= {prop: ("property that the source has beyond those of the Materials Project", units.get(prop, ""))
                 for prop in own_properties(parts)}
    return said


def told(field: pa.Field) -> tuple[str, str]:
    """Description and unit in a field's metadata."""
    metadata = field.metadata or {}
    return metadata.get(b"description", b"").decode(), metadata.get(b"unit", b"").decode()


def own_properties(parts: Sequence[Path]) -> list[str]:
    """Names in `other_properties` that can be columns of the view, in order. Raises `Damaged`.

    None that differs from a column's or another property's in capitals alone: its column would hold values of one only.
    Statistics of the parts tell which row groups have a name at all; only of these the names are read.
    """
    stat = os.stat(parts[0].parent)
    return list(_own_properties(tuple(parts), (stat.st_ino, stat.st_mtime_ns)))


@functools.lru_cache(maxsize=8)
def _own_properties(parts: tuple[Path, ...], _state: tuple[int, int]) -> tuple[str, ...]:
    names: set[str] = set()
    taken: set[str] = set()
    for part in parts:
        with sums.parquet(part) as file:
            taken = taken or {column.casefold() for column in file.schema_arrow.names}
            for group, statistics in _statistics(file.metadata, f"{OWN}.key_value.key"):
                if statistics is not None and statistics.min == statistics.max:
                    names.add(statistics.min)
                else:
                    names.update(_keys(file.read_row_group(group, [OWN], use_threads=False)[OWN]))
    spelled = Counter(name.casefold() for name in names)  # names of columns know no capitals
    return tuple(sorted(name for name in names if name and name.isprintable()
                        and name.casefold() not in taken and spelled[name.casefold()] == 1))


def _keys(column: pa.ChunkedArray) -> list[str]:
    keys: list[str] = pa.chunked_array([chunk.keys for chunk in column.chunks], pa.string()).unique().to_pylist()
    return keys


def _provenance(parts: Sequence[Path]) -> str:
    """Source, version and licence, where all rows share them."""
    shared: dict[str, set[Any]] = {name: set() for name in PROVENANCE}
    for part in parts:
        with sums.parquet(part) as file:
            for name in PROVENANCE:
                for _, statistics in _statistics(file.metadata, name):
                    shared[name] |= {None} if statistics is None else {statistics.min, statistics.max}
    said = {name: next(iter(values)) for name, values in shared.items() if len(values) == 1 and None not in values}
    words = {"source": "source", "source_version": "version", "license": "licence"}
    return ", ".join(f"{words[name]} {value}" for name, value in said.items())


def _statistics(metadata: Any, path: str) -> Iterator[tuple[int, Any]]:
    """Row groups that hold a value of a column, with its statistics; None where there are none."""
    place = _place(metadata, path)
    if place is None:
        return
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(place)
        statistics = chunk.statistics
        if statistics is not None and statistics.has_min_max:
            yield group, statistics
        elif chunk.num_values and (statistics is None or statistics.null_count != chunk.num_values):
            yield group, None


def _place(metadata: Any, path: str) -> int | None:
    """Number of a column of a Parquet file; looked for from the end, where properties stand."""
    return next((place for place in reversed(range(metadata.num_columns))
                 if metadata.schema.column(place).path == path), None)


def identifier(name: str) -> str:
    """A name as SQL has it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def quoted(text: str) -> str:
    """A text as SQL has it, whatever it holds."""
    return "'" + text.replace("'", "''") + "'"
