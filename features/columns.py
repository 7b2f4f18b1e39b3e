"""Tables that users bring: CSV with any usual separator, JSON lines and Parquet, and the structures and numbers in
them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from features.crystal_files import decode
from features.errors import RowError, UserError
from features.progress import say
from features.reading import FILE_BYTES, TABLE_BYTES, over_bound, read_bytes
from features.terminal import printable

ID = "material_id"
STRUCTURES = ("cif", "structure", "poscar")
"""Names of the column with the structures; of several the first counts that has a value in a row."""
SEPARATORS = (",", ";", "\t")
CELL_BYTES = 2**31 - 1
"""Longest cell for the csv module, for the whole process; a CIF easily exceeds the limit that it has of its own."""
CELLS = 20_000_000
"""Most cells of a table. A cell takes memory however little is in it: a gigabyte of commas would take ten."""
NAMED = 12
LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
JSON_LINES = re.compile(r"[^\n]*\n|[^\n]+")
INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
"""Names under which pandas and R write row numbers."""
MISSING = ("", "-", "--", "–", "—", "?", ".", "n/a", "#n/a", "na", "<na>", "nan", "none", "null")
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"
GROUPED = r"^[+-]?\d{1,3}(,\d{3})+\.\d*$"
"""Thousands grouped by commas. Without decimals (`1,234`) it could as well be a decimal comma, and is no number."""
GROUPED_BY_POINTS = r"^[+-]?\d{1,3}(\.\d{3})+,\d*$"
WITH_COMMA = r"^[+-]?[\d.]*,\d*([eE][+-]?\d+)?$"
THREE_AFTER_A_POINT = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
"""Beside decimal commas it is a number of thousands, or has three decimals."""


@dataclass(frozen=True)
class Columns:
    """The columns of a file, of CSV and JSON lines as text, of Parquet as they are there."""

    path: Path
    series: Mapping[str, pl.Series]
    places: Sequence[int]
    """Of each row, its line or its number."""
    unit: str
    """What `places` counts: line or row."""
    decimal_comma: bool = False
    """Whether commas may stand for decimal points."""

    def place(self, row: int) -> str:
        """Where a row stands, for a message."""
        return f"{self.path}, {self.unit} {self.places[row]}"

    def ids(self) -> list[str]:
        """The column `material_id` as it is written, without blanks around; "" where there is none."""
        if ID not in self.series:
            raise UserError(f"{self.path} has no column {ID}; its columns: {listed(list(self.series))}")
        try:
            return self.series[ID].cast(pl.String).str.strip_chars().fill_null("").to_list()
        except pl.exceptions.PolarsError:
            raise UserError(f"{self.path}: the column {ID} holds {self.series[ID].dtype}, and no ids") from None


def read_columns(path: Path, most: int = TABLE_BYTES) -> Columns:
    """A Parquet, CSV or JSONL file of at most so many bytes. Raises `UserError` that says where it is broken."""
    suffix = path.suffix.lower()
    try:
        raw = read_bytes(path, most)
        if suffix == ".parquet":
            return _parquet(path, raw, most)
        text = decode(raw)
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError, RowError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except pl.exceptions.PanicException:  # what damaged files make of polars' assertions
        raise UserError(f"{path} cannot be read: it is damaged") from None
    del raw
    return _json_lines(path, text) if suffix == ".jsonl" else _csv(path, text)


def _parquet(path: Path, raw: bytes, most: int) -> Columns:
    """Columns of a Parquet file, once its footer says that they are no larger, unpacked, than the file may be."""
    footer = pq.read_metadata(io.BytesIO(raw))
    if sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups)) > most:
        raise over_bound(most, "unpacked it")
    _bounded(path, footer.num_rows * footer.num_columns)
    frame = pl.read_parquet(io.BytesIO(raw))
    return Columns(path, _named(path, frame.columns, frame.get_columns()), range(1, len(frame) + 1), "row")


def _bounded(path: Path, cells: int) -> None:
    if cells > CELLS:
        raise UserError(f"{path} has more than {CELLS:,} cells; leave out columns, or split it")


def structure_columns(table: Columns) -> list[str]:
    """The columns that hold structures, in the order in which they count."""
    named = [name for name in STRUCTURES if name in table.series]
    if not named:
        raise UserError(f"{table.path} has no column {', '.join(STRUCTURES[:-1])} or {STRUCTURES[-1]}; its columns: "
                        f"{listed(list(table.series))}")
    return named


def structure_of(table: Columns, columns: Sequence[str], row: int, most: int = FILE_BYTES) -> tuple[str, str]:
    """The column from which a row has its structure, and its text, which may be empty.

    Raises `RowError`: `over_bound` for one of more than `most` bytes, `unreadable` for bytes that are no text.
    """
    for column in columns:
        cell = table.series[column][row]
        text = as_text(cell.to_list() if isinstance(cell, pl.Series) else cell) or ""
        if len(text) > most:
            raise over_bound(most, f"the cell in column '{column}'")
        if text.strip():
            return column, text
    return columns[0], ""


def _named(path: Path, names: Sequence[str], series: Sequence[pl.Series]) -> dict[str, pl.Series]:
    """Columns by their names without blanks around, except unnamed ones."""
    named: dict[str, pl.Series] = {}
    for name, column in zip((name.strip() for name in names), series, strict=True):
        if INDEX.fullmatch(name):
            continue
        if name in named:
            raise UserError(f"{path} has two columns '{name}'")
        named[name] = column
    return named


def _csv(path: Path, text: str) -> Columns:
    separator = _separator(text)
    lines_of_text = (match[0] for match in LINES.finditer(text))  # one by one: `io.StringIO` takes four bytes a letter
    csv.field_size_limit(CELL_BYTES)
    reader = csv.reader(lines_of_text, delimiter=separator, skipinitialspace=separator != "\t",
                        strict=True)  # so that no quote that is left open takes all that follows for one cell
    header: list[str] = []
    rows, lines, cells = [], [], 0
    try:
        for line, row in _records(reader):
            cells += len(row)
            _bounded(path, cells)
            if not header:
                header = row
            elif len(row) != len(header):
                shown = "tab" if separator == "\t" else separator
                raise UserError(f"{path}, line {line}: {len(header)} fields are expected, as in the header; found "
                                f"{len(row)} (separator '{shown}'; a cell that holds it needs quotes)")
            else:
                rows.append(row)
                lines.append(line)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None
    series = [pl.Series(values=list(column), dtype=pl.String) for column in zip(*rows, strict=True)] \
        or [pl.Series(dtype=pl.String) for _ in header]
    return Columns(path, _named(path, header, series), lines, "line", decimal_comma=separator != ",")


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Records that hold anything, each with the line where it begins."""
    line = 1
    for record in reader:
        if any(cell.strip() for cell in record):
            yield line, record
        line = reader.line_num + 1


