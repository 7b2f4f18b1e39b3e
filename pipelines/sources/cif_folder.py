"""A folder of CIF files, with an optional `properties.csv` beside them.

Every `*.cif` and `*.cif.gz` in the folder and its sub-folders is one crystal; its file name is its id.
`properties.csv` has a column `material_id` and numeric columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from features.crystal_files import SUFFIXES, read_text, shown
from features.errors import RowError, UserError
from pipelines.params import IngestParams
from pipelines.sources import Entry, user_cif
from pipelines.sources.table import numeric_properties, read_frame


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries of a folder, in the order of their paths."""
    folder = root / params.path
    if not folder.is_dir():
        raise UserError(f"ingest.path: {folder} is not a folder")
    files = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(SUFFIXES))
    if not files:
        raise UserError(f"ingest.path: {folder} holds no .cif or .cif.gz file")
    properties = _properties(folder / "properties.csv")
    for path in files:
        name = shown(path)
        material_id = name[: name.lower().rindex(".cif")]
        try:
            text, error = read_text(path), None
        except RowError as reason:
            text, error = "", f"{reason.kind}: {reason}"
        yield user_cif("cif_folder", material_id, text, properties.pop(material_id, {}), error)
    for material_id, values in properties.items():
        yield user_cif("cif_folder", material_id, "", values,
                       "no_structure: properties.csv names it, but there is no such CIF")


def _properties(path: Path) -> dict[str, dict[str, float | None]]:
    if not path.exists():
        return {}
    frame = read_frame(path)
    if "material_id" not in frame.columns:
        raise UserError(f"{path} has no column material_id")
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    if frame["material_id"].null_count():
        raise UserError(f"{path}: row {frame['material_id'].is_null().arg_true()[0] + 2} has no material_id")
    if frame["material_id"].n_unique() < len(frame):
        twice = frame.filter(pl.col("material_id").is_duplicated())["material_id"][0]
        raise UserError(f"{path} names '{twice}' more than once")
    return dict(zip(frame["material_id"], numeric_properties(path, frame, ("material_id",)), strict=True))
