"""What a refresh did, as Markdown for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from features.catalog import diff_report
from features.catalog.diff import TableChange
from features.catalog.diff_columns import Move
from pipelines.refresh.renew import Renewal

SHOWN = 10
"""How many ids, rejects and columns are listed; `data/.refresh/report.json` has all."""


def markdown(done: Renewal) -> str:
    """The whole report."""
    if done.nothing_new:
        return f"# {_capital(done.headline())}\n"
    changes = done.changes
    parts = [f"# {_capital(done.headline())}\n", "## Stages that ran\n", _table(
        ("stage", "rows in", "computed", "reused", "rejected", "seconds", "digest"),
        ((stage, *(counts.get(name, "") for name in ("wanted", "computed", "reused", "rejected")),
          f"{counts['seconds']:.1f}", str(counts.get("digest", ""))[:12]) for stage, counts in done.stages.items()))]
    if changes.tables:
        parts += ["## Tables\n", _table(
            ("table", "rows before", "rows now", "added", "changed", "removed", "part files written"),
            ((change.table, *change.rows, len(change.added), len(change.changed), len(change.removed),
              f"{change.parts[0]} of {change.parts[1]}") for change in changes.tables))]
        parts += [_ids(change) for change in changes.tables if change.table == "materials"]
        parts += [*_columns(changes.tables)]
    if changes.newly_rejected:
        parts += [f"## Newly rejected ({len(changes.newly_rejected)})\n", _table(
            ("table", "crystal", "error", "why"),
            ((row["view"], row["material_id"], row["error"], row["message"])
             for row in changes.newly_rejected[:SHOWN]))]
    drift = sorted(((change.table, moved) for change in changes.tables for moved in change.drift),
                   key=lambda item: -item[1].distance)
    if drift:
        parts += ["## Drift\n", "Distance is Kolmogorov–Smirnov's, 0 (the same distribution) to 1.\n", _table(
            ("column", "mean before", "mean now", "missing before", "missing now", "distance"),
            ((f"{table}.{moved.column}", *map(_number, moved.mean), *(f"{share:.1%}" for share in moved.missing),
              f"{moved.distance:.3f}") for table, moved in drift[:SHOWN]))]
    if done.metrics:
        parts += ["## Metrics\n", _table(
            ("metric", "before", "now"),
            ((name, *map(_number, values)) for name, values in done.metrics.items()
             if not name.endswith(("_low", "_high"))))]
    return "\n".join(parts)


def _columns(changes: Sequence[TableChange]) -> Iterator[str]:
    """What made them, their schemas, and the columns whose values are others in rows that were there before."""
    lines = [f"{change.table}: {line}\n" for change in changes for line in (
        *change.why, *(f"column {column.column}: {column.before or 'none'} → {column.after or 'none'}"
                       for column in change.schema))]
    moved = sorted(((change.table, column) for change in changes for column in diff_report.unequal(change)),
                   key=lambda item: item[1].share or 0)
    if lines or moved:
        yield "## Columns\n"
    yield from lines
    if moved:
        yield _table(("column", "equal", "largest move of", "before", "now"), (
            (f"{table}.{column.column}", diff_report.share(column), move.row, *_sides(move))
            for table, column in moved[:SHOWN] for move in column.moves[:1]))


def _sides(move: Move) -> tuple[str, str]:
    if move.words:
        return _only(move.words, "-"), _only(move.words, "+")
    return diff_report.sides(move.before, move.after)


def _only(words: Sequence[tuple[str, str]], sign: str) -> str:
    """One side of a diff of words, in one line."""
    return diff_report.value("".join(text for kind, text in words if kind in (sign, " ", "…")).strip())


def _ids(change: TableChange) -> str:
    lines = []
    for kind in ("added", "changed", "removed"):
        ids = getattr(change, kind)
        if ids:
            more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
            lines.append(f"{_capital(kind)}: {', '.join(ids[:SHOWN])}{more}\n")
    return "\n".join(lines)


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
