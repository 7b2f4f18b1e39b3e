"""Extended XYZ: one frame with a lattice (https://github.com/libAtoms/extxyz).

A library reads this format too, but stops at columns that nobody asks for, does not know deuterium, and takes an error
in a file for one of the disk.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from features.bounds import Bounds
from features.errors import RowError
from features.formats.lines import element, is_integer, lines_of, number, numbers, periodic_structure, quoted

DEFAULT = "species:S:1:pos:R:3"
TRUE, FALSE = {"t", "true", "1", ".true."}, {"f", "false", "0", ".false."}
VALUE = r"""\s*=\s*("(?:\\.|[^"])*"|'[^']*'|\{[^}]*\}|\[(?:[^][]|\[[^][]*\])*\]|\S+)"""
"""What follows a key: a quoted text, a list in brackets (of lists), or one word."""


def read(text: str, bounds: Bounds) -> Any:
    """The pymatgen `Structure` of a file with one frame, periodic in three dimensions."""
    lines = lines_of(text.rstrip())
    if not is_integer(lines[0]):
        raise RowError("unreadable", f"line 1: the number of atoms is expected; found {quoted(lines[0].split())}")
    bounds.check_sites(int(lines[0]))
    count, comment = int(lines[0]), lines[1] if len(lines) > 1 else ""
    matrix = _lattice(comment)
    columns = _columns(comment)
    symbol_at, place_at = columns.get("species", columns.get("z")), columns.get("pos")
    if symbol_at is None or place_at is None:
        raise RowError("unreadable", "line 2: Properties must name the columns species (or Z) and pos")
    _one_frame(lines, count)
    species, positions = [], []
    for nth, line in enumerate(lines[2:count + 2], start=1):
        where, tokens = f"line {nth + 2}", line.split()
        if len(tokens) <= symbol_at:
            raise RowError("unreadable", f"{where}: atom {nth} of {count} is expected; found {quoted(tokens)}")
        species.append(element(_symbol(tokens[symbol_at], "species" not in columns, where), where))
        positions.append(numbers(tokens[place_at:], where, f"the position of atom {nth} of {count}, in Å"))
    return periodic_structure(matrix, species, positions, cartesian=True)


def _value(comment: str, key: str) -> str | None:
    found = re.search(rf"(?<![\w-]){key}{VALUE}", comment, re.IGNORECASE)
    return None if found is None else found[1].strip("\"'")


def _words(value: str) -> list[str]:
    return re.sub(r"[][{},]", " ", value).split()


def _lattice(comment: str) -> Any:
    """Cell vectors as rows, Å. Raises `RowError` if there are none, or not in three dimensions."""
    written = _value(comment, "lattice")
    if written is None:
        raise RowError("not_periodic", 'line 2 has no Lattice="…": a molecule or cluster, no periodic crystal')
    found = [value for word in _words(written) if (value := number(word)) is not None]
    if len(found) != 9 or len(_words(written)) != 9:
        raise RowError("unreadable", f'line 2: Lattice="…" with nine numbers is expected; found {quoted([written])}')
    flags = [word.lower() for word in _words(_value(comment, "pbc") or "T T T")]
    if len(flags) != 3 or not set(flags) <= TRUE | FALSE:
        raise RowError("unreadable", f"line 2: pbc with three T or F is expected; found {quoted(flags)}")
    if not set(flags) <= TRUE:
        raise RowError("not_periodic", f"line 2 says pbc=\"{' '.join(flags).upper()}\": the structure is not periodic "
                                       "in three dimensions")
    return np.array(found).reshape(3, 3)


def _columns(comment: str) -> dict[str, int]:
    """Name of each property, in small letters → the column at which it begins."""
    parts = (_value(comment, "properties") or DEFAULT).split(":")
    if len(parts) % 3 or not all(width.isdigit() for width in parts[2::3]):
        raise RowError("unreadable", f"line 2: Properties=name:type:columns:… is expected; found {quoted(parts)}")
    columns, at = {}, 0
    for name, width in zip(parts[::3], parts[2::3], strict=True):
        columns[name.lower()] = at
        at += int(width)
    return columns


def _symbol(token: str, is_atomic_number: bool, where: str) -> str:
    if not is_atomic_number:
        return token
    from pymatgen.core import Element

    if not token.isdecimal() or not 0 < int(token) <= 118:
        raise RowError("unreadable", f"{where}: '{token[:20]}' is no atomic number")
    return str(Element.from_Z(int(token)).symbol)


def _one_frame(lines: list[str], count: int) -> None:
    """Raises `RowError` unless the file ends after `count` atoms."""
    if len(lines) - 2 < count:
        raise RowError("unreadable", f"line 1 says {count} atoms, and the file has {max(len(lines) - 2, 0)}")
    at, frames = 0, 0
    while at < len(lines):
        if not is_integer(lines[at]):
            raise RowError("unreadable", f"line {at + 1}: the end of the file is expected, after the {count} atoms "
                                         f"that line 1 names; found {quoted(lines[at].split())}")
        at += int(lines[at]) + 2
        frames += 1
    if frames > 1:
        raise RowError("unreadable", f"the file holds {frames} frames; one crystal is expected")
