"""From the text of a CIF to its crystal, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gemmi
import numpy as np
import spglib

from features.bounds import BOUNDS, Bounds
from features.cif import sites, symmetry
from features.cif.blocks import only_structure
from features.cif.elements import ISOTOPES, Site
from features.cif.facts import Facts, Verdict, verdict
from features.cif.sites import Atom
from features.cif.symmetry import Candidate
from features.crystal import SYMPREC
from features.crystal_files import decode
from features.errors import RowError

CLOSEST = {"single": 0.92, "alike": 0.7, "unlike": 0.78}
"""Least distance of two atoms in sums of their covalent radii (Cordero et al., Dalton Trans. 2832, 2008): of one
element that forms single bonds to itself, of any other one, as in metals and multiple bonds, and of two elements."""
SINGLE_BONDS = ("F", "Si", "Cl", "Ge", "As", "Se", "Br", "Sb", "Te", "I")
FIRST_TETRAGONAL = 75
"""Number of the first tetragonal space group."""


@dataclass(frozen=True)
class Reading:
    """A crystal as its file has it."""

    structure: Any
    """A pymatgen `Structure`, ordered, of elements without charges; D and T as such."""
    flags: dict[str, str]
    """What the file says that may matter beside the crystal: kind → in words."""


@dataclass(frozen=True)
class _Attempt:
    """The crystal that one candidate for the symmetry gives."""

    candidate: Candidate
    places: list[Any]
    atoms: list[Atom]
    flags: dict[str, str]
    verdict: Verdict

    @property
    def sound(self) -> bool:
        return not self.verdict.contradictions and (self.candidate.doubt is None or self.verdict.confirmed)


def read_cif(text: bytes | str, *, keep_contradictions: bool = False, bounds: Bounds = BOUNDS) -> Reading:
    """The crystal of a file with one structure.

    Args:
        text: the whole file.
        keep_contradictions: take the likeliest crystal, with a flag, where the file contradicts itself, instead of
            none.
        bounds: how many atoms and operations it may have.

    Raises:
        RowError: with the kind of fault, and in words which site, tag or line, and what was expected.
    """
    block = only_structure(decode(text) if isinstance(text, bytes) else text)
    cell = sites.lattice(block)
    facts = Facts.of(block)
    listed, hydrogens, groups = sites.listed(block, facts.formula, bounds)
    facts = replace(facts, attached_hydrogens=hydrogens, groups=tuple(groups))
    matrix = np.asarray(cell.matrix)
    candidates = symmetry.candidates(block, matrix @ matrix.T, bounds)
    attempts, failures = [], []
    for candidate in candidates:
        try:
            attempts.append(_attempt(candidate, listed, cell, facts, keep_contradictions, bounds))
        except RowError as error:
            failures.append(error)
    if not attempts:
        raise failures[0]
    chosen, decided = _choose(attempts, listed, cell)
    fault = _fault(chosen, decided)
    if fault is not None and not keep_contradictions:
        raise fault
    return _reading(chosen, decided, fault, cell)


def _attempt(candidate: Candidate, listed: list[Site], cell: Any, facts: Facts, keep: bool,
             bounds: Bounds) -> _Attempt:
    places = sites.orbits(listed, candidate.operations, cell, bounds)
    try:
        atoms, flags = sites.atoms(listed, places, cell, facts.formula)
    except RowError as error:
        if error.kind != "element_unclear" or not keep or facts.formula is None:
            raise
        atoms, flags = sites.atoms(listed, places, cell, None)  # labels against the formula: that is a contradiction
    judged = verdict(facts, [atom.symbol for atom in atoms], cell.volume)
    if candidate.doubt is not None and not judged.contradictions and not judged.confirmed:
        judged = replace(judged, confirmed=_has_named_symmetry(candidate, atoms, cell))
    return _Attempt(candidate, places, atoms, flags, judged)


def _has_named_symmetry(candidate: Candidate, atoms: list[Atom], cell: Any) -> bool:
    """Whether the atoms listed have, by themselves, the space group that the file names: then none is missing.

    Programs write the primitive cell of a calculation so, and the name of its group as the tables have it. A single
    atom has the symmetry of its lattice wherever it lies, and few atoms easily a low one: they prove nothing.
    """
    high = {number for number in candidate.numbers if number >= FIRST_TETRAGONAL}
    if len(candidate.operations) > 1 or not high or (len(atoms) == 1 and atoms[0].fractions.any()):
        return False
    numbers = [gemmi.Element(atom.symbol).atomic_number for atom in atoms]
    try:
        data = spglib.get_symmetry_dataset((cell.matrix, [atom.fractions for atom in atoms], numbers), symprec=SYMPREC)
    except spglib.SpglibError:
        return False
    return data is not None and data.number in high


def _choose(attempts: list[_Attempt], listed: Sequence[Site], cell: Any) -> tuple[_Attempt, bool]:
    """The one that the facts of the file, or else multiplicities or distances, single out; and whether they do."""
    sound = [attempt for attempt in attempts if attempt.sound]
    if len(sound) <= 1:
        return (sound or attempts)[0], True
    multiple = [attempt for attempt in sound
                if all(site.multiplicity in (None, len(place))
                       for site, place in zip(listed, attempt.places, strict=True))]
    if len(multiple) == 1:
        return multiple[0], True
    roomy = [attempt for attempt in sound if not _crowded(attempt, cell)]
    return (roomy or sound)[0], len(roomy) == 1


def _crowded(attempt: _Attempt, cell: Any) -> bool:
    """Whether two atoms are closer than such atoms are in crystals, so that another origin is likelier."""
    elements = np.array([ISOTOPES.get(atom.symbol, atom.symbol) for atom in attempt.atoms])
    fractions = np.array([atom.fractions for atom in attempt.atoms])
    radii = np.array([gemmi.Element(element).covalent_r for element in elements])
    distances = cell.get_all_distances(fractions, fractions)
    np.fill_diagonal(distances, min(cell.abc))
    alike = elements[:, None] == elements[None]
    single = alike & np.isin(elements, SINGLE_BONDS)[:, None]
    least = np.where(single, CLOSEST["single"], np.where(alike, CLOSEST["alike"], CLOSEST["unlike"]))
    return bool((distances < least * (radii[:, None] + radii[None])).any())


def _fault(attempt: _Attempt, decided: bool) -> RowError | None:
    if attempt.sound and (decided or attempt.candidate.kind == "number"):
        return None
    against = list(attempt.verdict.contradictions.values())
    if attempt.candidate.doubt is not None and (not attempt.sound or attempt.candidate.kind == "operations"):
        hint = ["if every atom of the cell is listed, say so by _space_group_name_H-M_alt 'P 1'"] \
            if attempt.candidate.fault == "no_symmetry_given" else []
        return RowError(attempt.candidate.fault, "; ".join([attempt.candidate.doubt, *against, *hint]))
    if not attempt.sound:
        return RowError(next(iter(attempt.verdict.contradictions)), "; ".join(against))
    return RowError("origin_open", f"{attempt.candidate.origin} leaves the origin open, and neither formula and Z, "
                                   "density, multiplicities nor distances decide: add :1 or :2 to the name, or list "
                                   "the operations")


def _reading(attempt: _Attempt, decided: bool, fault: RowError | None, cell: Any) -> Reading:
    from pymatgen.core import Structure

    flags = {**attempt.candidate.flags, **attempt.flags, **attempt.verdict.flags}
    if fault is not None:
        flags |= {fault.kind: str(fault), **attempt.verdict.contradictions}
    elif attempt.candidate.doubt is not None:
        kind = "symmetry_assumed" if attempt.candidate.fault == "no_symmetry_given" else "symmetry_disputed"
        flags[kind] = f"{attempt.candidate.doubt}; formula and Z, density or the symmetry of the atoms confirm " \
                      f"{attempt.candidate.origin}"
    elif not decided:
        flags["origin_assumed"] = f"{attempt.candidate.origin} leaves the origin open, and nothing in the file " \
                                  "decides: that of the standard setting was taken"
    structure = Structure(cell, [atom.symbol for atom in attempt.atoms], [atom.fractions for atom in attempt.atoms],
                          labels=[atom.label for atom in attempt.atoms])
    return Reading(structure, flags)
