"""From the text of a CIF to its crystal, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gemmi
import numpy as np
import spglib

from features.cif import sites, symmetry
from features.cif.blocks import only_structure
from features.cif.elements import Site
from features.cif.facts import Facts, Verdict, verdict
from features.cif.sites import Atom
from features.cif.symmetry import Candidate
from features.crystal import SYMPREC
from features.crystal_files import decode
from features.errors import RowError

CROWDED = 0.9
"""Distance of two atoms, in sums of their covalent radii, below which another origin is likelier."""

LEAST_NUMBER = 75
"""First tetragonal space group."""


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


def read_cif(text: bytes | str, *, keep_contradictions: bool = False) -> Reading:
    """The crystal of a file with one structure.

    Args:
        text: the whole file.
        keep_contradictions: take the likeliest crystal, with a flag, where the file contradicts itself, instead of
            none.

    Raises:
        RowError: with the kind of fault, and in words which site, tag or line, and what was expected.
    """
    block = only_structure(decode(text) if isinstance(text, bytes) else text)
    cell = sites.lattice(block)
    facts = Facts.of(block)
    listed, hydrogens = sites.listed(block, facts.formula is not None)
    facts = replace(facts, attached_hydrogens=hydrogens)
    matrix = np.asarray(cell.matrix)
    candidates = symmetry.candidates(block, matrix @ matrix.T)
    attempts, failures = [], []
    for candidate in candidates:
        try:
            attempts.append(_attempt(candidate, listed, cell, facts))
        except RowError as error:
            failures.append(error)
    if not attempts:
        raise failures[0]
    chosen = _choose(attempts, listed, cell)
    fault = _fault(chosen or attempts[0], ambiguous=chosen is None)
    if fault is not None and not keep_contradictions:
        raise fault
    return _reading(chosen or attempts[0], fault, cell)


def _attempt(candidate: Candidate, listed: list[Site], cell: Any, facts: Facts) -> _Attempt:
    places = sites.orbits(listed, candidate.operations, cell)
    atoms, flags = sites.atoms(listed, places, cell, facts.formula)
    judged = verdict(facts, [atom.symbol for atom in atoms], cell.volume)
    if candidate.doubt is not None and not judged.contradictions and not judged.confirmed:
        judged = replace(judged, confirmed=_has_named_symmetry(candidate, atoms, cell))
    return _Attempt(candidate, places, atoms, flags, judged)


def _has_named_symmetry(candidate: Candidate, atoms: list[Atom], cell: Any) -> bool:
    """Whether the atoms listed have, by themselves, the space group that the file names: then none is missing.

    Programs write the primitive cell of a calculation so, and the name of its group as the tables have it. A single
    atom has the symmetry of its lattice wherever it lies, and few atoms easily a low one: they prove nothing.
    """
    high = {number for number in candidate.numbers if number >= LEAST_NUMBER}
    if len(candidate.operations) > 1 or not high or (len(atoms) == 1 and atoms[0].fractions.any()):
        return False
    numbers = [gemmi.Element(atom.symbol).atomic_number for atom in atoms]
    try:
        data = spglib.get_symmetry_dataset((cell.matrix, [atom.fractions for atom in atoms], numbers), symprec=SYMPREC)
    except spglib.SpglibError:
        return False
    return data is not None and data.number in high


def _choose(attempts: list[_Attempt], listed: Sequence[Site], cell: Any) -> _Attempt | None:
    """The one that the facts of the file, or else distances, single out; None if they do not."""
    sound = [attempt for attempt in attempts if attempt.sound]
    if len(sound) <= 1:
        return sound[0] if sound else attempts[0]
    if sound[0].candidate.origin.startswith("the number"):
        return sound[0]
    confirmed = [attempt for attempt in sound
                 if all(site.multiplicity in (None, len(place))
                        for site, place in zip(listed, attempt.places, strict=True))]
    if len(confirmed) == 1:
        return confirmed[0]
    closest = [_closest(attempt, cell) for attempt in sound]
    roomy = [attempt for attempt, distance in zip(sound, closest, strict=True) if distance >= CROWDED]
    return roomy[0] if len(roomy) == 1 else None


def _closest(attempt: _Attempt, cell: Any) -> float:
    """Smallest distance of two atoms, in sums of their covalent radii."""
    fractions = np.array([atom.fractions for atom in attempt.atoms])
    radii = np.array([gemmi.Element(atom.symbol).covalent_r for atom in attempt.atoms])
    distances = cell.get_all_distances(fractions, fractions)
    np.fill_diagonal(distances, min(cell.abc))
    return float((distances / (radii[:, None] + radii[None])).min())


def _fault(attempt: _Attempt, ambiguous: bool) -> RowError | None:
    if attempt.sound and not ambiguous:
        return None
    if ambiguous:
        return RowError("origin_open", f"{attempt.candidate.origin} leaves the origin open, and neither formula and Z, "
                                       "density nor distances decide: add :1 or :2 to the name, or list the operations")
    if attempt.candidate.doubt is not None:
        against = "".join(f"; {message}" for message in attempt.verdict.contradictions.values())
        return RowError(attempt.candidate.kind, f"{attempt.candidate.doubt}{against}")
    kind, message = next(iter(attempt.verdict.contradictions.items()))
    return RowError(kind, message)


def _reading(attempt: _Attempt, fault: RowError | None, cell: Any) -> Reading:
    from pymatgen.core import Structure

    flags = {**attempt.candidate.flags, **attempt.flags, **attempt.verdict.flags}
    if fault is not None:
        flags |= {fault.kind: str(fault), **attempt.verdict.contradictions}
    elif attempt.candidate.doubt is not None:
        flags["symmetry_disputed"] = f"{attempt.candidate.doubt}; formula and Z, density or the symmetry of the " \
                                     f"atoms confirm {attempt.candidate.origin}"
    structure = Structure(cell, [atom.symbol for atom in attempt.atoms], [atom.fractions for atom in attempt.atoms],
                          labels=[atom.label for atom in attempt.atoms])
    return Reading(structure, flags)
