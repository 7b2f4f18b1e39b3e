"""Training sets from the command line."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pyarrow.parquet as pq
import typer

from features.commands.options import At, Output, Root
from features.commands.output import Format, show
from features.commands.query import aborting
from features.errors import UserError
from features.printing import print_table
from features.progress import say
from features.store.files import beside
from features.terminal import printable

if TYPE_CHECKING:
    from features.training_sets import TrainingSet

ENDINGS = (".json", ".parquet")


def training_set(
    target: Annotated[str, typer.Option(help="Property to learn: a column of materials, or one of your own.")],
    views: Annotated[str, typer.Option(help="Tables, or columns as table.column, separated by commas.")]
    = "structures,descriptions",
    split: Annotated[str | None, typer.Option(help="fold-N tests fold N; the table splits by default.")] = None,
    optional: Annotated[str, typer.Option(help="Those of the tables that a crystal may have no row in.")] = "",
    also: Annotated[str, typer.Option(help="Further targets, of training crystals.")] = "",
    where: Annotated[str, typer.Option(help="Condition in SQL on the columns of materials: 'nsites <= 50'.")] = "",
    out: Annotated[Path | None, typer.Option(help="Also write the set (FILE.json), or its joined rows "
                                                  "(FILE.parquet).")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop with exit code 2 where the set leaks.")] = False,
    root: Root = Path(),
    at: At = None,
    form: Output = Format.table,
) -> None:
    """Name the rows that a model is to learn from, and check what they give away. csv and parquet print its crystals.
    """
    from features.training_sets import training_set as made

    if out is not None and (out.suffix not in ENDINGS or not out.absolute().parent.is_dir()):
        raise UserError(f"--out: {out} must end in {' or '.join(ENDINGS)} and lie in a folder that is there")
    with aborting():
        chosen = made(target, _listed(views), split, at, root, optional=_listed(optional), also=_listed(also),
                      where=where, strict=strict)
    if form is Format.json:
        print(json.dumps(chosen.to_dict(), ensure_ascii=False))
    elif form is Format.table:
        _describe(chosen)
    else:
        show(chosen.rows, form)
    if out is not None:
        _write(chosen, out)
        say(f"{chosen.name} is written to {out}")


def _describe(chosen: TrainingSet) -> None:
    made_from = f"revision {chosen.revision[:8]}" if chosen.revision else f"version {chosen.version}" \
        if chosen.version else "the work tree"
    print(printable(f"{chosen.name}: {chosen.in_words()} of {made_from}"))
    print_table(["view", "version", "columns", "rows", "digest"], [
        [name, view.version, len(view.columns), view.rows, view.digest[:16]] for name, view in chosen.views.items()])
    for finding in chosen.findings:
        print(printable(f"{'LEAK. ' if finding.leak else ''}{finding.message}"))
    if not any(finding.leak for finding in chosen.findings):
        print("no leak: no group, formula, crystal or description is on two sides, and no number among the inputs "
              "follows the target")


def _write(chosen: TrainingSet, out: Path) -> None:
    if out.suffix == ".json":
        chosen.save(out)
        return
    batches = chosen.batches()
    first = next(batches)
    schema = first.schema.with_metadata({"training_set": chosen.name})
    with beside(out) as draft, pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for batch in chain([first], batches):
            writer.write_table(batch.replace_schema_metadata(schema.metadata))


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
