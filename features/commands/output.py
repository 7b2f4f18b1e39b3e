"""Writing a result to standard output."""

from __future__ import annotations

import csv
import enum
import json
import math
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.printing import print_table


class Format(enum.StrEnum):
    """How a result is written."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


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
