"""What a file says of its crystal besides the sites: sum formula, Z, density and volume. The sites must agree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from features.cif.elements import ISOTOPES, proportional, symbol_of
from features.cif.grammar import Block, number

DENSITY_TOLERANCE = 0.05
VOLUME_TOLERANCE = 0.02
COUNT_TOLERANCE = 0.01
DALTON = 1.66053907
"""g/cm³ of one Da in 1 Å³."""

_ATOM = re.compile(r"([A-Za-z]{1,2}?)(\d*\.?\d*)(?:\(\d+\))?$")
_RUN = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")
_HYDRATE = re.compile(r"[·*•]|,\s*\d|\.\d*H2O")
_CHARGE = re.compile(r"\d*[+-]\d*$")


@dataclass(frozen=True)
class Facts:
    """What the file says; None where it says nothing, or nothing that can be understood."""

    formula_text: str | None
    formula: dict[str, float] | None
    """Atoms of a formula unit, D and T counted as H."""
    z: float | None
    """Formula units per cell."""
    says_unit: bool
    """Whether a structural formula is given of which the sum formula is Z times as much, as pymatgen writes."""
    density: float | None
    """g/cm³."""
    volume: float | None
    """Å³, of the cell."""
    attached_hydrogens: float = 0.0
    """Number in the asymmetric unit of hydrogens that are said to be attached to sites, with or without their own."""
    groups: tuple[str, ...] = ()
    """Labels of sites that are called as groups with hydrogen are."""

    @classmethod
    def of(cls, block: Block) -> Facts:
        """The facts of a block."""
        text, unit_text = block.text("_chemical_formula_sum"), block.text("_chemical_formula_structural")
        formula, unit = formula_of(text) if text else None, formula_of(unit_text) if unit_text else None
        z = _positive(block, "_cell_formula_units_z")
        says_unit = formula is not None and unit is not None and z is not None and {
            symbol: count * z for symbol, count in unit.items()} == formula
        return cls(text, formula, z, says_unit, _positive(block, "_exptl_crystal_density_diffrn"),
                   _positive(block, "_cell_volume"))


@dataclass(frozen=True)
class Verdict:
    """How a crystal stands to the facts."""

    contradictions: dict[str, str] = field(default_factory=dict)
    """Kind → both values, in words."""
    flags: dict[str, str] = field(default_factory=dict)
    """What the formula says otherwise than expected without contradicting the sites: kind → in words."""
    confirmed: bool = False
    """Whether the number of atoms in the cell follows from the facts, and is right."""


def formula_of(text: str) -> dict[str, float] | None:
    """Counts of a sum formula such as `Cl H4 N`, `H2 O1`, `NaCl`, `Ca (Al1.94 Fe.06) O4`.

    None if it is none, or can be read in two ways: `CaSO4.2H2O`, or `CO3` beside other elements in capitals or not.
    """
    if _HYDRATE.search(text):
        return None
    if "(" in text:
        return _with_brackets(text)
    counts: Counter[str] = Counter()
    tokens = _CHARGE.sub("", text.replace(",", " ").strip("'\" ")).split()
    for token in tokens:
        pairs = _pairs(token, alone=len(tokens) == 1)
        if pairs is None:
            return None
        for symbol, count in pairs:
            counts[ISOTOPES.get(symbol, symbol)] += float(count) if count not in ("", ".") else 1.0  # type: ignore[assignment]
    return {symbol: float(count) for symbol, count in counts.items() if count > 0} or None


def _pairs(token: str, alone: bool) -> list[tuple[str, str]] | None:
    """Elements and counts of a part of a formula between blanks, which is one element where the rules are kept."""
    atom = _ATOM.fullmatch(token)
    single = [(symbol, atom[2])] if atom and (symbol := symbol_of(atom[1])) else None
    run = [(symbol, count) for letters, count in _RUN.findall(token) if (symbol := symbol_of(letters))]
    several = run if len(run) > 1 and "".join(symbol + count for symbol, count in run) == token else None
    if single and several:
        return several if alone else None
    return single or several


def _with_brackets(text: str) -> dict[str, float] | None:
    from pymatgen.core import Composition, Element

    try:
        composition = Composition(re.sub(r"[,\s'\"]", "", text))
    except ValueError:
        return None
    counts: Counter[str] = Counter()
    for element, count in composition.items():
        if not isinstance(element, Element):
            return None
        counts[ISOTOPES.get(element.symbol, element.symbol)] += count
    return dict(counts) or None


def verdict(facts: Facts, symbols: list[str], volume: float) -> Verdict:
    """Compare the atoms of a cell (elements, D or T) and its volume (Å³) with the facts."""
    counts = Counter(ISOTOPES.get(symbol, symbol) for symbol in symbols)
    density = sum(_mass(symbol) for symbol in symbols) * DALTON / volume
    contradictions, by_density = {}, False
    if facts.volume is not None and abs(volume / facts.volume - 1) > VOLUME_TOLERANCE:
        contradictions["contradicts_volume"] = (f"_cell_volume is {facts.volume:g} Å³, and edges and angles give "
                                                f"{volume:.5g} Å³")
    if facts.density is not None:
        ratio = min((facts.density / density, facts.density / density / 1000), key=lambda r: abs(r - 1))  # kg/m³
        by_density = abs(ratio - 1) <= DENSITY_TOLERANCE
        if not by_density:
            contradictions["contradicts_density"] = (f"_exptl_crystal_density_diffrn is {facts.density:g} g/cm³, and "
                                                     f"the sites give {density:.4g} g/cm³")
    by_formula, flags = False, {}
    if facts.formula is not None:
        wrong = _against_formula(facts, counts)
        if by_density and "contradicts_z" in wrong:
            flags = wrong
        else:
            contradictions |= wrong
        of_the_cell = not wrong and _is_of_the_cell(facts, _units(facts, counts))
        if of_the_cell and not by_density and not facts.says_unit:
            flags = {"formula_of_the_cell": f"'{facts.formula_text}' with Z = {facts.z:g} is taken for the formula of "
                                            "the whole cell; if it is that of a formula unit, atoms are missing"}
        by_formula = not wrong and facts.z is not None and not flags
    elif facts.attached_hydrogens > 0:
        contradictions["hydrogen_missing"] = (f"{facts.attached_hydrogens:g} hydrogens are attached to the sites "
                                              f"(_atom_site_attached_hydrogens), and {counts['H']} have sites")
    elif facts.groups and not counts["H"]:
        contradictions["hydrogen_missing"] = (f"site '{facts.groups[0]}' is labelled as a group with hydrogen, no "
                                              "hydrogen has a site, and no formula says that there is none")
    return Verdict(contradictions, flags, not contradictions and (by_formula or by_density))


def _against_formula(facts: Facts, counts: Mapping[str, int]) -> dict[str, str]:
    formula = facts.formula or {}
    said, sites = f"the formula of the file is '{facts.formula_text}'", f"the sites of the cell are {_written(counts)}"
    heavy = {symbol: count for symbol, count in formula.items() if symbol != "H"}
    heavy_sites = {symbol: float(count) for symbol, count in counts.items() if symbol != "H"}
    if not proportional(dict(counts), formula):
        if heavy and proportional(heavy_sites, heavy):
            units = heavy_sites[next(iter(heavy))] / heavy[next(iter(heavy))]
            if counts.get("H", 0) < units * formula.get("H", 0):
                return {"hydrogen_missing": f"{said}, which is {units * formula['H']:g} hydrogens in the cell, and "
                                            f"{counts.get('H', 0)} have sites"}
        return {"contradicts_formula": f"{said}, and {sites}"}
    units = _units(facts, counts)
    if facts.z is None:
        whole = abs(units - round(units)) <= COUNT_TOLERANCE * units and round(units) >= 1
        return {} if whole else {"contradicts_z": f"{said}, and {sites}, {units:.3g} formula units"}
    if abs(units - facts.z) <= COUNT_TOLERANCE * facts.z or _is_of_the_cell(facts, units):
        return {}
    return {"contradicts_z": f"{said} with Z = {facts.z:g}, and {sites}, {units:.3g} formula units"}


def _units(facts: Facts, counts: Mapping[str, int]) -> float:
    symbol, count = next(iter((facts.formula or {}).items()))
    return counts[symbol] / count


def _is_of_the_cell(facts: Facts, units: float) -> bool:
    """Whether the formula is that of the whole cell, as some programs write it: Z counts smaller units in it."""
    z = facts.z or 1.0
    return z > 1 and abs(units - 1) <= COUNT_TOLERANCE and all(
        abs(count / z - round(count / z)) <= COUNT_TOLERANCE for count in (facts.formula or {}).values())


def _written(counts: Mapping[str, int]) -> str:
    return " ".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in sorted(counts.items()))


def _mass(symbol: str) -> float:
    from pymatgen.core import Element

    return float(Element(symbol).atomic_mass)


def _positive(block: Block, tag: str) -> float | None:
    text: Any = block.text(tag)
    value = number(text) if text else 0.0
    return value if 0 < value < float("inf") else None
