"""A Parquet, CSV or JSONL file with columns `material_id`, `cif` (or `structure`, or `poscar`) and numeric properties.

What a cell holds is told by its content: the text of a CIF, a POSCAR, an extended XYZ or pymatgen's JSON, or in JSONL
and Parquet pymatgen's dict itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from features.errors import UserError
from features.progress import say
from pipelines.params import IngestParams
from pipelines.sources import Entry
from pipelines.sources.columns import ID, Columns, as_text, numeric_properties, read_columns
from pipelines.sources.own import own_crystal, parts

STRUCTURES = ("cif", "structure", "poscar")
"""Names of the column with the structures; of several the first counts that has a value in a row."""


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries of a file, in its order."""
    path = root / params.path
    if not path.is_file():
        raise UserError(f"ingest.path: {path} is not a file")
    table = read_columns(path)
    ids = table.ids()
    columns = _structure_columns(table)
    properties = numeric_properties(table, (ID, *STRUCTURES))
    ambiguous = 0
    for row, (material_id, values) in enumerate(zip(ids, properties, strict=True)):
        column, text = _structure(table, columns, row)
        crystals = parts(material_id, f".{column}", text, params.blocks)
        if len(crystals) > 1 and any(value is not None for value in values.values()):
            ambiguous, values = ambiguous + 1, {}
        for part_id, part in crystals:
            yield own_crystal("table", part_id, f".{column}", part, values)
    if ambiguous:
        say(f"ingest: rows of {path.name} that hold several crystals, whose properties could belong to any of them and "
            f"are not used: {ambiguous}")


def _structure(table: Columns, columns: list[str], row: int) -> tuple[str, str]:
    """The column from which a row has its structure, and its text, which may be empty."""
    for column in columns:
        cell = table.series[column][row]
        text = as_text(cell.to_list() if isinstance(cell, pl.Series) else cell) or ""
        if text.strip():
            return column, text
    return columns[0], ""


def _structure_columns(table: Columns) -> list[str]:
    named = [name for name in STRUCTURES if name in table.series]
    if not named:
        raise UserError(f"{table.path} has no column {', '.join(STRUCTURES[:-1])} or {STRUCTURES[-1]}; its columns: "
                        f"{', '.join(table.series)}")
    if len(named) > 1:
        say(f"ingest: {table.path.name} has the columns {' and '.join(named)}; a row has its structure from the first "
            "that is not empty")
    return named
