"""Stored cells as arrays: what the seeds of an arm predict for the crystals of some folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.experiments.folds import Population
from model.experiments.results import Finished

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ground:
    """The crystals of some folds, on which lines are compared, and those that validated in each of these folds."""

    folds: tuple[int, ...]
    ids: list[str]
    formulas: list[str]
    """Reduced formulas: the groups."""
    fold: NDArray[np.int32]
    """`[crystals]`, the fold that tests each."""
    y: Floats
    """`[crystals]`, transformed targets."""
    validation: Mapping[int, Floats]
    """Transformed targets of the validation crystals of each fold, sorted by id."""

    @classmethod
    def of(cls, population: Population, folds: Sequence[int], share: float, crystals: int | None = None) -> Self:
        """Of the crystals of a data set; `share` and `crystals` are those of `Population.parts`."""
        inside = np.flatnonzero(np.isin(population.fold, folds)).tolist()
        y = dict(zip(population.ids, population.y.tolist(), strict=True))
        return cls(tuple(folds), [population.ids[place] for place in inside],
                   [population.groups[place] for place in inside], population.fold[inside], population.y[inside],
                   {fold: np.array([y[i] for i in population.asked("validation", fold, share, crystals)])
                    for fold in folds})


@dataclass(frozen=True)
class Runs:
    """The finished cells of one arm, or of a control of it, on one data set and target."""

    by_cell: Mapping[tuple[int, int], Finished]
    """By (seed, fold)."""

    @property
    def folds(self) -> list[int]:
        """Folds that the first seed has finished."""
        first = min((seed for seed, _ in self.by_cell), default=None)
        return sorted(fold for seed, fold in self.by_cell if seed == first)

    def seeds(self, folds: Sequence[int]) -> list[int]:
        """Seeds that have finished all these folds."""
        return sorted(seed for seed in {seed for seed, _ in self.by_cell}
                      if all((seed, fold) in self.by_cell for fold in folds))

    def tested(self, ground: Ground) -> Floats:
        """`[seeds, crystals]`, predictions out of fold."""
        place = {i: number for number, i in enumerate(ground.ids)}
        seeds = self.seeds(ground.folds)
        result = np.full((len(seeds), len(place)), np.nan)
        for row, seed in enumerate(seeds):
            for fold in ground.folds:
                one = self.by_cell[seed, fold]
                result[row, [place[i] for i in one.ids]] = one.predicted
        return result

    def validated(self, ground: Ground, fold: int) -> Floats:
        """`[seeds, validation crystals]`, predictions for the crystals that validated when `fold` was tested."""
        return np.array([self.by_cell[seed, fold].validated for seed in self.seeds(ground.folds)], np.float64)


def common(runs: Sequence[Runs]) -> list[int]:
    """Folds that all of them have finished."""
    return sorted(set.intersection(*(set(one.folds) for one in runs)))
