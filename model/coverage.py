"""What a model has seen: elements, sizes and densities of its training crystals, and what of a crystal lies outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from features.store import tables

COLUMNS = ("elements", "nsites", "density", "volume")
"""Columns of `materials` that this reads, of training crystals and of any other."""
DIGITS = 3
"""Significant digits that numbers are compared in and said in: nobody is told that 22.1 lies beyond 22.1."""
QUANTITIES: Mapping[str, str] = {
    "nsites": "{} atoms in the primitive cell",
    "density": "density {} g/cm³",
    "volume_per_atom": "{} Å³ per atom",
}
"""What has a range, in the words that a value of it is said in."""


@dataclass(frozen=True)
class Outside:
    """One thing that the training crystals do not reach."""

    quantity: str
    """`elements`, or a name in `QUANTITIES`."""
    value: list[str] | float
    """The elements that no training crystal has, or the number."""
    seen: tuple[float, float] | None
    """Least and greatest number of the training crystals; None for elements."""
    message: str
    """All of it in words."""


@dataclass(frozen=True)
class Coverage:
    """What the training crystals of a model are made of, and how large and dense they are."""

    elements: dict[str, int]
    """How many training crystals have each element."""
    ranges: dict[str, tuple[float, float]]
    """Least and greatest value of each quantity: `nsites` of the primitive cell, `density` in g/cm³,
    `volume_per_atom` in Å³."""

    @classmethod
    def of(cls, root: Path, ids: Sequence[str]) -> Self:
        """The coverage of these crystals, at least one, of a project's table `materials`."""
        table = tables.read(root, "materials", COLUMNS, ids)
        counts = table["elements"].combine_chunks().flatten().value_counts()
        elements = dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
        numbers = _numbers({name: table[name].to_numpy() for name in COLUMNS if name != "elements"})
        return cls(dict(sorted(elements.items())),
                   {name: (values.min().item(), values.max().item()) for name, values in numbers.items()})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(dict(content["elements"]), {name: (low, high) for name, (low, high) in content["ranges"].items()})

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    def outside(self, material: Mapping[str, Any]) -> list[Outside]:
        """What of a crystal, a row of `materials`, no training crystal reaches; nothing for a training crystal."""
        found = []
        unseen = sorted(set(material["elements"]) - set(self.elements))
        if unseen:
            found.append(Outside("elements", unseen, None, f"elements never seen: {', '.join(unseen)}"))
        for quantity, value in _numbers(material).items():
            seen = self.ranges[quantity]
            if not _rounded(seen[0]) <= _rounded(value) <= _rounded(seen[1]):
                said, low, high = (f"{_rounded(number):.15g}" for number in (value, *seen))
                found.append(Outside(quantity, value, seen,
                                     f"{QUANTITIES[quantity].format(said)}, seen {low} to {high}"))
        return found

    def crystals_with(self, elements: Sequence[str]) -> dict[str, int]:
        """How many training crystals have each of these elements."""
        return {element: self.elements.get(element, 0) for element in elements}


def read_crystals(root: Path, ids: Sequence[str]) -> list[dict[str, Any]]:
    """`COLUMNS` of these crystals, in their order."""
    rows = tables.read(root, "materials", ["material_id", *COLUMNS], ids).to_pylist()
    of = {row["material_id"]: row for row in rows}
    return [of[one] for one in ids]


def in_words(outside: Sequence[Outside]) -> str:
    """All of it in one line; empty if there is nothing."""
    return "; ".join(one.message for one in outside)


def _numbers(material: Mapping[str, Any]) -> dict[str, Any]:
    """The quantities, from columns of `materials` or from one row's values."""
    return {"nsites": material["nsites"], "density": material["density"],
            "volume_per_atom": material["volume"] / material["nsites"]}


def _rounded(number: float) -> float:
    return number if isinstance(number, int) else float(f"{number:.{DIGITS}g}")
