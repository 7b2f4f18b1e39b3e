"""From stored predictions to `docs/experiments.csv`: errors and paired differences with intervals, at equal budgets.

An arm of n members is the mean prediction of n networks of different seeds, and is compared with n networks of the
reference. Its error is the mean over all sets of n of its seeds (`blending.py`); intervals are those of `intervals.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.errors import UserError
from model.experiments import fingerprints, sheets
from model.experiments.blending import Blend, Part
from model.experiments.fingerprints import Fingerprint
from model.experiments.intervals import Measured, Resampled, Resamples, detectable, measure
from model.experiments.matrix import NO_CONTROL, Cell, Matrix, cells
from model.experiments.results import Results
from model.experiments.runs import Ground, Runs, common

COLUMNS = ("dataset", "target", "arm", "control", "n_train", "members", "seeds", "folds", "mae", "low", "high",
           "minus_dedicated", "minus_low", "minus_high", "commit")
KEY = ("dataset", "target", "arm", "control", "members")
"""Columns that identify a line."""


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
class Line:
    """What one line of the summary is about."""

    name: Cell
    """Data set, target, arm or mixture, control."""
    parts: Sequence[Part]
    learned: bool = False
    """Whether the parts have learned weights."""

    @property
    def members(self) -> int:
        """Number of networks."""
        return sum(part.count for part in self.parts)

    @property
    def is_arm_itself(self) -> bool:
        """Whether nothing has been taken from it."""
        return self.name.control == NO_CONTROL

    def folds(self) -> list[int]:
        """Folds in which every part has networks enough; none if there are too few."""
        folds = common([part.runs for part in self.parts])
        return folds if all(len(part.runs.seeds(folds)) >= part.count for part in self.parts) else []


@dataclass(frozen=True)
class Finds:
    """All that is stored for one data set and target, and what is computed once for all its lines."""

    matrix: Matrix
    dataset: str
    target: str
    runs: Mapping[tuple[str, str], Runs]
    """By (arm, control)."""
    dedicated: Runs
    """Of the reference."""
    ground: Callable[[tuple[int, ...]], Ground]
    """The crystals of some folds."""
    resamples: Callable[[tuple[int, ...]], Resamples]
    """Resamples of the crystals of some folds."""
    reference: Callable[[tuple[int, ...], int], Resampled]
    """Errors in some folds of so many networks of the reference."""

    def errors(self, line: Line, folds: tuple[int, ...]) -> Resampled:
        """Of a line in some folds."""
        return self.resamples(folds).resampled(Blend(self.ground(folds), line.parts, line.learned))

    def lines(self) -> list[Line]:
        """All lines that there are networks enough for, in the order of the matrix."""
        lines = []
        for (arm, control), one in self.runs.items():
            name = Cell(self.dataset, self.target, arm, control, 0, 0)
            seeds = len(one.seeds(one.folds)) if one.folds else 0
            lines += [Line(name, [Part(one, members)]) for members in range(1, seeds + 1)]
        for mixture, described in self.matrix.mixtures_of(self.dataset).items():
            for control in (NO_CONTROL, *self.matrix.controls):
                reads = [arm for arm in described.parts if self.matrix.arms[arm].reads_text]
                if control != NO_CONTROL and not (reads and all((arm, control) in self.runs for arm in reads)):
                    continue  # a control of one part would leave to another what it takes away
                parts = [Part(self.runs.get((arm, control), self.runs[arm, NO_CONTROL]), count)
                         for arm, count in described.parts.items()]
                line = Line(Cell(self.dataset, self.target, mixture, control, 0, 0), parts,
                            described.weights == "learned")
                lines += [line] if line.folds() else []
        return lines


def finds(results: Results, matrix: Matrix) -> list[Finds]:
    """What is stored, by data set and target in the order of the matrix.

    Cells for other crystals do not count, nor those that the matrix does not ask for, or asks for with other
    parameters.
    """
    found = []
    stored, wanted = results.all(), set(cells(matrix))
    for dataset, described in matrix.datasets.items():
        for target in described.targets:
            mine = [one for one in stored if (one.cell.dataset, one.cell.target) == (dataset, target)]
            if not mine:
                continue
            population = results.population(dataset, target)
            ground = functools.cache(functools.partial(Ground.of, population, share=matrix.validation,
                                                       crystals=described.crystals))
            mine = [one for one in mine if one.crystals == population.digest and one.cell in wanted
                    and Fingerprint.parse(one.fingerprint).asked == fingerprints.asked(matrix, one.cell)]
            runs = {(arm, control): Runs({(one.cell.seed, one.cell.fold): one for one in mine
                                          if (one.cell.arm, one.cell.control) == (arm, control)})
                    for arm, described_arm in matrix.arms_of(dataset).items()
                    for control in (NO_CONTROL, *described_arm.controls)}
            found.append(_finds(matrix, dataset, target, runs, ground))
    return found


def _finds(matrix: Matrix, dataset: str, target: str, runs: Mapping[tuple[str, str], Runs],
           ground: Callable[[tuple[int, ...]], Ground]) -> Finds:
    dedicated = runs.get((matrix.reference, NO_CONTROL), Runs({}))  # a data set may be without

    @functools.cache
    def resamples(folds: tuple[int, ...]) -> Resamples:
        return Resamples.of(ground(folds), matrix.bootstrap)

    @functools.cache
    def reference(folds: tuple[int, ...], members: int) -> Resampled:
        return resamples(folds).resampled(Blend(ground(folds), [Part(dedicated, members)]))

    return Finds(matrix, dataset, target, runs, dedicated, ground, resamples, reference)


def summarise(results: Results, matrix: Matrix) -> list[Row]:
    """All lines, in the order of the matrix. Cells for crystals other than the stored ones do not count."""
    return [_row(found, line) for found in finds(results, matrix) for line in found.lines()]


def _row(found: Finds, line: Line) -> Row:
    matrix, name = found.matrix, line.name
    folds = tuple(line.folds())

    ours = found.errors(line, folds)
    error = measure(ours, None, matrix.confidence)
    minus, seen = None, None
    if (name.arm, name.control) != (matrix.reference, NO_CONTROL):
        against = Line(name, [*line.parts, Part(found.dedicated, line.members)])
        if shared := tuple(against.folds()):
            difference = measure(ours if shared == folds else found.errors(line, shared),
                                 found.reference(shared, line.members), matrix.confidence)
            minus = (difference.value, difference.low, difference.high)
            seen = detectable(difference.deviation, matrix.confidence)
    used = [part.runs.by_cell[seed, fold] for part in line.parts for seed in part.runs.seeds(folds) for fold in folds]
    return Row(name.dataset, name.target, name.arm, name.control, round(float(np.mean([u.n_train for u in used]))),
               line.members, min(len(part.runs.seeds(folds)) for part in line.parts), len(folds), error.value,
               error.low, error.high, minus, seen, " ".join(sorted({u.commit for u in used})))


def versus(found: Finds, one: str, other: str, members: int = 1) -> Measured | None:
    """The error of one line minus that of another, paired over crystals and sets of seeds.

    Args:
        found: what is stored of one data set and target.
        one: an arm or mixture, `NAME` or `NAME:CONTROL`.
        other: what it is compared with.
        members: networks of an arm; a mixture has its own number.

    Returns:
        None where one of them has too few cells. Raises `UserError` for a name that the matrix does not have.
    """
    ours, theirs = (_asked_for(found, name, members) for name in (one, other))
    if ours is None or theirs is None:
        return None
    folds = tuple(Line(ours.name, [*ours.parts, *theirs.parts]).folds())
    if not folds:
        return None
    return measure(found.errors(ours, folds), found.errors(theirs, folds), found.matrix.confidence)


def _asked_for(found: Finds, name: str, members: int) -> Line | None:
    arm, _, control = name.partition(":")
    there = {**found.matrix.arms, **found.matrix.mixtures}
    if arm not in there or control not in ("", *found.matrix.controls):
        raise UserError(f"{name}: the matrix has the arms and mixtures {', '.join(there)} and the controls "
                        f"{', '.join(found.matrix.controls)}; write NAME or NAME:CONTROL")
    return next((line for line in found.lines()
                 if (line.name.arm, line.name.control) == (arm, control or NO_CONTROL)
                 and (arm in found.matrix.mixtures or line.members == members)), None)


def as_csv(rows: Sequence[Row]) -> str:
    """The content of `docs/experiments.csv`."""
    return sheets.written(COLUMNS, [row.cells() for row in rows])
