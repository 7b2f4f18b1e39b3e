"""A description as words that mean the same in every crystal."""

from __future__ import annotations

import re

from pymatgen.core import Element

_LABEL = re.compile(r"\((?:\d+(?:,\d+)*)\)")
_TOKEN = re.compile(r"\d+\.\d+|[A-Za-z0-9/_]+(?:[-'][A-Za-z0-9/_]+)*|Å")
_LENGTH = re.compile(r"\d+\.\d+")
_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*)+")
_PART = re.compile(r"([A-Z][a-z]?)(\d*)")
_SYMBOLS = frozenset(element.symbol for element in Element)


def words(text: str) -> list[str]:
    """Words of a description, in their order.

    Labels of sites go, since O(2) of one crystal is nothing like O(2) of another; formulas become their elements, and
    pairs of elements joined by a dash two words; lengths are given to .1 Å.
    """
    result: list[str] = []
    for token in _TOKEN.findall(_LABEL.sub("", text).replace("–", "-")):
        if _LENGTH.fullmatch(token):
            result.append(f"{float(token):.1f}")
        else:
            for word in token.split("-") if _bond(token) else [token]:
                result += elements(word) or [word]
    return result


def elements(word: str) -> list[str]:
    """The elements of a formula with a number or two elements in it, in its order; none for any other word."""
    if not _FORMULA.fullmatch(word):
        return []
    parts = _PART.findall(word)
    symbols = [symbol for symbol, _ in parts]
    a_formula = len(parts) > 1 or bool(parts[0][1])
    return symbols if a_formula and all(symbol in _SYMBOLS for symbol in symbols) else []


def _bond(token: str) -> bool:
    return "-" in token and all(part in _SYMBOLS or elements(part) for part in token.split("-"))
