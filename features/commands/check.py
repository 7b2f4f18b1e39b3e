"""Whether the tables are what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from features.commands.options import At, Output, Root
from features.commands.output import Format, show
from features.errors import UserError
from features.paths import Paths
from features.store import revisions, tables, versions

Tables = Annotated[list[str] | None, typer.Argument(help="Tables to check; all of them, and the model, if none is "
                                                         "named.")]
COLUMNS = pa.schema([("table", pa.string()), ("part", pa.string()), ("row", pa.int64()), ("ids", pa.list_(pa.string())),
                     ("problem", pa.string()), ("is_error", pa.bool_())])


def validate(names: Tables = None, root: Root = Path(), at: At = None, form: Output = Format.table) -> None:
    """Check everything on disk: files, columns, footers, each row's place, order and values, orphans, rejects, model.

    Prints a line for each problem. Exit code 2 if there is an error; warnings, such as a source's own odd values, are
    none.
    """
    from features.catalog import validate as checks

    where = revisions.at(root, at)
    chosen = list(dict.fromkeys(names or tables.names(where)))
    if unknown := [name for name in chosen if name not in tables.names(where)]:
        raise UserError(f"no table '{unknown[0]}'; there are: {', '.join(tables.names(where)) or 'none yet'}")
    published = versions.read_manifest(root)
    is_current = published is not None and where == Paths(root).version(published.version)
    found = list(checks.problems(where, names, published.outputs if published and is_current else None))
    if form is Format.table:
        for problem in found:
            print(problem)
    else:
        show(pa.Table.from_pylist([{"table": problem.table, "part": problem.part, "row": problem.row,
                                    "ids": list(problem.ids), "problem": problem.what, "is_error": problem.is_error}
                                   for problem in found], schema=COLUMNS), form)
    what = f"revision {at}" if at else f"version {where.name}" if where != root else \
        "the work tree, since nothing is published,"
    if wrong := [problem for problem in found if problem.is_error]:
        places = {problem.table for problem in wrong}
        count = "1 problem" if len(wrong) == 1 else f"{len(wrong)} problems"
        raise UserError(f"{count} in {', '.join(sorted(places))} of {what.rstrip(',')}; the first is {wrong[0]}")
    if form is Format.table:
        print(f"1 table of {what} is valid" if len(chosen) == 1 else f"{len(chosen)} tables of {what} are valid")
