"""Writing a table of the model's stages in the form of every feature table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from features import contract
from features.paths import Paths
from features.store import placement, tables
from features.view import rows_to_table


def publish(root: Path, name: str, schema: pa.Schema, key: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Write the rows as the table `name`, sorted by `key`; in one part if they are not those of crystals."""
    of_crystals = "material_id" in schema.names
    where = placement.positions([row["material_id"] if of_crystals else "" for row in rows])
    parts = placement.number_of_parts(len(rows)) if of_crystals else 1
    bounds = [placement.part_range(part, parts) for part in range(parts)]
    tables.publish(
        Paths(root).table(name), schema, key,
        contract.checked(name, contract.of(name), (
            rows_to_table([row for row, position in zip(rows, where, strict=True) if low <= position < high], schema)
            for low, high in bounds)),
        ({"view": name, "version": 1, "parts": parts} for _ in bounds),
    )
