"""Each method that explains by facts is put to four tests; one that fails any is not shown as an explanation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from model.explanation.faithfulness import (
    COLLAPSED,
    Curves,
    Measured,
    against_random,
    in_common,
    removable,
    shuffled,
)
from model.explanation.game import Floats
from model.explanation.methods import METHODS, Explainer
from model.explanation.synthetic import Recovered
from model.explanation.texts import Reading, VectorReading
from model.nets.fusion import Tokens
from model.records import Method

FOUND = 0.8
"""Of the crystals whose explaining fact is known, a method must rank it first for this share."""
FEWEST = 10
"""Crystals that a test needs; fewer make no interval."""
SHUFFLES = 2
Crystal = tuple[Sequence[Tokens], Reading]


@dataclass(frozen=True)
class Verdicts:
    """The outcome of all tests."""

    rows: list[dict[str, Any]]
    """Of the table `faithfulness`."""

    def faithful(self, method: str) -> bool | None:
        """Whether a method passed all its tests; None for one that needs none, or that was not put to all of them."""
        mine = [row["passed"] for row in self.rows if row["method"] == method]
        if False in mine:
            return False
        return True if mine and None not in mine else None

    def of_method(self, name: str, says: str) -> Method:
        """The method with the outcome in one line."""
        mine = {row["test"]: row for row in self.rows if row["method"] == name}
        return Method(name, says, self.faithful(name), "; ".join(_in_words(row) for row in mine.values()))


def judge(explainer: Explainer, crystals: Sequence[Crystal], recovered: Callable[[], Recovered | None],
          advance: Callable[[], None] = lambda: None) -> Verdicts:
    """Put the methods to the tests.

    Args:
        explainer: of the model.
        crystals: tokens of the atoms, and the text, of test crystals.
        recovered: what the methods make of a made property, asked for last; None where there are too few crystals.
        advance: called after each crystal.
    """
    unit = "sentence" if any(isinstance(text, VectorReading) for _, text in crystals) else "fact"
    rng = np.random.default_rng(0)
    others = [Explainer(explainer.game.played_by(shuffled(explainer.game.trained, seed))) for seed in range(SHUFFLES)]
    curves: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    common: dict[str, list[float]] = defaultdict(list)
    for atoms, text in crystals:
        units = removable(explainer.game, text)
        if units.count < 2:
            advance()
            continue
        effects = {method: explainer.effects(method, atoms, text, unit) for method in METHODS}
        for method, scores in against_random(Curves(explainer.game, atoms, units), effects, rng).items():
            curves[method].append(scores)
        for method in METHODS:
            # what an explanation owes to the text alone is the same whatever the atoms are
            found = np.array([in_common(effects[method], other.effects(method, atoms, text, unit)) for other in others])
            there = found[np.isfinite(found)]
            common[method].append(float(there.mean()) if len(there) else np.nan)
        advance()
    rows = []
    made = recovered() if unit == "fact" else None
    for method in METHODS:
        table = np.array(curves[method]).reshape(-1, 4)
        rows += [_against(method, "deletion", unit, table[:, 0], table[:, 2]),
                 _against(method, "insertion", unit, table[:, 1], table[:, 3]),
                 _collapsed(method, unit, np.array(common[method]))]
        if unit == "fact":
            rows.append(_found(method, made))
    return Verdicts(rows)


def _row(method: str, name: str, unit: str, values: Floats, control: float | None, passed: bool,
         measured: Measured) -> dict[str, Any]:
    """A row of the table; with too few crystals nothing is passed or failed, and there is no interval."""
    there = values[np.isfinite(values)]
    enough = len(there) >= FEWEST
    numbers = {"value": float(there.mean()) if len(there) else None, "control": control, "difference": measured.mean,
               "low": measured.low if enough else None, "high": measured.high if enough else None}
    return {"method": method, "test": name, "unit": unit, "crystals": len(there),
            "passed": bool(passed) if enough else None,
            **{key: None if one is None or np.isnan(one) else float(one) for key, one in numbers.items()}}


def _against(method: str, name: str, unit: str, values: Floats, control: Floats) -> dict[str, Any]:
    measured = Measured.of(values - control)
    chance = float(np.nanmean(control)) if np.isfinite(control).any() else None
    return _row(method, name, unit, values, chance, measured.low > 0, measured)


def _collapsed(method: str, unit: str, values: Floats) -> dict[str, Any]:
    measured = Measured.of(values)
    return _row(method, "shuffled weights", unit, values, None, measured.high < COLLAPSED, measured)


def _found(method: str, made: Recovered | None) -> dict[str, Any]:
    """The interval is Wilson's: all of a few is no certainty."""
    if made is None or method not in made.found:
        return _row(method, "synthetic fact", "fact", np.zeros(0), None, False, Measured.of([]))
    found = made.found[method]
    low, high = stats.binomtest(int(found.sum()), len(found)).proportion_ci(0.95, method="wilson")
    return _row(method, "synthetic fact", "fact", found, made.chance, found.mean() >= FOUND,
                Measured(*(float(one) - made.chance for one in (found.mean(), low, high))))


def _in_words(row: dict[str, Any]) -> str:
    """A test in a few words with its numbers."""
    if row["crystals"] < FEWEST or row["value"] is None:
        return f"{row['test']}: not tested ({row['crystals']} crystals)"
    word = "" if row["passed"] else "FAILED "
    if row["test"] == "shuffled weights":
        return f"{word}rank correlation with shuffled weights {row['value']:.2f} " \
               f"[{row['low']:.2f}, {row['high']:.2f}], to be below {COLLAPSED}"
    if row["test"] == "synthetic fact":
        return f"{word}a known fact is found in {row['value']:.0%} of {row['crystals']} crystals, " \
               f"by chance in {row['control']:.0%}"
    return f"{word}{row['test']} {row['value']:.2f} of 1, random order {row['control']:.2f}, " \
           f"difference {row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
