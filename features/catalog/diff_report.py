"""Differences of two versions for people: on a terminal, and as one page that opens from disk and asks nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from features.catalog.diff import Changes, TableChange
from features.catalog.diff_columns import ColumnChange, Move, shared
from features.printing import DIGITS, print_table
from features.terminal import printable

IDS = 10
"""Ids, rejects and columns that a terminal shows of many; `--json` gives all."""
CUT = 80
"""Characters of a value."""
AROUND = 20
"""Of these, what may stand before the first that differs."""


def show(changes: Changes, before: str, after: str) -> None:
    """Print all that changed to standard output."""
    _say(headline(changes, before, after))
    if alike := [change.table for change in changes.tables if not change.is_seen]:
        _say(f"other bytes, but the same rows: {', '.join(alike)}")
    for change in (change for change in changes.tables if change.is_seen):
        _say(f"\n{change.table}: {rows(change)}")
        for line in (*change.why, *ids(change)):
            _say(f"  {line}")
        if change.schema:
            print()
            print_table(("column", "type before", "type now"), (
                (column.column, *sides(column.before or "–", column.after or "–")) for column in change.schema))
        columns = unequal(change)
        if columns:
            print()
            print_table(("column", "equal", "row", "before", "now", "by"), _moves(columns))
        if change.drift:
            print()
            print_table(("drift of", "mean before", "mean now", "missing before", "missing now", "distance"), (
                (moved.column, *moved.mean, *(f"{share:.1%}" for share in moved.missing), round(moved.distance, 3))
                for moved in change.drift[:IDS]))
        for name, move in ((column.column, move) for column in columns for move in column.moves[:1] if move.words):
            words = "".join(_marked(kind, text) for kind, text in move.words or ())
            _say(f"\n  {name} of {move.row}: {' '.join(words.split())}")
    for title, rejects in (("newly rejected", changes.newly_rejected),
                           ("no longer rejected", changes.no_longer_rejected)):
        if rejects:
            _say(f"\n{title}: {len(rejects):,}")
            print_table(("table", "crystal", "error", "why"), (
                (row["view"], row["material_id"], row["error"], row["message"][:CUT]) for row in rejects[:IDS]))


def headline(changes: Changes, before: str, after: str) -> str:
    """All of it in one line."""
    rejects = [f"{len(some):,} {what}" for some, what in ((changes.newly_rejected, "newly rejected"),
                                                         (changes.no_longer_rejected, "no longer rejected")) if some]
    count = sum(change.is_seen for change in changes.tables)
    differ = f"{count or 'no'} table{'s differ' if count > 1 else ' differs'}"
    return f"{before} → {after}: {'; '.join([differ, *rejects])}"


def rows(change: TableChange) -> str:
    """What became of the rows of a table."""
    counts = change.counts
    moved = [f"{count:,} {what}" for count, what in ((counts.added, "added"), (counts.removed, "removed"),
                                                     (counts.changed, "changed")) if count]
    before, after = change.rows
    total = f"{before:,} → {after:,} rows" if before != after else f"{after:,} rows"
    return (f"{total}; {', '.join(moved) or 'none changed'} (by {', '.join(change.key)}); "
            f"{change.parts[0]} of {change.parts[1]} part files")


def ids(change: TableChange) -> Iterator[str]:
    """Which crystals, as far as there is room."""
    for kind in ("added", "removed", "changed"):
        found = getattr(change, kind)
        if found:
            more = f" and {len(found) - IDS:,} more" if len(found) > IDS else ""
            yield f"{kind}: {', '.join(found[:IDS])}{more}"


def unequal(change: TableChange) -> list[ColumnChange]:
    """The columns of which a value changed."""
    return [column for column in change.columns if column.equal < column.rows]


def share(column: ColumnChange) -> str:
    """Share of equal values, which is 100 % only if all are; of a column that has become one of another kind, that."""
    if not column.is_comparable:
        return "not comparable"
    part = column.share
    if part is None:
        return ""
    return f"{min(part, 0.9999):.2%}" if column.equal < column.rows else "100%"


def value(content: Any) -> str:
    """A value in few characters."""
    return cut(_whole(content))


def cut(text: str) -> str:
    return text if len(text) <= CUT else f"{text[:CUT]}…"


def sides(before: Any, after: Any) -> tuple[str, str]:
    """Two values in few characters, so that what they differ by is among them."""
    one, other = _whole(before), _whole(after)
    start = shared(one, other) - AROUND
    if start <= 0 or max(len(one), len(other)) <= CUT:
        return cut(one), cut(other)
    return cut(f"…{one[start:]}"), cut(f"…{other[start:]}")


def _whole(content: Any) -> str:
    if content is None:
        return "null"
    return f"{content:.{DIGITS}g}" if isinstance(content, float) else " ".join(str(content).split())


def _moves(columns: Sequence[ColumnChange]) -> Iterator[tuple[str, ...]]:
    for column in columns:
        for number, move in enumerate(column.moves[:3] if len(columns) <= IDS else column.moves[:1]):
            first = (column.column, share(column)) if number == 0 else ("", "")
            yield (*first, move.row, *_sides(move), "" if move.by is None else value(float(move.by)))


def _sides(move: Move) -> tuple[str, str]:
    if move.words:
        return "…", "see below"
    place = "" if move.item is None else f"[{move.item}] "
    before, after = sides(move.before, move.after)
    return f"{place}{before}", f"{place}{after}"


def _marked(kind: str, text: str) -> str:
    """As `git diff --word-diff` marks them."""
    return {"-": f"[-{text}-]", "+": f"{{+{text}+}}"}.get(kind, text)


def _say(line: str) -> None:
    print(printable(line))


def page(changes: Changes, before: str, after: str) -> str:
    """One HTML page with all of it: without scripts, and its own policy lets nothing be fetched."""
    import jinja2

    source = resources.files("features.catalog").joinpath("diff.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    environment.filters |= {"value": value, "share": share, "rows": rows, "sides": sides, "unequal": unequal}
    return environment.from_string(source).render(changes=changes, before=before, after=after, ids=IDS * 10,
                                                  headline=headline(changes, before, after))