def _separator(text: str) -> str:
    """The separator by which the header has most names, one of them `material_id` if there is such a separator."""
    header = next((match[0] for match in LINES.finditer(text) if not match[0].isspace()), "")
    names = {separator: [name.strip(" \"'") for name in header.split(separator)] for separator in SEPARATORS}
    return max(SEPARATORS, key=lambda separator: (ID in names[separator], len(names[separator])))


def _json_lines(path: Path, text: str) -> Columns:
    rows, lines = [], []
    names: dict[str, None] = {}
    for number, match in enumerate(JSON_LINES.finditer(text), start=1):
        line = match[0]
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        if len(line) > FILE_BYTES:  # its objects in memory take many times as much
            raise UserError(f"{place}: {over_bound(FILE_BYTES)}")
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise UserError(f"{place}: a JSON object is expected in each line, with {ID} and others")
            rows.append({name: as_text(value) for name, value in row.items()})
            "".join([*row, *(cell or "" for cell in rows[-1].values())]).encode()
        except RecursionError:
            raise UserError(f"{place}: this JSON is nested too deeply") from None
        except ValueError as error:  # also of half a character, which no encoding can write
            raise UserError(f"{place}: this is no JSON ({error})") from None
        lines.append(number)
        names |= dict.fromkeys(row)
        _bounded(path, len(names) * len(rows))
    series = [pl.Series(values=[row.get(name) for row in rows], dtype=pl.String) for name in names]
    return Columns(path, _named(path, list(names), series), lines, "line")


