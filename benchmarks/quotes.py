"""Figures of docs/benchmarks.csv where README.md and the pages of docs/ quote them.

Inside a sentence a page has `<!-- figure store.join -->0.25<!-- / -->`, of which the number is written here; after the
key a format may stand, such as `.2f`. The whole table stands between `<!-- figures -->` and `<!-- figures: end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks import sheet
from features.errors import UserError
from features.store.files import write_text

SHEET = Path("docs/benchmarks.csv")
_ONE = re.compile(r"(<!-- figure ([^\s>]+)(?: ([^\s>]+))? -->)[^<>]*(<!-- / -->)")
_ALL = re.compile(r"(<!-- figures -->\n)(?:(?!<!--).)*(\n<!-- figures: end -->)", re.DOTALL)
_MARK = re.compile(r"<!--\s*(?:figures?\b|/)")


def pages(root: Path) -> list[Path]:
    """All that may quote."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def quote(root: Path) -> list[Path]:
    """Write the figures into the pages. Returns those that said something else."""
    rows = sheet.read(root / SHEET)
    changed = {}
    for page in pages(root):
        try:
            before = page.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{page} is no text in UTF-8") from None
        after = quoted(before, rows, page.name)
        if after != before:
            changed[page] = after
    for page, after in changed.items():  # all of them, or none where one is wrong
        write_text(page, after)
    return list(changed)


def quoted(text: str, rows: Mapping[str, Mapping[str, str]], name: str) -> str:
    """A page with the figures of now.

    Raises `UserError`, which says `name`, where it quotes what is not there, or where a mark has not its other half.
    """
    marks, paired = len(_MARK.findall(text)), 2 * (len(_ONE.findall(text)) + len(_ALL.findall(text)))
    if marks != paired:
        raise UserError(f"{name} has {marks} marks of figures, of which {paired} are whole: `<!-- figure KEY -->` with "
                        "`<!-- / -->` behind a number, or `<!-- figures -->` with `<!-- figures: end -->`, each of "
                        "these two on a line of its own")

    def number(match: re.Match[str]) -> str:
        begin, key, form, end = match.groups()
        if key not in rows:
            raise UserError(f"{name} quotes {key}, which is not in {SHEET}")
        value = float(rows[key]["value"])
        try:
            return f"{begin}{format(value, form) if form else _rounded(value)}{end}"
        except ValueError:
            raise UserError(f"{name} quotes {key} in the format {form}, which is none of a number's") from None

    return _ALL.sub(lambda match: f"{match[1]}\n{table(rows)}\n{match[2]}", _ONE.sub(number, text))


def table(rows: Mapping[str, Mapping[str, str]]) -> str:
    """All figures, Markdown, and below it the machines."""
    machines = sorted({row["machine"] for row in rows.values()})
    lines = ["| what | value | bound | command | date |", "|---|---|---|---|---|"]
    for row in rows.values():
        what = f"{row['what']} ({row['note']})" if row["note"] else row["what"]
        value = f"{_rounded(float(row['value']))} {row['unit']}".rstrip()
        cells = (what, value, row["bound"], f"`{row['command']}`", row["date"])
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join([*lines, "", *(f"On {machine}." for machine in machines)])


def _rounded(value: float) -> str:
    """Three digits that count, without an exponent where numbers are of everyday size."""
    return f"{float(f'{value:.3g}'):,.10g}"
