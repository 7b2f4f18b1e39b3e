"""Tables as CSV, one file each; lists, maps and structures as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from features import exporting
from features.catalog.part_files import SCHEME, PartFiles
from features.errors import UserError
from features.store import tables

MEMORY = "1GB"


def export(where: Path, called: str, names: Mapping[str, list[Path]], folder: Path) -> None:
    """Write tables as CSV in UTF-8 with a line of names; a missing value is nothing, an empty text `""`.

    Rows are in the order of the part files. Raises `Damaged`.
    """
    rows = {}
    for name, files in names.items():
        served = {f"{name}/{path.name}": path for path in files}
        with duckdb.connect(":memory:", config={"threads": 1, "memory_limit": MEMORY}) as connection:
            connection.register_filesystem(PartFiles(served))
            columns = ", ".join(_column(field) for field in tables.schema_of(files[0]))
            try:
                rows[name] = connection.execute(
                    f"COPY (SELECT {columns} FROM read_parquet(?)) TO {_text(str(folder / f'{name}.csv'))} "  # noqa: S608 (names are quoted)
                    "(FORMAT csv, HEADER)", [[SCHEME + path for path in served]]).fetchall()[0][0]
            except duckdb.Error as error:
                if tables.exists(where, name) and (damaged := tables.damages(where, name)):
                    raise damaged[0] from None
                raise UserError(f"{name} cannot be written as CSV: {' '.join(str(error).split())}") from None
    exporting.mark(folder, {"to": "csv", "of": called, "rows": rows})


def _column(field: pa.Field) -> str:
    name = '"' + field.name.replace('"', '""') + '"'
    return f"to_json({name})::VARCHAR AS {name}" if pa.types.is_nested(field.type) else name


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
