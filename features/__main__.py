"""`python -m features`: look at the tables."""

from __future__ import annotations

import csv
import enum
import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from features import catalog
from features.catalog import validate as checks
from features.errors import UserError, run_cli
from features.paths import Paths
from features.store import tables

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


@app.command("list")
def list_tables(root: Root = Path(), form: Output = Format.table) -> None:
    """List all tables: rows, part files, bytes, version of the view."""
    rows = []
    for name in tables.names(root):
        files = tables.files(root, name)
        rows.append({
            "table": name,
            "rows": sum(pq.read_metadata(path).num_rows for path in files),
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
    if table not in tables.names(root):
        raise UserError(f"no table '{table}'; there are: {', '.join(tables.names(root)) or 'none yet'}")
    columns = []
    for field in tables.schema(root, table):
        metadata = field.metadata or {}
        columns.append({"column": field.name, "type": str(field.type), "unit": metadata.get(b"unit", b"").decode(),
                        "description": metadata.get(b"description", b"").decode()})
    show(pa.Table.from_pylist(columns), form)


@app.command()
def sql(query: str, root: Root = Path(), form: Output = Format.table) -> None:
    """Run one read-only SQL query over all tables."""
    show(catalog.query(root, query), form)


@app.command()
def rejects(root: Root = Path(), form: Output = Format.table) -> None:
    """List every row that could not be computed, with the reason."""
    files = sorted((Paths(root).features / catalog.REJECTS).glob("*.parquet"))
    if not files:
        raise UserError("no stage has run yet; run `dvc repro`")
    show(pa.concat_tables([pq.read_table(path) for path in files]), form)


@app.command()
def validate(root: Root = Path()) -> None:
    """Check every table against its view: schema, version, unique keys, no row without its upstream row."""
    print(f"{checks.check(root)} tables are valid")


def show(table: pa.Table, form: Format) -> None:
    """Write a result to standard output."""
    table = _with_plain_numbers(table)
    if form is Format.parquet:
        pq.write_table(table, sys.stdout.buffer)
    elif form is Format.json:
        print(json.dumps(table.to_pylist(), default=str, ensure_ascii=False))
    elif form is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([_cell(value) for value in row.values()] for row in table.to_pylist())
    else:
        frame = pl.DataFrame([_series(name, table[name]) for name in table.column_names])
        width = shutil.get_terminal_size(fallback=(140, 24)).columns
        with pl.Config(tbl_rows=-1, tbl_cols=-1, fmt_str_lengths=100_000, tbl_hide_dataframe_shape=True,
                       tbl_hide_column_data_types=True, tbl_width_chars=width, fmt_table_cell_list_len=4):
            print(frame)


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


def _series(name: str, column: pa.ChunkedArray) -> pl.Series:
    """A column as polars prints it; what polars does not know is shown in Python's words."""
    try:
        return pl.Series(name, column)
    except (pl.exceptions.PolarsError, TypeError, ValueError):
        return pl.Series(name, [None if value is None else str(value) for value in column.to_pylist()], pl.String)


if __name__ == "__main__":
    run_cli(app)
