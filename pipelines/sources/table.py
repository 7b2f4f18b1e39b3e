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
"""Names of the column with the structures; the first that a table has counts."""


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries of a file, in its order."""
    path = root / params.path
    if not path.is_file():
        raise UserError(f"ingest.path: {path} is not a file")
    table = read_columns(path)
    ids = table.ids()
    column = _structure_column(table)
    properties = numeric_properties(table, (ID, *STRUCTURES))
    ambiguous = 0
    for material_id, cell, values in zip(ids, table.series[column], properties, strict=True):
        if isinstance(cell, pl.Series):
            cell = cell.to_list()
        crystals = parts(material_id, f".{column}", as_text(cell) or "", params.blocks)
        if len(crystals) > 1 and any(value is not None for value in values.values()):
            ambiguous, values = ambiguous + 1, {}
        for part_id, text in crystals:
            yield own_crystal("table", part_id, f".{column}", text, values)
    if ambiguous:
        say(f"ingest: {ambiguous} rows of {path.name} hold several crystals each; their properties could belong to any "
            "of them and are not used")


def _structure_column(table: Columns) -> str:
    found = [name for name in STRUCTURES if name in table.series]
    if not found:
        raise UserError(f"{table.path} has no column {', '.join(STRUCTURES[:-1])} or {STRUCTURES[-1]}; its columns: "
                        f"{', '.join(table.series)}")
    if len(found) > 1:
        say(f"ingest: {table.path.name} has the columns {' and '.join(found)}; '{found[0]}' is read")
    return found[0]