def as_text(value: Any) -> str | None:
    """A value as text: of a structure its JSON, without what is not given."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return decode(value)
    return json.dumps(_given(value), default=str) if isinstance(value, dict | list | bool) else str(value)


def _given(value: Any) -> Any:
    """Parquet has all keys of a column in each row, without a value where a row has no such key."""
    if isinstance(value, dict):
        return {name: _given(inner) for name, inner in value.items() if inner is not None}
    return [_given(inner) for inner in value] if isinstance(value, list) else value


def numeric_properties(table: Columns, other: Collection[str]) -> list[Mapping[str, float | None]]:
    """The numeric columns as one dict a row; what is missing is None.

    A column of text with hardly a number in it is left out, which is said in a line; in any other a cell must be a
    number or say that there is none. Raises `UserError` that names the first one that is neither.
    """
    columns: dict[str, pl.Series] = {}
    commas = table.decimal_comma and any(
        series.str.strip_chars().str.contains(WITH_COMMA).any() for name, series in table.series.items()
        if name not in other and series.dtype == pl.String)
    for name, series in table.series.items():
        if name in other or series.is_null().all():
            continue
        if series.dtype in (pl.Categorical, pl.Enum):
            series = series.cast(pl.String)
        if series.dtype == pl.String:
            numbers = _numbers(table, name, series, commas)
        elif series.dtype.is_numeric():
            numbers = series.cast(pl.Float64)
        else:
            say(f"ingest: column '{name}' of {table.path.name} is not numeric and is left out")
            continue
        if numbers is None:
            continue
        infinite = int(numbers.is_infinite().sum())
        if infinite:
            say(f"ingest: column '{name}' of {table.path.name}: infinite values, which count as missing: {infinite}")
        columns[name] = numbers.set(~numbers.is_finite().fill_null(False), None)
    if not columns:
        return [{} for _ in table.places]
    return list(pl.DataFrame(columns).to_dicts())


def _numbers(table: Columns, name: str, series: pl.Series, commas: bool) -> pl.Series | None:
    """Numbers of a column of text; None if it is one of words. `commas`: the file has decimal commas."""
    text = series.str.strip_chars()
    present = text.is_not_null() & ~text.str.to_lowercase().is_in(MISSING)
    plain = _where(text.str.contains(GROUPED), text.str.replace_all(",", "", literal=True), text)
    ambiguous = plain.str.contains(THREE_AFTER_A_POINT) if commas else pl.repeat(False, len(text), eager=True)
    if commas:
        grouped = plain.str.contains(GROUPED_BY_POINTS)
        plain = _where(grouped, plain.str.replace_all(".", "", literal=True), plain)
        plain = plain.str.replace(",", ".", literal=True)
    good = present & plain.str.contains(NUMBER) & ~ambiguous
    wrong = (present & ~good).arg_true()
    if not present.any():
        return None
    if len(wrong) * 2 > present.sum():
        say(f"ingest: column '{name}' of {table.path.name} is left out: of {present.sum()} cells {len(wrong)} are no "
            f"numbers, the first is '{_short(text[wrong[0]])}'")
        return None
    if len(wrong):
        why = "has three decimals or is in thousands, which the decimal commas of the file leave open; write it with " \
            "a comma" if ambiguous[wrong[0]] else "is not a number; write one with a decimal point"
        raise UserError(f"{table.place(wrong[0])}: '{_short(text[wrong[0]])}' in column '{name}' {why}, or leave the "
                        "cell empty")
    numbers = plain.str.strip_prefix("+").cast(pl.Float64, strict=False)
    return numbers.set(~good, None)


def _where(condition: pl.Series, then: pl.Series, otherwise: pl.Series) -> pl.Series:
    return pl.select(pl.when(condition).then(then).otherwise(otherwise)).to_series()


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message, the first ones if there are many."""
    return ", ".join([*names[:NAMED], *(["…"] if len(names) > NAMED else [])]) or "none"


def _short(text: str) -> str:
    return printable(" ".join(text.split())[:30])
