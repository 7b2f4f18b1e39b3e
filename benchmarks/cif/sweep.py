"""All settings of the space-group tables with one general atom, by every way of giving them in a CIF.

Truth are the operations of the setting themselves, applied to the atom here. A way that may mean several settings
(a name without its origin, a number alone) is right if it gives the one that was meant or the conventional one of
those that fit the cell: unique axis b and cell choice 1, the second origin, hexagonal axes. Only such a way may be
rejected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import gemmi
import numpy as np

from benchmarks.cif.reading import Crystal, Floats, Outcome, difference, lattice_of, read_all

TOLERANCE = 1e-3  # Å
VOLUME = 25.0
"""Å³ for each atom: so much that no two are close in any setting of the number."""
GENERIC = np.array([[1.0, -0.21, -0.17], [-0.21, 1.3, -0.11], [-0.17, -0.11, 1.7]])
"""A metric without symmetry; averaged over a point group it is one that has just this symmetry."""
MODERN = {"A b m 2": "A e m 2", "A b a 2": "A e a 2", "C m c a": "C m c e", "C m m a": "C m m e", "C c c a": "C c c e"}
"""Names of the tables since 1992 for those before."""
OPERATIONS, HALL, NAME, SPELLING, NUMBER = "operations", "Hall symbol", "name", "name spelt otherwise", "number"


@dataclass(frozen=True, eq=False)
class Setting:
    """One entry of the tables."""

    hm: str
    """Hermann-Mauguin name, with blanks, without the origin or the axes."""
    choice: str
    """1 or 2 (the origin), H or R (the axes), or nothing."""
    hall: str
    number: int
    reference: bool
    """Whether it is the conventional one of its number."""
    triplets: tuple[str, ...]
    rotations: Floats
    """`[n, 3, 3]`, of all operations."""
    translations: Floats
    """`[n, 3]`."""

    @property
    def name(self) -> str:
        """The name that no other setting has."""
        return f"{self.hm}:{self.choice}" if self.choice else self.hm

    @cached_property
    def metric(self) -> Floats:
        """A metric tensor, in Å², with the symmetry of the setting and no more."""
        # fractions x become x·Rᵀ, so a metric G becomes RᵀGR
        average = np.mean(self.rotations.transpose(0, 2, 1) @ GENERIC @ self.rotations, axis=0)
        edge = (VOLUME * len(self.rotations) / np.sqrt(np.linalg.det(average))) ** (1 / 3)
        return np.asarray(average * edge**2)

    @cached_property
    def atom(self) -> Floats:
        """A position, of some hundred, whose images are farthest from each other; rounded as files give it."""
        draws = np.random.default_rng(7).random((200, 3)).round(5)
        lattice, nearest = lattice_of(self.metric), np.full(len(draws), np.inf)
        for other in {self, conventional(self)}:  # near a mirror of the other it would be two atoms in one place
            steps = np.stack([draw - other.orbit(draw)[1:] for draw in draws])  # the first leaves all as it is
            apart = np.linalg.norm((steps - np.rint(steps)) @ lattice, axis=-1)
            nearest = np.minimum(nearest, apart.min(axis=1, initial=np.inf))
        return np.asarray(draws[int(np.argmax(nearest))])

    def orbit(self, atom: Floats) -> Floats:
        """All atoms that the operations make of one, `[n, 3]`."""
        return np.asarray((self.rotations @ atom + self.translations) % 1.0)

    def fits(self, cell: Floats) -> bool:
        """Whether the operations leave a metric as it is."""
        return np.allclose(self.rotations.transpose(0, 2, 1) @ cell @ self.rotations, cell, atol=1e-6 * cell.max())


@cache
def settings() -> tuple[Setting, ...]:
    """All that gemmi has."""
    found = []
    for group in gemmi.spacegroup_table():
        operations = list(group.operations())
        found.append(Setting(
            group.hm, group.ext.strip("\0"), group.hall, group.number, group.is_reference_setting(),
            tuple(operation.triplet() for operation in operations),
            np.array([operation.rot for operation in operations]) / gemmi.Op.DEN,
            np.array([operation.tran for operation in operations]) / gemmi.Op.DEN))
    return tuple(found)


def conventional(setting: Setting) -> Setting:
    """Of the settings of its number that fit its cell, the conventional one."""
    fitting = [other for other in settings() if other.number == setting.number and other.fits(setting.metric)]
    return next((other for other in fitting if other.reference), fitting[0])


@dataclass(frozen=True)
class Case:
    """One setting by one way."""

    way: str
    setting: Setting
    says: str
    """What of the symmetry stands in the file."""
    text: bytes
    allowed: tuple[Setting, ...]
    """Settings that are right answers; the first is the one that was meant."""
    certain: bool
    """Whether the way leaves nothing open, so that a reject is undeserved."""


def sweep(every: int = 1, *, serial: bool = False) -> tuple[dict[str, Counter[str]], list[str]]:
    """For each way the number of right, wrong and undeserved answers; and a line for each that is not right."""
    cases = list(all_cases(every))
    counts: dict[str, Counter[str]] = {}
    lines = []
    for case, outcome in zip(cases, read_all((case.text for case in cases), as_row=False, serial=serial),
                             strict=True):
        verdict, why = judge(case, outcome)
        counts.setdefault(case.way, Counter())[verdict] += 1
        if verdict in ("wrong", "undeserved"):
            lines.append(f"{verdict}: {case.setting.name} (no. {case.setting.number}) by {case.way} {case.says}: {why}")
    return counts, lines


def judge(case: Case, outcome: Outcome) -> tuple[str, str]:
    """Right, wrong, undeserved or rejected (which was allowed), and why."""
    if outcome.end == "reject":
        return ("undeserved" if case.certain else "rejected"), outcome.message
    if outcome.crystal is None:
        return "wrong", f"{outcome.end}: {outcome.message}"
    found = [difference(outcome.crystal, truth(setting, case.setting), TOLERANCE) for setting in case.allowed]
    said = "".join(f" (flag: {flag})" for flag in outcome.flags)
    return ("right", "") if "" in found else ("wrong", f"{found[0]}{said}")


def all_cases(every: int = 1) -> Iterator[Case]:
    """Each `every`-th setting by each way."""
    for setting in settings()[::every]:
        for way, says in ways(setting):
            allowed, certain = meanings(setting, way, says)
            yield Case(way, setting, " | ".join(says.values()) if way != OPERATIONS else "", write(setting, says),
                       allowed, certain)


def ways(setting: Setting) -> Iterator[tuple[str, dict[str, str]]]:
    """Ways of giving a setting, each with the items that it writes."""
    for tag in ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz"):
        yield OPERATIONS, {tag: "\n".join(f"'{triplet}'" for triplet in setting.triplets)}
    for tag in ("_symmetry_space_group_name_Hall", "_space_group_name_Hall"):
        yield HALL, {tag: setting.hall}
    tag, number = "_symmetry_space_group_name_H-M", "_symmetry_Int_Tables_number"
    names = {setting.name}
    if setting.choice:
        names |= {f"{setting.hm} :{setting.choice}"}
        yield NAME, {tag: setting.hm}
    for name in sorted(names):
        yield NAME, {tag: name}
        yield NAME, {"_space_group_name_H-M_alt": name, "_space_group_IT_number": str(setting.number)}
    for name in sorted(spellings(setting) - names - {setting.hm}):
        yield SPELLING, {tag: name}
    yield NUMBER, {number: str(setting.number)}
    yield NUMBER, {"_space_group_IT_number": str(setting.number)}


def spellings(setting: Setting) -> set[str]:
    """Other ways to write the setting's name: without blanks, with underscores, short, old, of 1992, of the ICSD."""
    found = set()
    for name in {setting.hm, MODERN.get(setting.hm, setting.hm), old(setting), short(setting)}:
        screws = re.sub(r"\b([2346])([1-5])\b", r"\1_\2", name)
        found |= {name, name.replace(" ", ""), name.replace(" ", "_"), screws.replace(" ", ""), screws}
    if not setting.choice:
        return found
    ending = {"1": "S", "2": "Z"}.get(setting.choice, setting.choice)  # as the ICSD writes
    return found | {f"{name}:{setting.choice}" for name in found} | {f"{name} {ending}" for name in found}


