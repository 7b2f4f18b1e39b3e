"""Figures that a benchmark prints, each beside what it must be; those with a key also stand in docs/benchmarks.csv."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import sheet

TABLE = "BENCHMARKS_TABLE"
"""Environment variable: the file that figures with a key are written into; without it they are only printed."""


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    what: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    note: str = ""
    key: str = ""
    """Under which pages quote it, such as `describe.embedded.60.ratio`; empty for what no page needs."""

    @property
    def is_met(self) -> bool:
        """Whether it keeps its bounds; one that has none does."""
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    @property
    def bound(self) -> str:
        """What it must be, in words; empty if it may be anything."""
        bounds = (("at least", self.least), ("at most", self.most))
        return ", ".join(f"{words} {bound:g}" for words, bound in bounds if bound is not None)

    def __str__(self) -> str:
        said = f"{self.bound}: {'met' if self.is_met else 'NOT MET'}" if self.bound else ""
        return f"{self.what:<52} {self.value:>9,.3g} {self.unit:<5} {said:<24} {self.note}".rstrip()


def show(title: str, figures: Iterable[Figure]) -> int:
    """Print figures as they come, below a title. Returns the exit code of a benchmark: 1 if one misses its bound."""
    print(f"\n{title}", flush=True)
    met, shown = True, []
    for figure in figures:
        print(figure, flush=True)
        met &= figure.is_met
        shown.append(figure)
    if os.environ.get(TABLE):
        keep(Path(os.environ[TABLE]), shown)
    return int(not met)


def keep(path: Path, figures: Iterable[Figure]) -> None:
    """Put figures with a key into a table like docs/benchmarks.csv; others that it holds stay."""
    sheet.add(path, [{"key": one.key, "what": one.what, "value": f"{one.value:.4g}", "unit": one.unit,
                      "bound": one.bound, "note": one.note} for one in figures if one.key])
