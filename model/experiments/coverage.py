"""Do intervals hold what they promise? From stored predictions to `docs/experiments-coverage.csv`.

Every line of two networks or more, and every mixture, gets the conformal intervals of `model.uncertainty`: calibrated
for each set of seeds and each fold on the validation crystals of that fold, tested on the fold, and pooled over folds
and sets. The validation crystals also stopped the training, and gave a mixture with learned weights these weights: what
was chosen to fit them predicts them a little better than crystals that are new. No reduced formula both validates and
tests, so that formulas are what is exchangeable, more than crystals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.chemistry import classes
from model.experiments import sheets
from model.experiments.blending import Blend
from model.experiments.matrix import OWN, Matrix
from model.experiments.results import Results
from model.experiments.runs import Floats
from model.experiments.summary import Line, finds
from model.uncertainty import Calibration

CONFIDENCE = 0.9
EXPECTED = (0.87, 0.93)
"""Coverages outside are said."""
COLUMNS = ("dataset", "target", "arm", "members", "by", "value", "crystals", "confidence", "coverage", "mean_width")
KEY = ("dataset", "target", "arm", "members", "by", "value")
"""Columns that identify a line."""
ALL = "all"


@dataclass(frozen=True)
class Covered:
    """One line of the file."""

    dataset: str
    target: str
    arm: str
    members: int
    by: str
    """all, chemistry or elements."""
    value: str
    """Class or number of elements."""
    crystals: int
    coverage: float
    """Share of crystals (and sets of seeds) whose interval holds the true value."""
    mean_width: float
    """Of the intervals, in the unit of the transformed target."""

    def cells(self) -> list[str]:
        """As the columns of the file."""
        return [self.dataset, self.target, self.arm, str(self.members), self.by, self.value, str(self.crystals),
                f"{CONFIDENCE:g}", f"{self.coverage:.5f}", f"{self.mean_width:.5f}"]


def coverages(results: Results, matrix: Matrix) -> list[Covered]:
    """All lines, in the order of the matrix."""
    return [row for found in finds(results, matrix) for line in found.lines() if _is_asked(line, matrix)
            for row in _rows(line, Blend(found.ground(tuple(line.folds())), line.parts, line.learned))]


def _is_asked(line: Line, matrix: Matrix) -> bool:
    arm = matrix.arms.get(line.name.arm)
    return line.is_arm_itself and line.members >= 2 and (arm is None or arm.kind in OWN)


def _rows(line: Line, blend: Blend) -> Iterator[Covered]:
    held, width = _held(blend)
    formulas = [elements(formula) for formula in blend.ground.formulas]
    for by, groups in {ALL: {ALL: np.full(len(formulas), True)}, **classes(formulas)}.items():
        for value, mine in groups.items():
            yield Covered(line.name.dataset, line.name.target, line.name.arm, line.members, by, value, int(mine.sum()),
                          float(held[:, mine].mean()), float(width[:, mine].mean()))


def _held(blend: Blend) -> tuple[NDArray[np.bool_], Floats]:
    """`[sets, crystals]`: whether the interval holds the true value, and how wide it is."""
    ground, tested, spread = blend.ground, blend.tested(), blend.spread()
    low, high = np.empty_like(tested), np.empty_like(tested)
    for fold in ground.folds:
        mine = ground.fold == fold
        validated = zip(blend.validated(fold), blend.validated_spread(fold), strict=True)
        for number, (predicted, disagreement) in enumerate(validated):
            calibration = Calibration.of(predicted, disagreement, ground.validation[fold])
            low[number, mine], high[number, mine] = calibration.interval(tested[number, mine], spread[number, mine],
                                                                         CONFIDENCE)
    return (low <= ground.y) & (ground.y <= high), high - low


def elements(formula: str) -> set[str]:
    """The elements of a formula."""
    return set(re.findall(r"[A-Z][a-z]?", formula))


def as_csv(rows: Sequence[Covered]) -> str:
    """The content of `docs/experiments-coverage.csv`."""
    return sheets.written(COLUMNS, [row.cells() for row in rows])


def outside(rows: Sequence[Covered]) -> list[str]:
    """In words, which lines have over all crystals another coverage than intervals promise."""
    low, high = EXPECTED
    return [f"{row.dataset} {row.target} {row.arm}, {row.members} networks: intervals of {CONFIDENCE:.0%} hold the "
            f"value of {row.coverage:.1%} of {row.crystals} crystals"
            for row in rows if row.by == ALL and not low <= row.coverage <= high]