def old(setting: Setting) -> str:
    """`F m 3 m` for `F m -3 m`."""
    return setting.hm.replace(" -3", " 3") if setting.number >= 200 else str(setting.hm)


def short(setting: Setting) -> str:
    """`P 21/c` for `P 1 21/c 1`."""
    return re.sub(" 1(?= |$)", "", setting.hm) if 3 <= setting.number <= 15 else str(setting.hm)


@cache
def _by_name() -> dict[str, list[Setting]]:
    """Settings by each name without blanks and underscores, with and without the origin."""
    table: dict[str, list[Setting]] = {}
    for setting in settings():
        for name in {_plain(name) for name in (setting.name, *spellings(setting))}:
            table.setdefault(name, []).append(setting)
    return table


def _plain(name: str) -> str:
    return re.sub(r"[\s_]", "", name)


def meanings(setting: Setting, way: str, says: dict[str, str]) -> tuple[tuple[Setting, ...], bool]:
    """Settings that are right answers, and whether nothing is left open."""
    if way in (OPERATIONS, HALL):
        return (setting,), True
    if way == NUMBER:
        possible = [other for other in settings() if other.number == setting.number]
    else:
        name = next(text for tag, text in says.items() if "name" in tag)
        possible = _by_name()[_plain(name)]
    fitting = [other for other in possible if other.fits(setting.metric)]
    reference = next((other for other in fitting if other.reference), fitting[0])
    different = {frozenset(other.triplets) for other in fitting}
    certain = len(different) == 1
    if way == NUMBER:  # it means the conventional setting; where the cell says otherwise, a reader may give up
        usual = {other.hm for other in possible if other.reference}
        certain = setting.hm in usual and (certain or not setting.choice)
    return tuple(dict.fromkeys((setting, reference))), certain


def truth(setting: Setting, of_file: Setting) -> Crystal:
    """The crystal if the file of one setting is read in another."""
    atoms = setting.orbit(of_file.atom)
    return Crystal(lattice_of(of_file.metric), ("C",) * len(atoms), atoms)


def write(setting: Setting, says: dict[str, str]) -> bytes:
    """A CIF of a setting with one general atom."""
    edges = lattice_of(setting.metric)
    lengths = np.linalg.norm(edges, axis=1)
    cosines = edges @ edges.T / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]]))
    lines = ["data_one",
             *(f"_cell_length_{name} {value:.6f}" for name, value in zip("abc", lengths, strict=True)),
             *(f"_cell_angle_{name} {value:.6f}" for name, value in zip(("alpha", "beta", "gamma"), angles,
                                                                         strict=True))]
    for tag, value in says.items():
        lines.append(f"loop_\n{tag}\n{value}" if "xyz" in tag else f"{tag} {_quoted(value)}")
    x, y, z = setting.atom
    lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol",
              *(f"_atom_site_fract_{axis}" for axis in "xyz"), f"C1 C {x:.5f} {y:.5f} {z:.5f}", ""]
    return "\n".join(lines).encode()


def _quoted(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"
