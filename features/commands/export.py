"""Tables for the tools of others."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from features.commands.options import At, Root
from features.errors import UserError
from features.paths import Paths
from features.progress import say
from features.store import revisions
from features.terminal import printable


class To(enum.StrEnum):
    """Whom an export is for."""

    huggingface = "huggingface"
    torch = "torch"
    csv = "csv"


Kind = Annotated[To, typer.Option("--to", help="huggingface: Parquet with a card and Croissant. torch: safetensors "
                                               "with an index. csv: one file a table, lists as JSON.")]
Names = Annotated[str | None, typer.Option("--tables", help="Tables, parted by commas. Default: all that have rows; "
                                                            "for torch what a training needs.")]
Target = Annotated[str | None, typer.Option(help="For torch: the one property that is taken from materials.")]
BySplit = Annotated[bool, typer.Option("--by-split", help="For huggingface: train, validation and test of the table "
                                                          "splits as splits of every table.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace an earlier export.")]


def export(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")], to: Kind,
           names: Names = None, target: Target = None, by_split: BySplit = False, replace: Replace = False,
           root: Root = Path(), at: At = None) -> None:
    """Write tables for the tools of others into a folder, whole or not at all."""
    from features import about, exporting
    from features.exporting import csv_files, huggingface, tensors

    if target is not None and to is not To.torch:
        raise UserError("--target goes with --to torch")
    if by_split and to is not To.huggingface:
        raise UserError("--by-split goes with --to huggingface")
    if Paths(root).data.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise UserError(f"{printable(str(folder))} lies in the data of the project, which belong to its stages; give "
                        "another folder")
    if names is not None and not names.replace(",", "").strip():
        raise UserError("--tables names no table")
    where = revisions.at(root, at)
    if names is None and to is To.torch:
        names = ",".join(name for name in tensors.DEFAULT if name in about.parts(where)) or None
    chosen = about.chosen(where, names)
    if target is not None and about.CRYSTALS not in chosen:
        raise UserError(f"--target is a column of {about.CRYSTALS}, which is not among the tables")
    called = about.version(where, at)
    with exporting.whole(folder, replace) as draft:
        if to is To.huggingface:
            huggingface.export(where, called, chosen, draft, by_split)
        elif to is To.torch:
            tensors.export(where, called, chosen, draft, target)
        else:
            csv_files.export(where, called, chosen, draft)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    count = f"{len(chosen)} {'table' if len(chosen) == 1 else 'tables'}"
    say(f"{count} of {called} written to {printable(str(folder))} ({size / 1e6:,.1f} MB)")
