"""POSCAR and CONTCAR, VASP's files of structures (https://www.vasp.at/wiki/POSCAR)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from features.bounds import Bounds
from features.errors import RowError
from features.formats.lines import element, is_integer, lines_of, number, numbers, periodic_structure, quoted

RUN_TOGETHER = re.compile(r"(?<=[0-9.])-(?=[0-9.])")
"""Where a minus sign has taken the place of the blank between two numbers."""


def read(text: str, keep_contradictions: bool, bounds: Bounds) -> tuple[Any, dict[str, str]]:
    """The pymatgen `Structure` of a POSCAR, and flags. Velocities and what else follows the positions are not read.

    Symbols at the ends of the positions count where there is no line of symbols (VASP 4), and must agree with it where
    there is one. Without either, the file does not say what it is made of and is refused.
    """
    lines = lines_of(text)
    matrix, scale = _cell(lines)
    symbols, counts, at = _species(lines)
    bounds.check_sites(sum(counts))
    selective = _begins(lines, at, "sS")
    at += selective
    cartesian = _begins(lines, at, "cCkK")
    if not _begins(lines, at):
        raise RowError("unreadable", f"line {at + 1}: 'Direct' or 'Cartesian' is expected; found "
                                     f"{quoted(_tokens(lines, at))}")
    configurations = sum(line.lower().startswith("direct configuration") for line in lines)
    if configurations > 1:
        raise RowError("unreadable", f"the file holds {configurations} configurations (XDATCAR); one is expected")
    positions, labels = _positions(lines, at + 1, sum(counts), selective)
    flags: dict[str, str] = {}
    if symbols is None:
        species = _from_labels(labels, counts)
    else:
        species = [element(symbol, "line 6") for symbol, count in zip(symbols, counts, strict=True)
                   for _ in range(count)]
        contradiction = _contradiction(species, labels, at)
        if contradiction and not keep_contradictions:
            raise RowError("contradicts_labels", contradiction)
        flags = {"contradicts_labels": contradiction} if contradiction else {}
    places = np.array(positions) * (scale if cartesian else 1.0)
    return periodic_structure(matrix, species, places, cartesian=cartesian), flags


def _tokens(lines: list[str], index: int) -> list[str]:
    """Words of a line without its comment; none where the file has ended."""
    return re.split("[!#]", lines[index])[0].split() if index < len(lines) else []


def _begins(lines: list[str], index: int, letters: str = "") -> bool:
    """Whether a line begins with one of the letters, or with any letter."""
    first = (_tokens(lines, index) or [" "])[0][0]
    return first in letters if letters else first.isalpha()


def _cell(lines: list[str]) -> tuple[Any, Any]:
    """The scaled cell vectors as rows, and the factors by which Cartesian positions are scaled along x, y, z.

    A negative factor is the volume of the cell, in Å³.
    """
    tokens = _tokens(lines, 1)
    factors = np.array([value for token in tokens if (value := number(token)) is not None])
    if len(factors) != len(tokens) or len(factors) not in (1, 3):
        raise RowError("unreadable", f"line 2: the scaling factor is expected, one number; found {quoted(tokens)}")
    vectors = np.array([numbers(_tokens(lines, row), f"line {row + 1}", f"cell vector {'abc'[row - 2]}")
                        for row in range(2, 5)])
    if len(factors) == 1 and factors[0] < 0:
        volume = abs(np.linalg.det(vectors))
        if not volume:
            raise RowError("unreadable", "the three cell vectors lie in one plane: the cell has no volume")
        factors = np.array([(-factors[0] / volume) ** (1 / 3)])
    if (factors <= 0).any():
        raise RowError("unreadable", f"line 2: the scaling factor is {tokens[0]}, which makes no cell")
    return vectors * factors, factors


def _species(lines: list[str]) -> tuple[list[str] | None, list[int], int]:
    """Symbols (None in VASP 4), how many atoms there are of each, and the index of the line after both.

    VASP breaks both into several lines if there are many. `Fe_pv/0f2a` is a Fe with the name and digest of its
    potential.
    """
    at, symbols = 5, []
    while (tokens := _tokens(lines, at)) and not is_integer(tokens[0]):
        if not all(token[0].isalpha() for token in tokens):
            break
        symbols += [re.split("[_/]", token)[0] for token in tokens]
        at += 1
    first, counts = at, []
    while (tokens := _tokens(lines, at)) and all(is_integer(token) for token in tokens):
        counts += [int(token) for token in tokens]
        at += 1
    if not counts:
        what = "the numbers of atoms" if symbols else "the symbols of the elements"
        raise RowError("unreadable", f"line {first + 1}: {what} are expected; found {quoted(_tokens(lines, first))}")
    if symbols and len(symbols) != len(counts):
        raise RowError("unreadable", f"line {first + 1}: {len(symbols)} numbers of atoms are expected, for "
                                     f"{' '.join(symbols[:12])}; found {len(counts)}")
    if not sum(counts):
        raise RowError("empty", "the structure has no atoms")
    return symbols or None, counts, at


def _positions(lines: list[str], start: int, count: int, selective: bool) -> tuple[list[list[float]], list[str]]:
    """Coordinates of the atoms, and what stands behind them: a symbol, or nothing."""
    positions, labels = [], []
    for nth in range(count):
        at = start + nth
        if at >= len(lines) or not lines[at].strip():
            raise RowError("unreadable", f"line {at + 1}: the position of atom {nth + 1} of {count} is expected; found "
                                         "nothing")
        tokens = lines[at].split()
        if len(tokens) < 3 or number(tokens[0]) is None:
            tokens = RUN_TOGETHER.sub(" -", lines[at]).split()
        positions.append(numbers(tokens, f"line {at + 1}", f"the position of atom {nth + 1} of {count}"))
        rest = tokens[3:]
        flags = selective or (len(rest) >= 3 and set(rest[:3]) <= {"T", "F"})
        labels.append((rest[3:] if flags else rest or [""])[:1])
    return positions, [label[0] if label else "" for label in labels]


def _from_labels(labels: list[str], counts: list[int]) -> list[Any]:
    """Elements of a file of VASP 4, which must name them behind the positions."""
    from pymatgen.core import Element

    if not all(Element.is_valid_symbol(label) for label in labels):
        raise RowError("unreadable", "line 6: the symbols of the elements are expected; found the numbers of atoms "
                                     f"({' '.join(map(str, counts[:8]))}): without symbols (VASP 4) the file does not "
                                     "say which elements it holds")
    return [Element(label) for label in labels]


def _contradiction(species: list[Any], labels: list[str], at: int) -> str | None:
    """What is said if a symbol behind a position is that of another element than its place in the list says."""
    from pymatgen.core import Element

    wrong = [nth for nth, (specie, label) in enumerate(zip(species, labels, strict=True))
             if Element.is_valid_symbol(label) and Element(label).Z != specie.Z]
    if not wrong:
        return None
    nth = wrong[0]
    return (f"line {at + nth + 2}: the position is marked {labels[nth]}, and by lines 6 and 7 atom {nth + 1} is "
            f"{species[nth].name}" + (f" ({len(wrong)} such atoms)" if len(wrong) > 1 else ""))
