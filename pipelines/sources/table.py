"""A Parquet, CSV or JSONL file with columns `material_id`, `cif` (or `structure`, or `poscar`) and numeric properties.

What a cell holds is told by its content: the text of a CIF, a POSCAR, an extended XYZ or pymatgen's JSON, or in JSONL
and Parquet pymatgen's dict itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from features.columns import ID, STRUCTURES, numeric_properties, read_columns, structure_columns, structure_of
from features.errors import RowError, UserError
from features.progress import say
from features.reading import MB
from pipelines.params import IngestParams
from pipelines.sources import Entry
from pipelines.sources.own import own_crystal, parts


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries of a file, in its order."""
    path = root / params.path
    if not os.path.exists(path):
        raise UserError(f"ingest.path: {path} is not a file")
    table = read_columns(path, params.table_mb * MB)
    ids = table.ids()
    columns = structure_columns(table)
    if len(columns) > 1:
        say(f"ingest: {path.name} has the columns {' and '.join(columns)}; a row has its structure from the first "
            "that is not empty")
    properties = numeric_properties(table, (ID, *STRUCTURES))
    ambiguous = 0
    for row, (material_id, values) in enumerate(zip(ids, properties, strict=True)):
        try:
            column, text = structure_of(table, columns, row, params.file_mb * MB)
        except RowError as reason:
            yield own_crystal("table", material_id, "", "", values, f"{reason.kind}: {reason}")
            continue
        crystals = parts(material_id, f".{column}", text, params.blocks)
        if len(crystals) > 1 and any(value is not None for value in values.values()):
            ambiguous, values = ambiguous + 1, {}
        for part_id, part in crystals:
            yield own_crystal("table", part_id, f".{column}", part, values)
    if ambiguous:
        say(f"ingest: rows of {path.name} that hold several crystals, whose properties could belong to any of them and "
            f"are not used: {ambiguous}")

