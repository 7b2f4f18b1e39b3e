"""Which element a site is: from its type symbol, else from its label and the formula of the file."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gemmi

from features.errors import RowError

ISOTOPES = {"D": "H", "T": "H"}
MOST_UNCLEAR = 10
"""Most different kinds of labels whose element the formula decides."""

_TYPE = re.compile(r"\d{0,3}-?([A-Za-z]{1,2})(?:\(?(?:\d*(?:\.\d+)?[+-]|[+-]\d*(?:\.\d+)?|\d+(?:\.\d+)?)\)?)?")
_VACANCY = re.compile(r"(va|vac|vacancy|vc|\[\]|square)(?![a-z])", re.IGNORECASE)
_EMPTY = re.compile(r"(?i:vac|vacancy)(?![a-z])|\[\]")
_WITH_HYDROGEN = r"wat(?:er)?|ow|oh2?|ho|h2o|hoh|nh\d?|ch\d?|h3o|d2o|od"
_HYDROGENS = re.compile(rf"(?i:{_WITH_HYDROGEN})(?![a-z])")
_GROUP = re.compile(rf"(?i:{_WITH_HYDROGEN}|cn|no\d|so\d|po\d|co\d)(?![a-z])")
_DUMMY = re.compile(r"(?i:cg|cnt|cent|du|dum|bq|lp|xx)(?![a-z])|W\d*$")
"""Labels of centroids and other points, and of the water of zeolites, which look like those of elements."""
_CAPITAL_GROUPS = ("NH", "NO", "CN")
"""In capitals these are groups; nihonium, nobelium and copernicium are in no crystal."""
_LETTERS = re.compile(r"\d*([A-Za-z]+)")


@dataclass(frozen=True)
class Site:
    """A site as the file lists it."""

    label: str
    type: str | None
    """Type symbol, None if the file gives none."""
    fractions: tuple[float, float, float]
    occupancy: float
    multiplicity: int | None
    """As the file says it."""


def is_vacancy(label: str, type_symbol: str | None, formula: Mapping[str, float] | None) -> bool:
    """Whether the file marks the place as empty: by a type that is no element, or else a label, `Va`, `Vac`, `[]`.

    The label `Va` is none in a crystal of vanadium, and proves nothing if the file does not say what it is made of.
    """
    if type_symbol is not None:
        return symbol_of(type_symbol) is None and bool(_VACANCY.match(type_symbol))
    return bool(_EMPTY.match(label)) or (formula is not None and "V" not in formula and bool(_VACANCY.match(label)))


def hides_hydrogen(label: str, type_symbol: str | None) -> bool:
    """Whether a site of an element is called as a group with hydrogen is: `OH1`, `Wat`, `NH4`."""
    return type_symbol is not None and symbol_of(type_symbol) not in (None, "H", "D", "T", "Ho", "Os") \
        and bool(_HYDROGENS.match(label))


def symbol_of(type_symbol: str) -> str | None:
    """Element (or D, T) of a type symbol such as `Fe`, `FE3+`, `O2-`, `13C`; None if it is none."""
    match = _TYPE.fullmatch(type_symbol.strip())
    return _element(match[1]) if match and match[1] not in _CAPITAL_GROUPS else None


def assign(sites: Sequence[Site], multiplicities: Sequence[int], formula: Mapping[str, float] | None) -> list[str]:
    """Element (or D, T) of each site.

    Args:
        sites: without vacancies and dummies.
        multiplicities: number of atoms of each site in the cell.
        formula: sum formula of the file, if it has one; it decides where a label leaves the element open.

    Raises:
        RowError: `group_label` for a group of atoms, `element_unclear` for anything else that is no element.
    """
    options = [_options(site, formula) for site in sites]
    kinds = {_kind(site): choice for site, choice in zip(sites, options, strict=True) if len(choice) > 1}
    chosen = _by_formula(sites, options, kinds, multiplicities, formula) if kinds else {}
    return [chosen[_kind(site)] if len(choice) > 1 else choice[0] for site, choice in zip(sites, options, strict=True)]


def _options(site: Site, formula: Mapping[str, float] | None) -> list[str]:
    """What a site can be: one element, or several between which the formula must decide."""
    text, tag = (site.label, "label") if site.type is None else (site.type, "type_symbol")
    symbol = symbol_of(text) if site.type is not None else None
    if symbol is not None and (symbol != "T" or (formula is not None and "H" in formula)):
        return [symbol]
    letters = _LETTERS.match(text)
    word = letters[1] if letters else ""
    two, one = _element(word[:2]) if len(word) > 1 else None, _element(word[:1]) if word else None
    options = list(dict.fromkeys(symbol for symbol in (two, one) if symbol not in (None, "T")))
    if site.type is not None and options[:1] == [word[:2]]:
        options = options[:1]  # a type is a symbol; a label such as Ca may be a carbon atom that is called a
    if formula is not None:
        options = [symbol for symbol in options if ISOTOPES.get(symbol, symbol) in formula]
    elif word[2:3].islower() or (site.type is not None and len(word) > len((options or [""])[0])) or any(
            pattern.match(text) for pattern in (_GROUP, _DUMMY, _VACANCY)):
        options = []
    if len(options) > 1 and options[0] == word[:2]:
        return options[:1]  # written as symbols are
    if not options:
        raise _no_element(site, text, tag, formula)
    if len(options) > 1 and formula is None:
        raise RowError("element_unclear", f"site '{site.label}' may be {' or '.join(options)}: the file gives neither "
                                          "_atom_site_type_symbol nor _chemical_formula_sum")
    return options


def _by_formula(sites: Sequence[Site], options: list[list[str]], kinds: Mapping[str, list[str]],
                multiplicities: Sequence[int], formula: Mapping[str, float] | None) -> dict[str, str]:
    """The one choice for all unclear labels at which the atoms have the proportions of the formula."""
    fitting = []
    if formula is not None and len(kinds) <= MOST_UNCLEAR:
        for choice in itertools.product(*kinds.values()):
            chosen = dict(zip(kinds, choice, strict=True))
            counts: dict[str, float] = {}
            for site, possible, multiplicity in zip(sites, options, multiplicities, strict=True):
                symbol = chosen[_kind(site)] if len(possible) > 1 else possible[0]
                symbol = ISOTOPES.get(symbol, symbol)
                counts[symbol] = counts.get(symbol, 0.0) + multiplicity * site.occupancy
            if proportional(counts, formula):
                fitting.append(chosen)
    if len(fitting) != 1:
        unclear = next(iter(kinds))
        site = next(site for site in sites if _kind(site) == unclear)
        raise RowError("element_unclear", f"site '{site.label}' may be {' or '.join(kinds[unclear])}, and the formula "
                                          f"of the file fits {'both' if fitting else 'neither'}: give "
                                          "_atom_site_type_symbol")
    return fitting[0]


def proportional(counts: Mapping[str, float], formula: Mapping[str, float]) -> bool:
    """Whether the counts are a multiple of the formula, within 1 %."""
    if counts.keys() != formula.keys():
        return False
    ratios = [counts[symbol] / formula[symbol] for symbol in formula]
    return all(math.isclose(ratio, ratios[0], rel_tol=0.01) for ratio in ratios)


def _kind(site: Site) -> str:
    letters = _LETTERS.match(site.label)
    return letters[1] if letters else site.label


def _element(letters: str) -> str | None:
    symbol = letters.capitalize()
    return symbol if symbol in ISOTOPES or gemmi.Element(symbol).atomic_number > 0 else None


def _no_element(site: Site, text: str, tag: str, formula: Mapping[str, float] | None = None) -> RowError:
    if _GROUP.match(text):
        return RowError("group_label", f"site '{site.label}': '{text}' (_atom_site_{tag}) is a group of atoms; every "
                                       "atom needs a site of its own")
    why = f" of the formula {' '.join(formula)}" if formula is not None else ""
    return RowError("element_unclear", f"site '{site.label}': '{text}' (_atom_site_{tag}) is no element{why}")
