"""What changed between two versions of the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from features.commands.options import Root
from features.paths import Paths
from features.store import revisions, tables

Before = Annotated[str, typer.Argument(metavar="A", help="A git revision, the id of a published version, or `work`.")]
After = Annotated[str, typer.Argument(metavar="B", help="The same; left out: what is published now.")]
Table = Annotated[str | None, typer.Argument(metavar="TABLE", help="Of this table alone.")]
Json = Annotated[bool, typer.Option("--json", help="All of it as JSON.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write all of it as one page, too.")]


def diff(before: Before, after: After = revisions.PUBLISHED, table: Table = None, root: Root = Path(),
         as_json: Json = False, html: Html = None) -> None:
    """Compare two versions of the tables: columns, rows, values, distributions, rejects."""
    import json
    from dataclasses import asdict

    from features.catalog import diff_report
    from features.catalog.diff import compare
    from features.catalog.diff_columns import plain
    from features.errors import UserError
    from features.progress import conclude
    from features.store.files import write_text

    old = revisions.at(root, before)
    if table is None and after in {*tables.names(old), *tables.names(revisions.at(root))}:
        after, table = revisions.PUBLISHED, after  # a revision of that name is `heads/…` or `tags/…`
    new = revisions.at(root, after)
    for where in (old, new):
        if not tables.names(where):
            raise UserError(f"there are no tables under {Paths(where).features} yet; run `dvc repro` to make them")
    changes = compare(old, new, [table] if table else [])
    if html is not None:
        write_text(html, diff_report.page(changes, before, after))
        conclude(f"{html} is written")
    if as_json:
        told = plain({"before": before, "after": after, **asdict(changes)})
        print(json.dumps(told, ensure_ascii=False, allow_nan=False))
    elif html is None:
        diff_report.show(changes, before, after)
