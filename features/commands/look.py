"""Which tables there are, and what is in them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from features import catalog
from features.commands.options import At, Output, Root
from features.commands.output import Format, show
from features.errors import UserError
from features.paths import Paths
from features.store import revisions, tables


def list_tables(root: Root = Path(), at: At = None, form: Output = Format.table) -> None:
    """List all tables: rows, part files, bytes, version of the view."""
    rows = []
    root = revisions.at(root, at)
    for name in tables.names(root):
        files = tables.files(root, name)
        rows.append({
            "table": name,
            "rows": sum(map(tables.rows, files)),
            "parts": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "version": tables.footer(files[0]).get("version"),
        })
    if not rows:
        raise UserError(f"there are no tables under {Paths(root).features} yet; run `dvc repro` to make them")
    show(pa.Table.from_pylist(rows), form)


def describe(table: str, root: Root = Path(), at: At = None, form: Output = Format.table) -> None:
    """Show the columns of a table: type, unit, meaning."""
    root = revisions.at(root, at)
    if table not in tables.names(root):
        raise UserError(f"no table '{table}'; there are: {', '.join(tables.names(root)) or 'none yet'}")
    columns = []
    units = tables.footer(tables.files(root, table)[0]).get("units", {})
    for field in tables.schema(root, table):
        metadata = dict(field.metadata or {})
        if units and field.name == "other_properties":
            metadata[b"unit"] = "; ".join(f"{name}: {unit}" for name, unit in units.items()).encode()
        columns.append({"column": field.name, "type": str(field.type), "unit": metadata.get(b"unit", b"").decode(),
                        "description": metadata.get(b"description", b"").decode()})
    show(pa.Table.from_pylist(columns), form)


def rejects(root: Root = Path(), at: At = None, form: Output = Format.table) -> None:
    """List every row that could not be computed, with the reason."""
    files = sorted((Paths(revisions.at(root, at)).features / catalog.REJECTS).glob("*.parquet"))
    if not files:
        raise UserError("no stage has run yet; run `dvc repro`")
    show(tables.read_parts(files), form)
