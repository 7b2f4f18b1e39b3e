"""Whom to cite for the rows of a query."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from features.catalog.session import TIMEOUT_S
from features.commands.options import At, Output, Root
from features.commands.output import Format, show
from features.commands.query import Timeout, aborting
from features.terminal import printable

Query = Annotated[str, typer.Argument(help="A query that returns material_id.")]


def cite(query: Query, root: Root = Path(), at: At = None, form: Output = Format.table,
         timeout: Timeout = TIMEOUT_S) -> None:
    """Print licences and BibTeX of the crystals that a query returns; what is printed is a .bib file.

    The query must return the column material_id. Licences and works are those of the published version, or of --at.
    """
    from features import about, catalog
    from features.catalog.citing import citing
    from features.store import revisions

    where = revisions.at(root, at)
    with aborting():
        found = citing(where, catalog.query(root, query, timeout, at), about.version(where, at))
    if form is Format.json:
        print(json.dumps(dataclasses.asdict(found), ensure_ascii=False))
        return
    if form is not Format.table:
        show(pa.Table.from_pylist([dataclasses.asdict(work) for work in found.works], schema=pa.schema([
            ("name", pa.string()), ("bibtex", pa.string()), ("rows", pa.int64()), ("crystals", pa.int64())])), form)
        return
    print(printable(f"% {_counted(found.rows, found.crystals)}; licences and works are those of {found.version}"))
    if found.without_id:
        print(f"% rows without material_id, whose licence nobody can tell: {found.without_id:,}")
    for licence in found.licences:
        print(printable(f"% licence {licence.license}: {_counted(licence.rows, licence.crystals)}"))
    if found.nameless:
        print(f"% crystals whose source names nobody to cite: {found.nameless:,}")
    for work in found.works:
        print(f"\n% for {_counted(work.rows, work.crystals)}")
        print("\n".join(map(printable, work.bibtex.split("\n"))))


def _counted(rows: int, crystals: int) -> str:
    return f"{rows:,} row{'' if rows == 1 else 's'} of {crystals:,} crystal{'' if crystals == 1 else 's'}"
