"""A Parquet, CSV or JSONL file with columns `material_id`, `cif` and numeric properties."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from features.errors import UserError
from features.progress import say
from pipelines.params import IngestParams
from pipelines.sources import Entry, user_cif


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries of a file, in its order."""
    path = root / params.path
    if not path.is_file():
        raise UserError(f"ingest.path: {path} is not a file")
    frame = read_frame(path)
    missing = {"material_id", "cif"} - set(frame.columns)
    if missing:
        raise UserError(f"{path} has no column {' and no column '.join(sorted(missing))}")
    properties = numeric_properties(path, frame, ("material_id", "cif"))
    ids = frame["material_id"].cast(pl.String).fill_null("")
    for material_id, cif, values in zip(ids, frame["cif"].cast(pl.String).fill_null(""), properties, strict=True):
        yield user_cif("table", material_id, cif, values)


def read_frame(path: Path) -> pl.DataFrame:
    """A Parquet, CSV or JSONL file."""
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        if path.suffix.lower() == ".csv":
            names = pl.read_csv(path, n_rows=0).columns
            # the id 007 is not 7
            text: dict[str, Any] = {name: pl.String for name in ("material_id", "cif") if name in names}
            return pl.read_csv(path, infer_schema_length=None, schema_overrides=text)
        return pl.read_ndjson(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


MISSING = ("", "-", "--", "?", "n/a", "na", "nan", "none", "null")


def numeric_properties(path: Path, frame: pl.DataFrame, other: Collection[str]) -> list[dict[str, float | None]]:
    """The numeric columns as one dict a row; missing, NaN and infinite values are None.

    A text column counts as numeric if most of its cells are numbers. What is left out is said in one line.
    """
    columns: dict[str, pl.Series] = {}
    for name in frame.columns:
        if name in other:
            continue
        series = frame[name]
        if series.dtype == pl.String:
            text = series.str.strip_chars().str.to_lowercase()
            present = text.is_not_null() & ~text.is_in(MISSING)
            numbers = text.cast(pl.Float64, strict=False)
            wrong = series.filter(present & numbers.is_null())
            if not present.any() or len(wrong) * 2 > present.sum():
                say(f"ingest: column '{name}' of {path.name} holds text and is left out")
                continue
            if len(wrong):
                say(f"ingest: {len(wrong)} cells of column '{name}' of {path.name} are no numbers and count as "
                    f"missing, the first is '{wrong[0]}'")
            series = numbers
        elif not series.dtype.is_numeric():
            say(f"ingest: column '{name}' of {path.name} is not numeric and is left out")
            continue
        values = series.cast(pl.Float64)
        columns[name] = values.set(~values.is_finite().fill_null(False), None)
    if not columns:
        return [{} for _ in range(len(frame))]
    rows: list[dict[str, float | None]] = pl.DataFrame(columns).to_dicts()
    return rows
