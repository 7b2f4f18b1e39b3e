"""The symmetry that a file gives: its list of operations, Hall symbol, Hermann-Mauguin name or number.

The first of them that the file has is used. The others must name the same space group; where they do not, or where a
name leaves the origin open, there are several candidates, between which the file's other facts decide
(`features.cif.read`).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import gemmi
import numpy as np
import spglib

from features.bounds import Bounds
from features.cif.grammar import Block
from features.cif.operations import Floats, Operations, combined, from_triplets
from features.errors import RowError

LISTS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_centering_xyz")
GIVEN = (*LISTS, MAGNETIC[0])
HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
NAMES = ("_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m", "_space_group_name_h-m",
         "_space_group_name_h-m_full", "_symmetry_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m_full")
NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number", "_symmetry_int_table_number",
           "_space_group_int_tables_number")
SETTING = ("_space_group_it_coordinate_system_code",)
SUPERSPACE = ("_space_group_ssg_", "_space_group_symop_ssg_", "_cell_modulation_", "_cell_wave_vector_")
MISFIT = 0.01
"""How far a cell may be from the symmetry of its group: 0.5 % in lengths, 0.6° in angles. Cells are measured."""


Kind = Literal["operations", "hall", "name", "number", "atoms"]
"""How symmetry is given; `atoms`: not at all, so that all atoms of the cell must be listed."""


@dataclass(frozen=True)
class Candidate:
    """Operations that the file may mean."""

    operations: Operations
    kind: Kind
    """Where they are from."""
    origin: str
    """The same in words."""
    flags: Mapping[str, str] = field(default_factory=dict)
    doubt: str | None = None
    """Why they may only be used if the formula with Z, or the density, confirms them; None if there is no doubt."""
    numbers: frozenset[int] = frozenset()
    """Space groups that the file names. A crystal listed atom by atom is confirmed by having one of them."""
    fault: str = "contradicts_symmetry"
    """Kind of the reject, if the doubt is not removed."""


@dataclass(frozen=True)
class _Source:
    """One of the ways in which the file gives its symmetry."""

    kind: Kind
    origin: str
    choices: list[Operations]
    number: int | None


def candidates(block: Block, metric: Floats, bounds: Bounds) -> list[Candidate]:
    """What the file's symmetry may be, the likeliest first; several only where its name leaves the origin open, or
    where it contradicts itself.

    Args:
        metric: metric tensor of the cell, Å², `[3, 3]`.
        bounds: how many operations may be listed.

    Raises:
        RowError: `over_bound`, `superspace`, `unknown_space_group`, `unreadable` for a text that is no operation, or
            `contradicts_symmetry` for a list that is no group and stands alone.
    """
    listed, flags = _listed(block, bounds)
    sources = list(_sources(block, metric))
    if not sources and listed is None:
        return [Candidate(_P1, "atoms", "all atoms of the cell", {}, *_nothing(block))]
    doubts = []
    if listed is not None and not listed[1].is_group:
        fault = f"the {len(listed[1])} operations listed are no group, since products of them are missing"
        flags["operations_incomplete"] = fault
        complete = _holding(sources, listed[1])
        if not sources:
            raise RowError("contradicts_symmetry", f"{fault}, and no name in the file completes them")
        if not complete:
            doubts.append(f"{fault}, and {sources[0].origin} does not complete them")
        sources, listed = complete or sources, None
    if listed is not None:
        sources.insert(0, _Source("operations", listed[0], [listed[1]], listed[1].number))
    if len({source.number for source in sources}) > 1:
        doubts += [f"{source.origin} {'are' if source.kind == 'operations' else 'is'} space group "
                   f"{source.number or 'unknown'}" for source in sources]
    doubt = "; ".join(doubts) or None
    numbers = frozenset(source.number for source in sources if source.number is not None)
    # of a name and a number in dispute the facts may choose either; a list of operations is never overruled by a name,
    # only completed by the centring of the lattice
    usable = sources if doubt and listed is None else sources[:1]
    result = [Candidate(choice, source.kind, source.origin, flags, doubt, numbers) for source in usable
              for choice in source.choices if choice.misfit(metric) <= MISFIT]
    if listed is not None and doubt is not None:
        result += [Candidate(choice, source.kind, source.origin, flags | {"operations_incomplete": _CENTRING}, doubt)
                   for source in sources[1:] for choice in source.choices
                   if choice.keys > listed[1].keys and choice.rotation_keys == listed[1].rotation_keys]
    if not result:
        return [Candidate(_P1, "atoms", "all atoms of the cell", {}, _misfit(sources[0], metric), numbers,
                          "contradicts_cell")]
    different: dict[frozenset[tuple[int, ...]], Candidate] = {}
    for candidate in result:
        different.setdefault(candidate.operations.keys, candidate)
    return list(different.values())


_CENTRING = "the operations are listed without the centring of the lattice"
_P1 = Operations.of(gemmi.find_spacegroup_by_number(1).operations())


def _listed(block: Block, bounds: Bounds) -> tuple[tuple[str, Operations] | None, dict[str, str]]:
    flags = {}
    modulated = block.has(*SUPERSPACE)
    if modulated:
        flags["modulated"] = f"a modulated structure ({modulated}): this is its average"
    for tag in LISTS:
        triplets = block.column(tag)
        if triplets and not all(block.nulls(tag)):
            bounds.check_operations(len(triplets))
            return ("the operations listed", from_triplets(tuple(triplets), tag)), flags
    triplets = block.column(MAGNETIC[0])
    if triplets and not modulated:
        centrings = block.column(MAGNETIC[1])
        bounds.check_operations(len(triplets) * max(1, len(centrings or ())))
        operations = from_triplets(tuple(triplets), MAGNETIC[0])
        if centrings:
            operations = combined(operations, from_triplets(tuple(centrings), MAGNETIC[1]))
        # what reverses moments still moves atoms, so the order is that of the crystal without moments or a part of it
        return ("the operations of the magnetic group", operations), flags
    return None, flags


def _sources(block: Block, metric: Floats) -> Iterator[_Source]:
    hall = block.text(*HALL)
    if hall is not None:
        operations = from_hall(hall)
        if operations is not None:
            yield _Source("hall", f"the Hall symbol '{hall}'", [operations], operations.number)
    setting = block.text(*SETTING)
    names = {name: of_name(name) for name in (block.text(tag) for tag in NAMES) if name is not None}
    for name, groups in names.items():
        if groups:
            yield _Source("name", f"the name '{name}'", _choices(groups, setting, metric), groups[0].number)
    if names and not any(names.values()) and hall is None and not any(block.column(tag) for tag in GIVEN):
        if block.has(*SUPERSPACE):
            raise _superspace()
        raise RowError("unknown_space_group", f"'{next(iter(names))}' is no Hermann-Mauguin name of a space group in "
                                              "any setting of the tables; give the operations "
                                              "(_space_group_symop_operation_xyz)")
    number = block.text(*NUMBERS)
    if number is not None and number.isdigit() and 1 <= int(number) <= 230:
        groups = of_number(int(number))
        yield _Source("number", f"the number {number}", _choices(groups, setting, metric, standard=True), int(number))


def _choices(groups: list[gemmi.SpaceGroup], setting: str | None, metric: Floats, standard: bool = False,
             ) -> list[Operations]:
    """Settings that remain open: origins, or else the first one that fits the cell."""
    coded = [group for group in groups if setting and setting.lower() in (_extension(group).lower(), group.qualifier)]
    groups = coded or groups
    operations = {group.xhm(): _operations(group.xhm()) for group in groups}
    fitting = [group for group in groups if operations[group.xhm()].misfit(metric) <= MISFIT] or groups[:1]
    first = fitting[0]
    origins = [group for group in fitting if group.hm == first.hm and _extension(group) in ("1", "2")]
    if standard and origins:
        origins.sort(key=lambda group: not group.is_reference_setting())
    return [operations[group.xhm()] for group in origins or fitting[:1]]


def _holding(sources: list[_Source], operations: Operations) -> list[_Source]:
    """The sources with those of their choices that hold all the operations, as far as there are any."""
    reduced = [replace(source, choices=[choice for choice in source.choices if choice.keys >= operations.keys])
               for source in sources]
    return [source for source in reduced if source.choices]


def _misfit(source: _Source, metric: Floats) -> str:
    a, b, c = np.sqrt(np.diagonal(metric))
    angles = [float(np.degrees(np.arccos(metric[i, j] / np.sqrt(metric[i, i] * metric[j, j]))))
              for i, j in ((1, 2), (0, 2), (0, 1))]
    return f"{source.origin} (space group {source.number}) cannot be that of a cell with edges {a:.4g}, {b:.4g}, " \
           f"{c:.4g} Å and angles {', '.join(f'{angle:.5g}' for angle in angles)}°"


def _nothing(block: Block) -> tuple[str, frozenset[int], str]:
    """Doubt, numbers and kind for a file without symmetry. Raises `RowError` where it is plain that atoms are missing.
    """
    if block.has(*SUPERSPACE):
        raise _superspace()
    wrong = block.text(*HALL, *NUMBERS)
    if wrong is not None:
        raise RowError("unknown_space_group", f"'{wrong}' is neither the Hall symbol nor the number of a space group")
    return ("the file gives no symmetry, neither operations nor a name of the space group", frozenset(),
            "no_symmetry_given")


def _superspace() -> RowError:
    return RowError("superspace", "a modulated structure, given by superspace operations only; an ordinary "
                                  "structure is expected")


def from_hall(symbol: str) -> Operations | None:
    """Operations of a Hall symbol (S. R. Hall, Acta Cryst. A37, 517, 1981); None if it is none."""
    try:
        operations = Operations.of(gemmi.symops_from_hall(symbol.replace("_", " ")))
    except (ValueError, RuntimeError):
        return None
    return operations if operations.is_group and operations.number is not None else None


def of_number(number: int) -> list[gemmi.SpaceGroup]:
    """The standard setting of the International Tables, then the other origin or axes that it may be written in."""
    standard = gemmi.get_spacegroup_reference_setting(number)
    return [standard, *(group for group in gemmi.spacegroup_table()
                        if group.hm == standard.hm and group.number == number and group.xhm() != standard.xhm())]


_ORIGIN = re.compile(r"[\s(\[,;:]+(?:origin|setting)\s*(?:choice|at|no\.?)?\s*:?\s*([12])\s*[)\]]?$", re.IGNORECASE)
_ENDING = re.compile(r"(?:\s*:\s*|\s+|\s*\(\s*)([12HRSZ])\s*\)?$", re.IGNORECASE)


def of_name(name: str) -> list[gemmi.SpaceGroup]:
    """Settings that a Hermann-Mauguin name may mean, the conventional one first; none if nobody knows it.

    Short, full and old names (`P 21/c`, `P 1 21/c 1`, `Fm3m`), with or without blanks or underscores, with an
    extension (`:1`, `:2`, `:H`, `:R`; `S` and `Z` for the origins, as the ICSD writes) or without.
    """
    name = " ".join(re.sub(r"(?<=\d)\((\d)\)", r"\1", name.replace("_", "").replace("\u0305", "-")).split())
    settings = _index().get(_compact(name), [])
    if settings:
        return settings
    ending = _ORIGIN.search(name) or _ENDING.search(name)
    if ending is None:
        return _by_compact(_compact(name))
    extension = {"S": "1", "Z": "2"}.get(ending[1].upper(), ending[1].upper())
    settings = _by_compact(_compact(name[:ending.start()]))
    if not any(_extension(group) for group in settings):
        return settings  # an origin or axes named where there is no choice
    return [group for group in settings if _extension(group) == extension]


@functools.lru_cache(maxsize=1024)
def _operations(setting: str) -> Operations:
    """Those of a setting by its extended name, which is unique in the table."""
    return Operations.of(next(group for group in gemmi.spacegroup_table() if group.xhm() == setting).operations())


def _by_compact(compact: str) -> list[gemmi.SpaceGroup]:
    settings = _index().get(compact)
    if settings:
        return settings
    group = gemmi.find_spacegroup_by_name(compact[:1].upper() + compact[1:]) if compact[:1].isalpha() else None
    return [] if group is None else [other for other in gemmi.spacegroup_table()
                                     if other.hm == group.hm and other.number == group.number]


@functools.lru_cache(maxsize=1)
def _index() -> dict[str, list[gemmi.SpaceGroup]]:
    """Compact name → settings, in the order of the table, which begins with the conventional one."""
    index: dict[str, list[gemmi.SpaceGroup]] = {}
    # the 530 settings of the tables stand in the same order in both libraries; spglib has their full names
    full = [spglib.get_spacegroup_type(number).international_full.replace("_", "") for number in range(1, 531)]
    for group, full_name in itertools.zip_longest(gemmi.spacegroup_table(), full):
        names = {_compact(group.hm), _compact(group.xhm())}
        if 3 <= group.number <= 15:  # P 1 21/c 1 → P 21/c
            names.add(_compact("".join(part for part in group.hm.split() if part != "1")))
        if 200 <= group.number <= 206 or 221 <= group.number <= 230:  # F m -3 m → F m 3 m
            names.add(_compact(group.hm.replace("-3", "3")))
        if full_name is not None:
            names.add(_compact(full_name))
        for name in names:
            index.setdefault(name, []).append(group)
    return index


def _compact(name: str) -> str:
    return re.sub(r"\s", "", name).lower()


def _extension(group: gemmi.SpaceGroup) -> str:
    return str(group.ext).strip("\0 ")
