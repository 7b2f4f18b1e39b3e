"""What a file says of its crystal besides the sites: sum formula, Z, density and volume. The sites must agree."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pymatgen.core import Composition, Element

from features.cif.elements import ISOTOPES, proportional, symbol_of
from features.cif.grammar import Block, number

DENSITY_TOLERANCE = 0.05
VOLUME_TOLERANCE = 0.02
COUNT_TOLERANCE = 0.01
DALTON = 1.66053907
"""g/cm³ of one Da in 1 Å³."""

_ATOM = re.compile(r"([A-Za-z]{1,2}?)(\d*\.?\d*)(?:\(\d+\))?$")
_RUN = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")
_CHARGE = re.compile(r"\d*[+-]\d*$")


@dataclass(frozen=True)
class Facts:
    """What the file says; None where it says nothing, or nothing that can be understood."""

    formula_text: str | None
    formula: dict[str, float] | None
    """Atoms of a formula unit, D and T counted as H."""
    z: float | None
    """Formula units per cell."""
    density: float | None
    """g/cm³."""
    volume: float | None
    """Å³, of the cell."""
    attached_hydrogens: float = 0.0
    """Number in the asymmetric unit of hydrogens that are said to be attached to sites, with or without their own."""

    @classmethod
    def of(cls, block: Block) -> Facts:
        """The facts of a block."""
        text = block.text("_chemical_formula_sum")
        return cls(text, formula_of(text) if text else None,
                   _positive(block, "_cell_formula_units_z"), _positive(block, "_exptl_crystal_density_diffrn"),
                   _positive(block, "_cell_volume"))


@dataclass(frozen=True)
class Verdict:
    """How a crystal stands to the facts."""

    contradictions: dict[str, str] = field(default_factory=dict)
    """Kind → both values, in words."""
    flags: dict[str, str] = field(default_factory=dict)
    """The same of a Z that is wrong where the density confirms the sites."""
    confirmed: bool = False
    """Whether the number of atoms in the cell follows from the facts, and is right."""


def formula_of(text: str) -> dict[str, float] | None:
    """Counts of a sum formula such as `Cl H4 N`, `H2 O1`, `NaCl`, `Ca (Al1.94 Fe.06) O4`; None if it is none."""
    if "(" in text:
        return _with_brackets(text)
    counts: Counter[str] = Counter()
    tokens = _CHARGE.sub("", text.replace(",", " ").strip("'\" ")).split()
    for token in tokens:
        atom = _ATOM.fullmatch(token)
        pairs = [(atom[1], atom[2])] if atom and symbol_of(atom[1]) else _RUN.findall(token)
        if not pairs or (not atom and "".join(symbol + count for symbol, count in pairs) != token):
            return None
        for letters, count in pairs:
            symbol = symbol_of(letters)
            if symbol is None:
                return None
            amount = float(count) if count not in ("", ".") else 1.0
            counts[ISOTOPES.get(symbol, symbol)] += amount  # type: ignore[assignment]
    return {symbol: float(count) for symbol, count in counts.items() if count > 0} or None


def _with_brackets(text: str) -> dict[str, float] | None:
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
        by_formula = not wrong and facts.z is not None
    elif facts.attached_hydrogens > 0:
        contradictions["hydrogen_missing"] = (f"{facts.attached_hydrogens:g} hydrogens are attached to the sites "
                                              f"(_atom_site_attached_hydrogens), and {counts['H']} have sites")
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
    symbol = next(iter(formula))
    units = counts[symbol] / formula[symbol]
    if facts.z is None:
        whole = abs(units - round(units)) <= COUNT_TOLERANCE * units and round(units) >= 1
        return {} if whole else {"contradicts_z": f"{said}, and {sites}, {units:.3g} formula units"}
    # some write the formula of the cell, or of another multiple of the unit that Z counts
    least = math.gcd(*map(round, formula.values())) if all(count == round(count) for count in formula.values()) else 1
    if any(abs(units / (facts.z * part) - 1) <= COUNT_TOLERANCE
                         for part in {1.0, 1 / least, 1 / facts.z if least % facts.z == 0 else 1.0}):
        return {}
    return {"contradicts_z": f"{said} with Z = {facts.z:g}, and {sites}, {units:.3g} formula units"}


def _written(counts: Mapping[str, int]) -> str:
    return " ".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in sorted(counts.items()))


def _mass(symbol: str) -> float:
    return float(Element(symbol).atomic_mass)


def _positive(block: Block, tag: str) -> float | None:
    text: Any = block.text(tag)
    value = number(text) if text else 0.0
    return value if 0 < value < float("inf") else None
