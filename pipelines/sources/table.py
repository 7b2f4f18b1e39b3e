"""A Parquet, CSV or JSONL file with columns `material_id`, `cif` and numeric properties."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

import polars as pl

from features.errors import UserError
from pipelines.params import IngestParams
from pipelines.sources import Entry


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries of a file, in its order."""
    path = root / params.path
    if not path.is_file():
        raise UserError(f"ingest.path: {path} is not a file")
    frame = read_frame(path)
    missing = {"material_id", "cif"} - set(frame.columns)
    if missing:
        raise UserError(f"{path} has no column {' and no column '.join(sorted(missing))}")
    properties = numeric_properties(frame, ("material_id", "cif"))
    ids = frame["material_id"].cast(pl.String).fill_null("")
    for material_id, cif, values in zip(ids, frame["cif"].cast(pl.String).fill_null(""), properties, strict=True):
        yield Entry(
            material_id=material_id,
            structure=cif,
            format="cif",
            source="table",
            source_version=f"sha256:{hashlib.sha256(cif.encode()).hexdigest()[:12]}",
            license="unknown",
            citation="",
            properties=values,
        )


def read_frame(path: Path) -> pl.DataFrame:
    """A Parquet, CSV or JSONL file."""
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        if path.suffix.lower() == ".csv":
            names = pl.read_csv(path, n_rows=0).columns
            text = {name: pl.String for name in ("material_id", "cif") if name in names}  # the id 007 is not 7
            return pl.read_csv(path, infer_schema_length=None, schema_overrides=text)
        return pl.read_ndjson(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def numeric_properties(frame: pl.DataFrame, other: Collection[str]) -> list[dict[str, float | None]]:
    """The numeric columns as one dict a row; a missing value is None, and a NaN counts as missing."""
    numeric = [name for name, dtype in frame.schema.items() if dtype.is_numeric() and name not in other]
    if not numeric:
        return [{} for _ in range(len(frame))]
    rows: list[dict[str, float | None]] = frame.select(
        pl.col(numeric).cast(pl.Float64).replace([float("nan"), float("inf"), float("-inf")], None)).to_dicts()
    return rows
