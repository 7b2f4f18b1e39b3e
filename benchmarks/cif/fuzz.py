"""Mutated real CIFs: each is a row that the oracle confirms or a reject with a reason.

Originals are the case files that are rows, the tests' crystals as they are and with their symmetry, and any other
folder. One that the reader does not read as the oracle does is named and used for nothing; its fault would be found
again in all its mutants.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cif import harmful, harmless  # noqa: F401  # they register their mutations
from benchmarks.cif.mutations import CHANGE, DAMAGE, MUTATIONS, SAME, SAME_OR_REJECT, DoesNotApplyError, Mutation
from benchmarks.cif.operations import MeaninglessError
from benchmarks.cif.oracle import SAME as NEAR
from benchmarks.cif.oracle import candidates, confirm, failed_checks, parse, row_off
from benchmarks.cif.reading import Outcome, difference, read_all

ENDS = ("confirmed", "reject", "undeserved", "wrong", "crash", "hang")


@dataclass(frozen=True)
class Original:
    """A real CIF that is read as it should be."""

    name: str
    text: bytes
    outcome: Outcome
    ignore: frozenset[str]
    """Of the oracle's checks, those that the unspoilt file fails, too."""
    understood: bool
    """Whether the oracle confirms it; if not, only changes that leave the crystal as it is can be judged."""


@dataclass(frozen=True)
class Mutant:
    """One mutation of one original."""

    original: Original
    mutation: Mutation
    index: int
    text: bytes


def load_originals(texts: dict[str, bytes], trusted: Iterable[str] = (), *, serial: bool = False,
                   ) -> tuple[list[Original], list[str]]:
    """Originals that can be used, and a line for each that cannot.

    Args:
        texts: CIFs by name.
        trusted: names of those whose reading was found right elsewhere (the cases).
        serial: read in this process.
    """
    outcomes = read_all(texts.values(), serial=serial)
    found, lines, known = [], [], set(trusted)
    for (name, text), outcome in zip(texts.items(), outcomes, strict=True):
        if outcome.end != "row":
            lines.append(f"{name}: {outcome.end}: {outcome.message}")
            continue
        ignore = _ignored(text, outcome)
        understood = ignore is not None and not confirm(text, outcome, ignore)
        if understood or name in known:
            found.append(Original(name, text, outcome, ignore or frozenset(), understood))
        else:
            lines.append(f"{name}: not confirmed: {confirm(text, outcome)}")
    return found, lines


def _ignored(text: bytes, outcome: Outcome) -> frozenset[str] | None:
    """Checks that an unspoilt file fails although its atoms are as read; None if the oracle has no such crystal."""
    assert outcome.crystal is not None
    try:
        file = parse(text)
        found = [crystal for _, crystal in candidates(file) if not difference(outcome.crystal, crystal, NEAR)]
    except (MeaninglessError, np.linalg.LinAlgError):
        return None  # the oracle is plainer than the reader
    return frozenset(failed_checks(file, found[0])) if found else None


def with_symmetry(text: bytes) -> bytes:
    """A P1 file as pymatgen writes it with its symmetry."""
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifWriter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(CifWriter(Structure.from_str(text.decode(), fmt="cif"), symprec=0.01)).encode()


def crystals(folder: Path) -> dict[str, bytes]:
    """The tests' crystals, as they are and with their symmetry."""
    plain = {path.stem: path.read_bytes() for path in sorted(folder.rglob("*.cif"))}
    return plain | {f"{name}+symmetry": with_symmetry(text) for name, text in plain.items()}


def mutants(originals: Sequence[Original], count: int, seed: int) -> Iterator[Mutant]:
    """As many as wanted, each kind equally often; each follows from the seed, its index and the list of originals."""
    for index in range(count):
        mutation = MUTATIONS[index % len(MUTATIONS)]
        rng = random.Random(f"{seed}:{index}")  # noqa: S311 (no secret)
        for _ in range(300):
            original, other = rng.choice(originals), rng.choice(originals)
            if not original.understood and mutation.allows in (CHANGE, DAMAGE):
                continue
            try:
                text = mutation.apply(rng, original.text, other.text)
            except DoesNotApplyError:
                continue
            yield Mutant(original, mutation, index, text)
            break


def judge(mutant: Mutant, outcome: Outcome) -> tuple[str, str]:
    """One of `ENDS`, and why."""
    allows = mutant.mutation.allows
    if outcome.end == "reject":
        return ("undeserved" if allows == SAME else "reject"), outcome.message
    if outcome.crystal is None:
        return outcome.end, outcome.message
    changed = unlike(mutant.original.outcome, outcome)
    if not changed and allows in (SAME, SAME_OR_REJECT, DAMAGE):
        return "confirmed", ""
    if allows in (CHANGE, DAMAGE):
        changed = confirm(mutant.text, outcome, mutant.original.ignore)
    elif not changed:
        changed = "it should have been rejected"
    return ("wrong", changed) if changed else ("confirmed", "")


def unlike(original: Outcome, outcome: Outcome) -> str:
    """How a row differs from the original's; empty if it is the same crystal."""
    assert original.crystal is not None
    assert outcome.crystal is not None
    apart = difference(outcome.crystal, original.crystal, NEAR)
    before, after = original.row, outcome.row
    for column in ("reduced_formula", "nsites", "space_group_number"):
        if not apart and before[column] != after[column]:
            apart = f"{column} is {after[column]} instead of {before[column]}"
    return apart or row_off(outcome)


def fuzz(originals: Sequence[Original], count: int, seed: int, *, serial: bool = False, keep: Path | None = None,
         ) -> tuple[dict[str, Counter[str]], list[str]]:
    """For each kind of mutation the number of each of `ENDS`; and a line for each that is not right.

    Args:
        originals: what is mutated.
        count: of mutants.
        seed: of all that is drawn.
        serial: read in this process, without a limit of time.
        keep: folder for the files that are not right.
    """
    sample = list(mutants(originals, count, seed))
    outcomes = read_all([mutant.text for mutant in sample], serial=serial)
    counts: dict[str, Counter[str]] = {mutation.name: Counter() for mutation in MUTATIONS}
    lines = []
    for mutant, outcome in zip(sample, outcomes, strict=True):
        end, why = judge(mutant, outcome)
        counts[mutant.mutation.name][end] += 1
        if end not in ("confirmed", "reject"):
            name = f"{seed}-{mutant.index}"
            lines.append(f"{end}: {name} {mutant.original.name}, {mutant.mutation.name}: {why}")
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}.cif").write_bytes(mutant.text)
    return counts, lines
