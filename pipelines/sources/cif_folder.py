"""A folder of CIF files, with an optional `properties.csv` beside them.

Every `*.cif` and `*.cif.gz` in the folder and its sub-folders is one crystal; its file name is its id.
`properties.csv` has a column `material_id` and numeric columns.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from features.errors import UserError
from pipelines.params import IngestParams
from pipelines.sources import Entry
from pipelines.sources.table import numeric_properties, read_frame


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries of a folder, in the order of their paths."""
    folder = root / params.path
    if not folder.is_dir():
        raise UserError(f"ingest.path: {folder} is not a folder")
    files = sorted(path for path in folder.rglob("*") if path.name.lower().endswith((".cif", ".cif.gz")))
    if not files:
        raise UserError(f"ingest.path: {folder} holds no .cif or .cif.gz file")
    properties = _properties(folder / "properties.csv")
    for path in files:
        material_id = path.name[: path.name.lower().index(".cif")]
        text, error = _text(path)
        yield _entry(material_id, text, error, properties.pop(material_id, {}))
    for material_id, values in properties.items():
        yield _entry(material_id, "", "no_structure: properties.csv names it, but there is no such CIF", values)


def _entry(material_id: str, text: str, error: str | None, properties: dict[str, float | None]) -> Entry:
    return Entry(
        material_id=material_id,
        structure=text,
        format="cif",
        source="cif_folder",
        source_version=f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}",
        license="unknown",
        citation="",
        properties=properties,
        error=error,
    )


def _text(path: Path) -> tuple[str, str | None]:
    """Text of a file, or why it cannot be read."""
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8"), None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        return "", f"unreadable: {path.name}: {error}"


def _properties(path: Path) -> dict[str, dict[str, float | None]]:
    if not path.exists():
        return {}
    frame = read_frame(path)
    if "material_id" not in frame.columns:
        raise UserError(f"{path} has no column material_id")
    frame = frame.with_columns(pl.col("material_id").cast(pl.String))
    if frame["material_id"].n_unique() < len(frame):
        twice = frame.filter(pl.col("material_id").is_duplicated())["material_id"][0]
        raise UserError(f"{path} names '{twice}' more than once")
    return dict(zip(frame["material_id"], numeric_properties(frame, ("material_id",)), strict=True))
