"""The grammar of CIF, by gemmi, and the values of one block under their names.

Files are written by hand, by old programs and by people with accents in their names. What has no bearing on the
crystal is forgiven here; nothing is guessed that has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gemmi import cif

from features.errors import RowError

NEEDED = ("_cell_", "_cell.", "_atom_site", "_symmetry", "_space_group", "_chemical_formula_sum",
          "_chemical_formula.sum", "_exptl_crystal", "_cell_formula")
"""Beginnings of the tags that say something about the crystal; a broken line of any other is left out."""

_BREAKS = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_MINUS = re.compile("[\u2010-\u2015\u2212\ufe63\uff0d]")
_SPACES = re.compile("[\u00a0\u2000-\u200b\u202f\u205f\u3000\ufeff\x1a]")
_STRANGE = re.compile(r"[^\t\n -~]")
_HEADER = re.compile(r"^data_", re.IGNORECASE | re.MULTILINE)
_CONTENT = re.compile(r"^[^\S\n]*(_|loop_)", re.IGNORECASE | re.MULTILINE)
_PAIR = re.compile(r"\s*(_\S+)\s+\S")
_WHERE = re.compile(r"^string:(\d+):\d+(?:\(\d+\))?:\s*(.*)$", re.DOTALL)
_CIF2 = re.compile(r"\A#\\#CIF_2")
REPAIRS = 20
"""Most broken values and loops that are left out of one file."""


def parse(text: str) -> cif.Document:
    """The blocks of a file. Raises `RowError` (`unreadable`, with the line) if it is no CIF."""
    if "\0" in text:
        raise RowError("unreadable", "the file is not text: it holds NUL bytes")
    plain = _plain(text)
    if not plain.strip():
        raise RowError("empty", "the file is empty")
    plain = _with_header(plain)
    for _ in range(REPAIRS):
        try:
            return cif.read_string(plain, 0)
        except ValueError as error:
            line, reason = _place(error)
            lines = plain.split("\n")
            broken = _needless(lines, line - 1)
            if not broken:
                raise _syntax_error(plain, lines, line, reason) from None
            lines[broken.start:broken.stop] = [""] * len(broken)
            plain = "\n".join(lines)
    raise RowError("unreadable", f"the file is no CIF: more than {REPAIRS} values and loops break its grammar")


def _plain(text: str) -> str:
    """ASCII with plain line breaks. Typographic minus signs and blanks are what they look like, other letters `*`."""
    text = _BREAKS.sub("\n", text)
    if not text.isascii() or "\x1a" in text:
        text = _SPACES.sub(" ", _MINUS.sub("-", text))
    return _STRANGE.sub("*", text)


def _with_header(text: str) -> str:
    """A file without any `data_` line is one block."""
    return text if _HEADER.search(text) or not _CONTENT.search(text) else f"data_\n{text}"


def _place(error: ValueError) -> tuple[int, str]:
    match = _WHERE.match(str(error))
    return (int(match[1]), match[2]) if match else (0, str(error))


def _needless(lines: list[str], index: int) -> range:
    """The lines of the broken value or loop at a line, if it has no bearing on the crystal; none otherwise."""
    if not 0 <= index < len(lines):
        return range(0)
    pair = _PAIR.match(lines[index])
    if pair is not None:
        return range(0) if pair[1].lower().startswith(NEEDED) else range(index, index + 1)
    if lines[index].strip().lower() != "loop_":
        return range(0)
    values = end = next((k for k in range(index + 1, len(lines)) if not lines[k].lstrip().startswith("_")), len(lines))
    if any(tag.strip().lower().startswith(NEEDED) for tag in lines[index + 1:values]):
        return range(0)
    while end < len(lines) and not _CONTENT.match(lines[end]) and not _HEADER.match(lines[end]):
        if lines[end].startswith(";"):
            return range(0)  # where a text of several lines ends is no longer certain
        end += 1
    return range(index, end)


def _syntax_error(text: str, lines: list[str], line: int, reason: str) -> RowError:
    if not _HEADER.search(text):
        return RowError("unreadable", "the file is no CIF: it has neither a line that begins with data_ nor a tag")
    shown = lines[line - 1].strip()[:60] if 0 < line <= len(lines) else ""
    words = {"parse error": "a tag (_…), a value or loop_ is expected there"}.get(reason, reason.rstrip("_*").strip())
    version = " (the file says it is CIF 2.0, whose lists, tables and triple quotes are not read)" \
        if _CIF2.match(text) else ""
    where = f"line {line}: '{shown}'" if shown else f"line {line}" if line else "the file"
    return RowError("unreadable", f"{where} breaks the grammar of CIF: {words}{version}")


class Block:
    """Values of one block, by tag: lower case, and dots (CIF 2 dictionaries, mmCIF) as underscores.

    A tag that stands outside a loop has a column of one value.
    """

    def __init__(self, block: cif.Block) -> None:
        self.name: str = block.name.strip()
        self._columns: dict[str, tuple[int, list[str]]] = {}
        for number, (tags, values) in enumerate(items(block)):
            width = len(tags)
            for offset, tag in enumerate(tags):
                column = values[offset::width]
                first = self._columns.setdefault(normal(tag), (number, column))
                if first[1] != column and normal(tag).startswith(NEEDED) and not _null(first[1]) \
                        and not _null(column) and not _same(first[1], column):
                    raise RowError("unreadable", f"{tag} is given twice, with different values")
                if _null(first[1]):
                    self._columns[normal(tag)] = (number, column)

    def column(self, tag: str) -> list[str] | None:
        """Values of a tag as the file has them, without quotes; None if it is not there or has no values."""
        values = self._columns.get(tag, (0, []))[1]
        return [cif.as_string(value) for value in values] or None

    def columns(self, anchor: str, tags: tuple[str, ...]) -> dict[str, list[str]]:
        """Those of `tags` that stand in one loop with `anchor`, or are as long."""
        loop, values = self._columns.get(anchor, (-1, []))
        return {tag: [cif.as_string(value) for value in column] for tag in tags
                for number, column in [self._columns.get(tag, (-2, []))]
                if column and (number == loop or len(column) == len(values))}

    def nulls(self, tag: str) -> list[bool]:
        """For each value of a tag, whether it is `?` or `.`."""
        return [cif.is_null(value) for value in self._columns.get(tag, (0, []))[1]]

    def text(self, *tags: str) -> str | None:
        """The first of the tags that has one value, and not `?` or `.`."""
        for tag in tags:
            values = self._columns.get(tag, (0, []))[1]
            if len(values) == 1 and not _null(values):
                return " ".join(cif.as_string(values[0]).split())
        return None

    def has(self, *beginnings: str) -> str | None:
        """A tag that begins so and has a value; None if there is none."""
        return next((tag for tag, (_, values) in self._columns.items()
                     if tag.startswith(beginnings) and not _null(values)), None)


def number(text: str) -> float:
    """A number as CIF writes it, `1.234(5)`, or a fraction such as `1/3`; NaN if it is none."""
    if "/" in text:
        above, _, below = text.partition("/")
        if above.strip().lstrip("+-").isdigit() and below.strip().isdigit() and int(below):
            return int(above) / int(below)
        return float("nan")
    value: float = cif.as_number(text.strip())
    return value


def items(block: cif.Block) -> Iterator[tuple[list[str], list[str]]]:
    """Tags and values, row after row, of each loop that concerns the crystal; a tag outside a loop is a loop of one."""
    for item in block:
        pair, loop = item.pair, item.loop
        if pair is not None:
            yield [str(pair[0])], [str(pair[1])]  # type: ignore[index]
        # values of long lists of reflections and of bonds are not needed
        elif loop is not None and any(normal(tag).startswith(NEEDED) for tag in loop.tags):
            yield loop.tags, loop.values


def normal(tag: str) -> str:
    """A tag as `Block` names it."""
    return tag.lower().replace(".", "_")


def _null(values: list[str]) -> bool:
    return all(cif.as_string(value).strip() in ("", "?", ".") for value in values)


def _same(one: list[str], other: list[str]) -> bool:
    return len(one) == len(other) and all(
        cif.as_string(a).split() == cif.as_string(b).split() or cif.as_number(a) == cif.as_number(b)
        for a, b in zip(one, other, strict=True))
