"""What the tables hold, in numbers and on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import typer

from features.commands.options import At, Output, Root
from features.commands.output import Format, show
from features.errors import UserError
from features.paths import Paths
from features.progress import say
from features.store import revisions
from features.terminal import printable

SHOWN_WORDS = 5
Table = Annotated[str | None, typer.Argument(help="One table; all of them without it.")]


def profiles(table: Table = None, root: Root = Path(), at: At = None, form: Output = Format.table) -> None:
    """Show what the columns hold: missing and distinct values, range, mean, quantiles, most frequent words.

    For texts and lists the numbers are those of their lengths. The other formats give the whole table `profiles`.
    """
    from features import profiles as made

    where = revisions.at(root, at)
    names = list(made.digests(where))
    if not names:
        raise UserError(f"there are no tables under {Paths(where).features} yet; run `dvc repro` to make them")
    if table is not None and table not in names:
        raise UserError(f"no table '{printable(table)}'; there are: {', '.join(names)}")
    found = made.read(where, table)
    show(found if form is not Format.table else _for_people(found), form)


def _for_people(found: pa.Table) -> pa.Table:
    """The columns that fit a screen, with the median for the quantiles and the first words."""
    rows = []
    several = len(pc.unique(found["table_name"])) > 1
    for row in found.to_pylist():
        words = [f"{word['value']} ({word['count']:,})" for word in (row["words"] or [])[:SHOWN_WORDS]]
        rows.append(({"table": row["table_name"]} if several else {}) | {
            "column": row["column_name"], "unit": row["unit"] or "",
            "missing": f"{row['missing']:,} of {row['rows']:,}", "distinct": row["distinct"],
            "of": row["measure"] or "", "min": row["min"], "median": row["quantiles"][3] if row["quantiles"] else None,
            "max": row["max"], "mean": row["mean"], "most frequent": ", ".join(words)})
    return pa.Table.from_pylist(rows)


Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The HTML file.")]
Map = Annotated[bool, typer.Option("--map", help="With a map of all crystals by their descriptions.")]


def page(out: Out = Path("tables.html"), with_map: Map = False, root: Root = Path(), at: At = None) -> None:
    """Write one HTML file about all tables: meaning, columns, contracts, values, lineage, licence, example queries."""
    from features import about
    from features.page import write

    where = revisions.at(root, at)
    count = write(where, about.version(where, at), out, with_map)
    say(f"{count} {'table' if count == 1 else 'tables'} of {about.version(where, at)} written to {printable(str(out))}")
