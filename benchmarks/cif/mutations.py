"""What can happen to a CIF on its way, and what an honest reader may make of it afterwards.

A mutation works on the bytes, or on a `Draft`: the items of the one block with atoms, which is then written anew.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gemmi

from benchmarks.cif.operations import MeaninglessError, parse_operation

SAME = "same"
"""The crystal is what it was, and a reject is undeserved."""
SAME_OR_REJECT = "same or reject"
DAMAGE = "damage"
"""The crystal is what it was, or one that the oracle confirms; or a reject."""
CHANGE = "change"
"""A crystal that the oracle confirms, or a reject."""
REJECT = "reject"

ATOMS = "_atom_site_fract_x"
OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
NAMES = ("_symmetry_space_group_name_h-m", "_space_group_name_h-m_alt")
NUMBERS = ("_symmetry_int_tables_number", "_space_group_it_number")
HALLS = ("_symmetry_space_group_name_hall", "_space_group_name_hall")
CELL = tuple(f"_cell_{what}" for what in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta",
                                          "angle_gamma"))
NONSENSE = ("nan", "NaN", "inf", "-Infinity", "1e300", "-1e300", "1e-300", "?", ".", "abc", "0x10", "1_0", "0,25",
            "１.５", "''", "--1", "1e", "1.2.3", "(3)", "9" * 400, "1/3", "$x", "0.5(", "\\", "-0")


class DoesNotApplyError(Exception):
    """A file has nothing that this mutation changes."""


@dataclass
class Loop:
    """Raw values of a loop, row by row."""

    tags: list[str]
    rows: list[list[str]]

    def at(self, *tags: str) -> int:
        """The place of the first of these columns. Raises `DoesNotApplyError` if there is none."""
        for place, tag in enumerate(self.tags):
            if tag.lower() in tags:
                return place
        raise DoesNotApplyError


@dataclass
class Draft:
    """The items of a block: pairs `[tag, raw value]` and loops."""

    items: list[list[str] | Loop]

    @classmethod
    def of(cls, text: bytes) -> Draft:
        """That of the block with atoms. Raises `DoesNotApplyError` if there is none."""
        try:
            document = gemmi.cif.read_string(text.decode("utf-8-sig", "replace"))
        except (ValueError, RuntimeError):
            raise DoesNotApplyError from None
        for block in document:
            if list(block.find_values(ATOMS)):
                items: list[list[str] | Loop] = []
                for item in block:
                    pair: Any = item.pair
                    if item.loop:
                        items.append(_loop(item.loop))
                    elif pair:
                        items.append(list(pair))
                return cls(items)
        raise DoesNotApplyError

    def loop(self, *tags: str) -> Loop:
        """The loop with one of these columns."""
        for item in self.items:
            if isinstance(item, Loop) and any(tag.lower() in tags for tag in item.tags):
                return item
        raise DoesNotApplyError

    def pair(self, *tags: str) -> list[str]:
        """The item of one of these tags."""
        for item in self.items:
            if not isinstance(item, Loop) and item[0].lower() in tags:
                return item
        raise DoesNotApplyError

    def has(self, *tags: str) -> bool:
        """Whether one of these tags is there."""
        return any(tag.lower() in tags for item in self.items
                   for tag in (item.tags if isinstance(item, Loop) else item[:1]))

    @property
    def atoms(self) -> Loop:
        """The atoms."""
        return self.loop(ATOMS)

    @property
    def operations(self) -> Loop:
        """The operations; more than the identity."""
        loop = self.loop(*OPERATIONS)
        if len(loop.rows) < 2:
            raise DoesNotApplyError
        return loop

    def write(self, sep: str = " ") -> bytes:
        """As text."""
        lines = ["data_mutated"]
        for item in self.items:
            if isinstance(item, Loop):
                lines += ["loop_", *item.tags, *(_joined(row, sep) for row in item.rows)]
            else:
                lines.append(_joined(item, sep))
        return ("\n".join(lines) + "\n").encode()


def _loop(loop: gemmi.cif.Loop) -> Loop:
    width, values = loop.width(), list(loop.values)
    return Loop(list(loop.tags), [values[start:start + width] for start in range(0, len(values), width)])


def _joined(values: list[str], sep: str) -> str:
    return "".join(f"\n{value}\n" if value.startswith(";") else value + sep for value in values).rstrip(" ")


@dataclass(frozen=True)
class Mutation:
    """One kind of change."""

    name: str
    allows: str
    apply: Callable[[random.Random, bytes, bytes], bytes]
    """Of a source of chance, the file, and another file. Raises `DoesNotApplyError`."""


MUTATIONS: list[Mutation] = []
OnText = Callable[[random.Random, bytes, bytes], bytes]
OnDraft = Callable[[random.Random, Draft], None]


def on_text(allows: str) -> Callable[[OnText], OnText]:
    """Register a change of bytes."""

    def register(function: OnText) -> OnText:
        MUTATIONS.append(Mutation(function.__name__.replace("_", " "), allows, function))
        return function

    return register


def on_draft(allows: str) -> Callable[[OnDraft], OnDraft]:
    """Register a change of items, made in place."""

    def register(function: OnDraft) -> OnDraft:
        def apply(rng: random.Random, text: bytes, _other: bytes) -> bytes:
            draft = Draft.of(text)
            function(rng, draft)
            return draft.write()

        MUTATIONS.append(Mutation(function.__name__.replace("_", " "), allows, apply))
        return function

    return register


def image_of(place: list[str], triplet: str, shifts: tuple[int, int, int] = (0, 0, 0)) -> list[str]:
    """Coordinates of the image of an atom. Raises `DoesNotApplyError` for what cannot be computed."""
    try:
        turn, move = parse_operation(triplet.strip("'\""))
        numbers = [float(re.sub(r"\(\d+\)$", "", part)) for part in place]
    except (MeaninglessError, ValueError):
        raise DoesNotApplyError from None
    return [f"{sum(factor * number for factor, number in zip(row, numbers, strict=True)) + float(part) + shift:.8f}"
            for row, part, shift in zip(turn, move, shifts, strict=True)]
