"""Writing a result to standard output, all at once or as it comes."""

from __future__ import annotations

import contextlib
import csv
import enum
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import UserError
from features.printing import print_table
from features.terminal import printable

GROUP_BYTES = 32 << 20
"""Arrow's bytes of a row group of a result in Parquet."""
CLOSED_PIPE = 141
"""Exit code of a program whose reader has gone: 128 + SIGPIPE."""


class Format(enum.StrEnum):
    """How a result is written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    markdown = "markdown"
    parquet = "parquet"


def show(table: pa.Table, form: Format) -> None:
    """Write a result to standard output."""
    write(table.schema, table.to_batches(), form)


def write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], form: Format) -> None:
    """Write a result to standard output as its batches come, but for `table`, whose columns need all of it.

    If whoever reads standard output goes, the process ends without a word. Raises `UserError` for a terminal that would
    get parquet, for values that a format does not hold, and if standard output is closed.
    """
    if sys.stdout is None:
        raise UserError("standard output is closed: there is nowhere to write the result")
    if form is Format.parquet and sys.stdout.isatty():
        raise UserError("parquet is for a file and not for a terminal: add `> result.parquet`")
    with _closed_pipe_ends_quietly():
        if form is Format.parquet:
            _write_parquet(schema, batches)
        elif form is Format.table:
            numbers = [_is_number(field.type) for field in schema]
            print_table(schema.names, _rows(schema, batches), numbers)
        else:
            with contextlib.redirect_stdout(_Shown(sys.stdout)) if sys.stdout.isatty() else contextlib.nullcontext():
                _WRITERS[form](schema, _rows(schema, batches))
        sys.stdout.flush()


class _Shown(io.TextIOBase):
    """A terminal, to which texts of tables do nothing."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal

    def write(self, text: str) -> int:
        return self._terminal.write(printable(text))


@contextlib.contextmanager
def _closed_pipe_ends_quietly() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written at the end
        sys.exit(CLOSED_PIPE)


def _rows(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[list[Any]]:
    """Rows as lists of plain values: maps as dicts, whole decimals as integers."""
    maps = [pa.types.is_map(field.type) for field in schema]
    for batch in batches:
        columns = [_values(name, column) for name, column in zip(schema.names, batch.columns, strict=True)]
        for row in zip(*columns, strict=True) if columns else ():
            yield [_dict(value) if is_map and value is not None else _plain(value)
                   for value, is_map in zip(row, maps, strict=True)]


def _values(name: str, column: pa.Array) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
        return values
    except (ValueError, OverflowError) as error:  # the year 99999, or a time that is infinite
        raise UserError(f"column {name} holds a {column.type} that is out of range here ({error}); "
                        "`::varchar` makes it a text") from None


def _dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    try:
        return dict(pairs)
    except TypeError:  # lists are keys
        return {str(key): value for key, value in pairs}


def _plain(value: Any) -> Any:
    """DuckDB sums integers into 128 bits, which Arrow has as decimals."""
    if isinstance(value, Decimal) and value == value.to_integral_value() and value.as_tuple().exponent == 0:
        return int(value)
    return value


def _write_json(schema: pa.Schema, rows: Iterable[list[Any]]) -> None:
    """One array, of whose rows each is a line."""
    print("[", end="")
    between = ""
    for row in rows:
        print(between + _json(dict(zip(schema.names, row, strict=True))), end="")
        between = ",\n"
    print("]")


def _write_jsonl(schema: pa.Schema, rows: Iterable[list[Any]]) -> None:
    for row in rows:
        print(_json(dict(zip(schema.names, row, strict=True))))


def _write_csv(schema: pa.Schema, rows: Iterable[list[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(schema.names)
    for row in rows:
        writer.writerow([_json(value) if isinstance(value, list | dict) else value for value in row])


def _write_markdown(schema: pa.Schema, rows: Iterable[list[Any]]) -> None:
    _print_markdown(schema.names)
    _print_markdown(["---:" if _is_number(field.type) else "---" for field in schema])
    for row in rows:
        _print_markdown(["" if value is None else _json(value) if isinstance(value, list | dict) else str(value)
                         for value in row])


def _print_markdown(cells: Iterable[str]) -> None:
    print("| " + " | ".join(printable(re.sub(r"\s+", " ", cell).replace("|", "\\|")) for cell in cells) + " |")


_WRITERS = {Format.json: _write_json, Format.jsonl: _write_jsonl, Format.csv: _write_csv,
            Format.markdown: _write_markdown}


def _write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    if any(_is_whole_decimal(field.type) for field in schema):  # all of it decides what they become
        table = _with_plain_numbers(pa.Table.from_batches(list(batches), schema))
        schema, batches = table.schema, table.to_batches()
    try:
        opened = pq.ParquetWriter(sys.stdout.buffer, schema)
    except pa.ArrowNotImplementedError as error:
        raise UserError(f"parquet does not hold this: {error}; `::varchar` makes a column a text") from None
    with opened as writer:
        for table in _gathered(schema, batches):
            writer.write_table(table)


def _gathered(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches together, a row group each."""
    together: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        together.append(batch)
        size += batch.nbytes
        if size >= GROUP_BYTES:
            yield pa.Table.from_batches(together, schema)
            together, size = [], 0
    if together:
        yield pa.Table.from_batches(together, schema)


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype))


def _is_whole_decimal(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(dtype)) and dtype.scale == 0


def _with_plain_numbers(table: pa.Table) -> pa.Table:
    """Sums of integers as 64 bits where they fit, else as floats: few readers know 128 bits."""
    for index, field in enumerate(table.schema):
        if _is_whole_decimal(field.type):
            try:
                plain = table[field.name].cast(pa.int64())
            except pa.ArrowInvalid:
                plain = table[field.name].cast(pa.float64())
            table = table.set_column(index, field.name, plain)
    return table


def _json(value: Any) -> str:
    return json.dumps(_finite(value), default=_other, ensure_ascii=False, allow_nan=False)


def _other(value: Any) -> float | str:
    return float(value) if isinstance(value, Decimal) else str(value)


def _finite(value: Any) -> Any:
    """A value as JSON holds it, which has no word for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {name if isinstance(name, str) else str(name): _finite(_plain(item)) for name, item in value.items()}
    return value
