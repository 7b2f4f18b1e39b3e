"""Where rows come from, and whom to cite for them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from features import registry
from features.commands.options import At, Output, Root
from features.commands.output import Format, show
from features.store import revisions
from features.terminal import printable

Crystal = Annotated[str, typer.Argument(metavar="ID", help="Id of a crystal, such as mp-149.")]
Table = Annotated[str | None, typer.Argument(help="One table; all of them without it.")]
WIDTH = 13


def why(material_id: Crystal, table: Table = None, root: Root = Path(), at: At = None,
        form: Output = Format.table) -> None:
    """Say where the rows of a crystal come from, and what would compute them again today.

    For each table: row or reject and why, source, stage, parameters, libraries, fingerprint, when it was computed.
    """
    from features.catalog import lineage
    from features.catalog import why as reasons

    where = revisions.at(root, at)
    answers = reasons.why(root, where, material_id, table)
    if form not in (Format.table, Format.json):
        show(lineage.of_crystals(where, [material_id], [answer.table for answer in answers]), form)
        return
    if form is Format.json:
        print(json.dumps([vars(answer) | {"remark": reasons.remarks(registry.view_named(answer.table))}
                          for answer in answers], default=str, ensure_ascii=False))
        return
    _print_source(material_id, answers)
    for answer in answers:
        print()
        _print_table(answer, reasons.remarks(registry.view_named(answer.table)))


def _print_source(material_id: str, answers: list[Any]) -> None:
    print(printable(material_id))
    row: dict[str, Any] = next((row for answer in answers for row in answer.rows), {})
    for title, names in (("source", ("source", "source_version")), ("licence", ("license",)), ("cite", ("citation",))):
        words = ", ".join(str(row[name]) for name in names if row.get(name))
        if words:
            _print_line(title, words)


def _print_table(answer: Any, remark: str) -> None:
    if not answer.rows:
        print(printable(f"{answer.table}: no row, since {answer.absent}"))
        return
    for _, group in itertools.groupby(answer.rows, lambda row: (row["status"], row["part"], row["fingerprint"],
                                                                row["message"])):
        rows = list(group)
        one, numbers = rows[0], [row["row"] for row in rows]
        place = f"{one['status']} {numbers[0]}" if len(rows) == 1 else \
            f"{len(rows)} {one['status']}s from {numbers[0]} to {numbers[-1]}"
        variant = "" if one["variant"] is None else f", variant {one['variant']}"
        print(printable(f"{answer.table}: {place} of {one['part']}{variant}"))
        if one["status"] == "reject":
            _print_line("why", f"{one['error']}: {one['message']}")
        if one["fingerprint"]:
            _print_line("fingerprint", one["fingerprint"])
        if one["status"] == "row" and registry.view_named(answer.table):
            moment = one["computed_at"]
            _print_line("computed", f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "not known")
    if one["stage"]:
        _print_line("stage", f"{one['stage']}, version {one['version']}")
    for title, content in (("parameters", one["params"]), ("libraries", one["libraries"])):
        if values := json.loads(content or "{}"):
            _print_line(title, ", ".join(f"{name} {value if isinstance(value, str) else json.dumps(value)}"
                                         for name, value in values.items()))
    if one["weights"]:
        _print_line("weights", one["weights"])
    _print_line("today", "; ".join(answer.now) or "nothing computes it again")
    if remark:
        _print_line("", remark)


def _print_line(title: str, words: str) -> None:
    print(f"  {title:{WIDTH}}{printable(words)}")
