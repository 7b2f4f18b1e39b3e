"""`python -m features`: look at the tables."""

from __future__ import annotations

import contextlib
import csv
import enum
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from features import catalog
from features.catalog import validate as checks
from features.catalog.sql import THREAD, TIMEOUT_S
from features.errors import UserError, run_cli
from features.paths import Paths
from features.printing import print_table
from features.progress import say
from features.store import tables, versions

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Look at the tables that the pipeline made.")

Root = Annotated[Path, typer.Option(help="Project folder.")]


class Format(enum.StrEnum):
    """How a result is written."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


Output = Annotated[Format, typer.Option("--format", help="How the result is written; parquet goes to standard output.")]
Timeout = Annotated[float, typer.Option(min=0.001, max=86_400, help="Longest time for the query, in seconds.")]


@app.command("list")
def list_tables(root: Root = Path(), form: Output = Format.table) -> None:
    """List all tables: rows, part files, bytes, version of the view."""
    rows = []
    root = versions.current(root)
    for name in tables.names(root):
        files = tables.files(root, name)
        rows.append({
            "table": name,
            "rows": sum(map(tables.rows, files)),
            "parts": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "version": tables.footer(files[0]).get("version"),
        })
    if not rows:
        raise UserError(f"there are no tables under {Paths(root).features} yet; run `dvc repro` to make them")
    show(pa.Table.from_pylist(rows), form)


@app.command()
def describe(table: str, root: Root = Path(), form: Output = Format.table) -> None:
    """Show the columns of a table: type, unit, meaning."""
    root = versions.current(root)
    if table not in tables.names(root):
        raise UserError(f"no table '{table}'; there are: {', '.join(tables.names(root)) or 'none yet'}")
    columns = []
    units = tables.footer(tables.files(root, table)[0]).get("units", {})
    for field in tables.schema(root, table):
        metadata = dict(field.metadata or {})
        if units and field.name == "other_properties":
            metadata[b"unit"] = "; ".join(f"{name}: {unit}" for name, unit in units.items()).encode()
        columns.append({"column": field.name, "type": str(field.type), "unit": metadata.get(b"unit", b"").decode(),
                        "description": metadata.get(b"description", b"").decode()})
    show(pa.Table.from_pylist(columns), form)


@app.command()
def sql(query: str, root: Root = Path(), form: Output = Format.table, timeout: Timeout = TIMEOUT_S) -> None:
    """Run one read-only SQL query over all tables."""
    with _stopped_by_signals():
        show(catalog.query(root, query, timeout), form)


@app.command()
def rejects(root: Root = Path(), form: Output = Format.table) -> None:
    """List every row that could not be computed, with the reason."""
    files = sorted((Paths(versions.current(root)).features / catalog.REJECTS).glob("*.parquet"))
    if not files:
        raise UserError("no stage has run yet; run `dvc repro`")
    show(tables.read_parts(files), form)


@app.command()
def validate(root: Root = Path()) -> None:
    """Check every table against its view: schema, version, unique keys, no row without its upstream row."""
    where = versions.current(root)
    what = f"version {where.name}" if where != root else "the work tree, since nothing is published"
    print(f"{checks.check(where)} tables of {what} are valid")


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
    except UserError as error:
        if not any(thread.name == THREAD for thread in threading.enumerate()):
            raise
        # a query that nothing interrupts is still at work, and would be torn down in the middle
        say(f"error: {error}")
        os._exit(2)
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def show(table: pa.Table, form: Format) -> None:
    """Write a result to standard output."""
    table = _with_plain_numbers(table)
    if form is Format.parquet:
        pq.write_table(table, sys.stdout.buffer)
    elif form is Format.json:
        rows = [{name: _finite(value) for name, value in row.items()} for row in table.to_pylist()]
        print(json.dumps(rows, default=str, ensure_ascii=False, allow_nan=False))
    elif form is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([_cell(value) for value in row.values()] for row in table.to_pylist())
    else:
        numbers = [_is_number(field.type) for field in table.schema]
        print_table(table.column_names, (list(row.values()) for row in table.to_pylist()), numbers)


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype))


def _finite(value: Any) -> Any:
    """A value as JSON holds it, which has no word for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return value


def _with_plain_numbers(table: pa.Table) -> pa.Table:
    """DuckDB sums integers into 128 bits, which few readers know; as 64 bits where they fit, else as floats."""
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            try:
                plain = table[field.name].cast(pa.int64())
            except pa.ArrowInvalid:
                plain = table[field.name].cast(pa.float64())
            table = table.set_column(index, field.name, plain)
    return table


def _cell(value: object) -> object:
    """A value as CSV holds it: nested ones as JSON."""
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, list | dict) else value


if __name__ == "__main__":
    run_cli(app)
