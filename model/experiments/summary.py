"""From stored predictions to `docs/experiments.csv`: errors and paired differences with intervals, at equal budgets.

An arm of n members is the mean prediction of n networks of different seeds, and is compared with n networks of the
reference. Its error is the mean over all sets of n of its seeds. Intervals are those of a bootstrap over crystals, by
whole reduced formulas, and over seeds: each resample draws as many sets of n seeds as there are disjoint ones, with
replacement, for the arm and for the reference apart, on the same resampled crystals. Where all seeds are one set,
nothing is left to draw, and the interval is over crystals alone.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.experiments.folds import Population
from model.experiments.matrix import NO_CONTROL, Cell, Matrix
from model.experiments.results import Finished, Results

Floats = NDArray[np.float64]
COLUMNS = ("dataset", "target", "arm", "control", "n_train", "members", "seeds", "folds", "mae", "low", "high",
           "minus_dedicated", "minus_low", "minus_high", "commit")
SETS = 200
"""Most sets of seeds that are looked at; of more, these many are drawn."""
DETECTABLE = 1.96 + 0.84
"""Standard errors of a difference that is seen in four of five repetitions, at 95 %."""


@dataclass(frozen=True)
class Row:
    """One line of the summary."""

    dataset: str
    target: str
    arm: str
    control: str
    n_train: int
    members: int
    seeds: int
    folds: int
    mae: float
    low: float
    high: float
    minus: tuple[float, float, float] | None
    """Difference from the reference with its interval; None for the reference itself, or where it has too few seeds."""
    detectable: float | None
    """Smallest difference that would most likely have been seen."""
    commit: str

    def cells(self) -> list[str]:
        """As the columns of the file."""
        minus = ["", "", ""] if self.minus is None else [f"{value:.5f}" for value in self.minus]
        return [self.dataset, self.target, self.arm, self.control, str(self.n_train), str(self.members),
                str(self.seeds), str(self.folds), *(f"{value:.5f}" for value in (self.mae, self.low, self.high)),
                *minus, self.commit]


@dataclass(frozen=True)
class Runs:
    """The finished cells of one arm on one data set and target."""

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

    def predictions(self, folds: Sequence[int], place: Mapping[str, int]) -> Floats:
        """`[seeds, crystals]`, out of fold; `place` is that of each crystal of these folds."""
        seeds = self.seeds(folds)
        result = np.full((len(seeds), len(place)), np.nan)
        for row, seed in enumerate(seeds):
            for fold in folds:
                one = self.by_cell[seed, fold]
                result[row, [place[i] for i in one.ids]] = one.predicted
        return result


@dataclass(frozen=True)
class Sets:
    """Errors of all sets of so many seeds of an arm."""

    errors: Floats
    """`[sets, crystals]`, absolute."""
    disjoint: int
    """How many sets without a common seed there are."""


def summarise(results: Results, matrix: Matrix) -> list[Row]:
    """All lines, in the order of the matrix. Cells for crystals other than the stored ones do not count."""
    rows: list[Row] = []
    stored = results.all()
    for dataset, described in matrix.datasets.items():
        for target in described.targets:
            mine = [one for one in stored if (one.cell.dataset, one.cell.target) == (dataset, target)]
            if mine:
                population = results.population(dataset, target)
                rows += _rows(matrix, dataset, target, population,
                              [one for one in mine if one.crystals == population.digest])
    return rows


def _rows(matrix: Matrix, dataset: str, target: str, population: Population, mine: Sequence[Finished]) -> list[Row]:
    runs = {(arm, control): Runs({(one.cell.seed, one.cell.fold): one for one in mine
                                  if (one.cell.arm, one.cell.control) == (arm, control)})
            for arm, one in matrix.arms.items() for control in (NO_CONTROL, *one.controls)}
    reference = runs[matrix.reference, NO_CONTROL]
    rows = []
    for (arm, control), one in runs.items():
        for members in range(1, len(one.seeds(one.folds)) + 1 if one.folds else 1):
            is_reference = (arm, control) == (matrix.reference, NO_CONTROL)
            row = _row(matrix, Cell(dataset, target, arm, control, 0, 0), population, [(one, members)],
                       None if is_reference else reference)
            rows += [row] if row else []
    for name, parts in matrix.mixtures.items():
        for control in (NO_CONTROL, *matrix.controls):
            if control != NO_CONTROL and not any((arm, control) in runs for arm in parts):
                continue
            # a control is that of the arms that have it; the others stay as they are
            mixed = [(runs.get((arm, control), runs[arm, NO_CONTROL]), count) for arm, count in parts.items()]
            row = _row(matrix, Cell(dataset, target, name, control, 0, 0), population, mixed, reference)
            rows += [row] if row else []
    return rows


def _row(matrix: Matrix, name: Cell, population: Population, parts: Sequence[tuple[Runs, int]],
         reference: Runs | None) -> Row | None:
    """One line; None if too little of it is finished."""
    folds = _common([one for one, _ in parts])
    if not folds or any(len(one.seeds(folds)) < count for one, count in parts):
        return None
    members = sum(count for _, count in parts)
    mae, interval, _ = _measure(matrix, population, folds, parts, None)
    minus, detectable = None, None
    if reference is not None:
        shared = _common([*(one for one, _ in parts), reference])
        enough = shared and all(len(one.seeds(shared)) >= count for one, count in [*parts, (reference, members)])
        if enough:
            difference, (low, high), spread = _measure(matrix, population, shared, parts, (reference, members))
            minus, detectable = (difference, low, high), DETECTABLE * spread
    used = [one.by_cell[seed, fold] for one, _ in parts for seed in one.seeds(folds) for fold in folds]
    return Row(name.dataset, name.target, name.arm, name.control, round(float(np.mean([u.n_train for u in used]))),
               members, min(len(one.seeds(folds)) for one, _ in parts), len(folds), mae, *interval, minus, detectable,
               " ".join(sorted({u.commit for u in used})))


def _common(runs: Sequence[Runs]) -> list[int]:
    return sorted(set.intersection(*(set(one.folds) for one in runs)))


def _measure(matrix: Matrix, population: Population, folds: Sequence[int], parts: Sequence[tuple[Runs, int]],
             against: tuple[Runs, int] | None) -> tuple[float, tuple[float, float], float]:
    """Mean absolute error, or its difference from that of `against`; its interval, and its standard error."""
    inside = [place for place, fold in enumerate(population.fold.tolist()) if fold in folds]
    place = {population.ids[old]: new for new, old in enumerate(inside)}
    y = population.y[inside]
    _, group = np.unique([population.groups[old] for old in inside], return_inverse=True)
    ours = _sets([(one.predictions(folds, place), count) for one, count in parts], y)
    theirs = None if against is None else _sets([(against[0].predictions(folds, place), against[1])], y)
    # the same resamples for every line of the same crystals
    rng = np.random.default_rng(0)
    sizes = np.bincount(group).astype(np.float64)
    times = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), matrix.bootstrap).astype(np.float64)
    drawn = _resampled(ours, group, sizes, times, rng)
    value = float(ours.errors.mean())
    if theirs is not None:
        drawn = drawn - _resampled(theirs, group, sizes, times, rng)
        value -= float(theirs.errors.mean())
    tail = (1 - matrix.confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return value, (float(low), float(high)), float(drawn.std())


def _sets(parts: Sequence[tuple[Floats, int]], y: Floats) -> Sets:
    """Errors of the mean predictions of all sets of so many seeds of each part."""
    choices = list(itertools.product(*(itertools.combinations(range(len(predicted)), count)
                                       for predicted, count in parts)))
    if len(choices) > SETS:
        chosen = np.random.default_rng(1).choice(len(choices), SETS, replace=False)
        choices = [choices[place] for place in sorted(chosen)]
    members = sum(count for _, count in parts)
    means = [sum(predicted[list(seeds)].sum(axis=0) for (predicted, _), seeds in zip(parts, choice, strict=True))
             / members for choice in choices]
    return Sets(np.abs(np.stack(means) - y), min(len(predicted) // count for predicted, count in parts))


def _resampled(sets: Sets, group: NDArray[np.int64], sizes: Floats, times: Floats,
               rng: np.random.Generator) -> Floats:
    """`[resamples]`, the error on resampled groups, of resampled sets of seeds."""
    by_group = np.stack([np.bincount(group, errors) for errors in sets.errors])
    errors = (times @ by_group.T) / (times @ sizes)[:, None]
    chosen = rng.integers(0, len(sets.errors), (len(times), sets.disjoint))
    result: Floats = np.take_along_axis(errors, chosen, axis=1).mean(axis=1)
    return result


def as_csv(rows: Sequence[Row]) -> str:
    """The content of `docs/experiments.csv`."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.cells() for row in rows)
    return table.getvalue()


def differing(text: str, other: str) -> list[str]:
    """In words, where two summaries do not say the same; the last digit may be rounded otherwise."""
    old, new = (list(csv.DictReader(io.StringIO(one))) for one in (text, other))

    def key(row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(row.get(name) or "" for name in ("dataset", "target", "arm", "control", "members"))

    there = {key(row): row for row in old}
    now = {key(row): row for row in new}
    result = [f"{' '.join(one)}: only in {'the file' if one in there else 'the stored predictions'}"
              for one in sorted(there.keys() ^ now.keys())]
    for one in sorted(there.keys() & now.keys()):
        result += [f"{' '.join(one)}: {name} is {there[one].get(name)} in the file and {value} from the predictions"
                   for name, value in now[one].items() if not _same(there[one].get(name) or "", value)]
    return result


def _same(text: str, other: str) -> bool:
    try:
        return abs(float(text) - float(other)) < 1.5e-5
    except ValueError:
        return text == other
