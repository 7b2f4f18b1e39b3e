"""Tables for people: aligned on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from features.terminal import printable

DIGITS = 8
"""Significant digits of a floating-point number; `--format json` and `csv` give all."""
ITEMS = 4
"""Items that a terminal shows of a list or map that has no room there: a vector has hundreds."""
LINES = 3
"""Lines that a list or map may take on a terminal."""
GAP = 3
"""Characters between two columns of a terminal's table."""
READABLE = 12
"""Narrowest column, in characters, that a longer text still reads well in."""

_NUMBER = re.compile(r"[-+−±]?[\d,]*\.?\d+(e[-+]?\d+)?%?|–|nan|-?inf", re.IGNORECASE)


def print_table(names: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[bool] | None = None,
                goes_on: Sequence[int] | None = None) -> list[int]:
    """Print rows under their names to standard output, numbers to the right and words to the left.

    A terminal gets a table that fits it; where names would break or texts be too narrow to read, one line for each
    value instead. Lists and maps are whole where there is room. Anything else gets one line for each row, with nothing
    cut off and no control characters. `numbers` says which columns are numbers; without it, those are that hold nothing
    but numbers, or texts that look like them.

    Returns the widths of the columns. A table that `goes_on` has been begun with these widths, which its rows keep
    where they are plain lines, and names its columns no second time.
    """
    console = Console(file=sys.stdout, highlight=False)
    rows = list(rows)
    names = [_cell(name) for name in names]
    lines = [[_cell(value) for value in row] for row in rows]
    if numbers is None:
        numbers = [_all_numbers([line[place] for line in lines]) for place in range(len(names))]
    widths = list(goes_on or (max(map(cell_len, column)) for column in zip(names, *lines, strict=True)))
    if not console.is_terminal:
        for line in lines if goes_on else (names, *lines):
            print(_plain(line, widths, numbers))
        return widths
    if sum(widths) + GAP * (len(widths) - 1) > console.width:
        short = [[_cell(value, ITEMS) for value in row] for row in rows]
        tight = [_fitting(line, shorter, LINES * READABLE) for line, shorter in zip(lines, short, strict=True)]
        least = [max(cell_len(name), min(max(map(cell_len, (name, *column))), width if number else READABLE))
                 for name, width, number, *column in zip(names, widths, numbers, *tight, strict=True)]
        if sum(least) + GAP * (len(least) - 1) > console.width:
            room = LINES * max(READABLE, console.width - max(map(cell_len, names)) - 2)
            for number, (line, shorter) in enumerate(zip(lines, short, strict=True), start=1):
                console.print(Text(f"row {number}", style="bold"))
                console.print(_record(names, _fitting(line, shorter, room)))
            return widths
        lines = tight
    console.print(_table(names, lines, numbers))
    return widths


def _fitting(cells: Sequence[str], shorter: Sequence[str], room: int) -> list[str]:
    """Cells that have room as they are, and the others shorter."""
    return [cell if cell_len(cell) <= room else short for cell, short in zip(cells, shorter, strict=True)]


def _cell(value: object, items: int | None = None) -> str:
    """A value in words. Line breaks become spaces, so that a row stays one line; a missing value is `null`. `items`:
    how many of a list or map, all of them if None."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    if isinstance(value, list | tuple | dict):
        pairs = isinstance(value, dict)
        words = [f"{printable(str(name))}: {_cell(item, items)}" for name, item in list(value.items())[:items]] \
            if isinstance(value, dict) else [_cell(item, items) for item in value[:items]]
        more = [f"… {len(value)} items"] if len(words) < len(value) else []
        return ("{%s}" if pairs else "[%s]") % ", ".join(words + more)
    return printable(re.sub(r"[\r\n\t]", " ", str(value)))


def _all_numbers(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell not in ("", "null")]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _plain(row: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    padded = [" " * (width - cell_len(cell)) + cell if number else cell + " " * (width - cell_len(cell))
              for cell, width, number in zip(row, widths, numbers, strict=True)]
    return "  ".join(padded).rstrip()


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for name, number in zip(names, numbers, strict=True):
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold", no_wrap=number,
                         min_width=cell_len(name))  # a name that breaks reads as several
    for row in rows:
        table.add_row(*map(Text, row))  # `Text`: a cell may hold what rich takes for markup
    return table


def _record(names: Sequence[str], row: Sequence[str]) -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, cell in zip(names, row, strict=True):
        table.add_row(Text(name), Text(cell))
    return table
