"""Which tables there are, and what is in them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from features.catalog import meanings, views, virtual
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
    """Show what a table means, and its columns: type, unit, meaning."""
    root = revisions.at(root, at)
    known = [*views.sources(root), *virtual.names()]
    if table not in known:
        raise UserError(f"no table '{table}'; there are: {', '.join(sorted(known)) or 'none yet'}")
    if table in virtual.names():
        kinds, said = virtual.schema(table), {field.name: views.told(field) for field in virtual.schema(table)}
    else:
        files = views.files(root, table)
        kinds, said = tables.schema_of(files[0]), views.columns(table, files)
    rows = [{"column": name, "type": str(kinds.field(name).type if name in kinds.names else pa.float64()), "unit": unit,
             "description": description} for name, (description, unit) in said.items()]
    if form is Format.table and (meaning := meanings.meaning(table)):
        print(f"{table}: {meaning}\n")
    show(pa.Table.from_pylist(rows), form)


def rejects(root: Root = Path(), at: At = None, form: Output = Format.table) -> None:
    """List every row that could not be computed, with the reason."""
    files = tables.reject_files(revisions.at(root, at))
    if not files:
        raise UserError("no stage has run yet; run `dvc repro`")
    show(tables.read_parts(files), form)
