"""Coverage of intervals: exchangeable errors, errors that are not, and the groups that crystals are told apart by."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.experiments import coverage
from model.experiments.coverage import COLUMNS, Covered, as_csv, coverages, elements, outside
from model.experiments.folds import Population
from model.experiments.results import Results
from model.experiments.runs import Ground
from model.uncertainty import Calibration
from tests.model.experiments.stored import FOLDS, POPULATION, noise, store
from tests.model.experiments.tiny import matrix


def overall(results: Results) -> dict[tuple[str, int], Covered]:
    return {(row.arm, row.members): row for row in coverages(results, matrix(seeds=3)) if row.by == "all"}


def test_lines_are_networks_of_two_or_more_and_mixtures(tmp_path: Path) -> None:
    results = store(tmp_path, {("dedicated", "none"): noise(3, 0.3, 0), ("fused", "none"): noise(1, 0.2, 1),
                               ("fused", "shuffled_text"): noise(3, 0.2, 1), ("ridge_words", "none"): noise(2, 0.2, 2)})
    assert set(overall(results)) == {("dedicated", 2), ("dedicated", 3), ("mixed", 2)}


def test_coverage_by_hand(tmp_path: Path) -> None:
    """Calibrated on the validation crystals of each fold, tested on the fold."""
    predicted = noise(2, 0.3, 0)
    one = overall(store(tmp_path, {("dedicated", "none"): predicted}))["dedicated", 2]
    mean, spread = predicted.mean(0), predicted.std(0)
    held, width = [], []
    for fold in range(5):
        validates, tests = np.isin(POPULATION.ids, POPULATION.asked("validation", fold, 0.3)), fold == FOLDS
        calibration = Calibration.of(mean[validates], spread[validates], POPULATION.y[validates])
        low, high = calibration.interval(mean[tests], spread[tests], 0.9)
        held += ((low <= POPULATION.y[tests]) & (POPULATION.y[tests] <= high)).tolist()
        width += (high - low).tolist()
    assert one.coverage == pytest.approx(np.mean(held))
    assert one.mean_width == pytest.approx(np.mean(width), rel=1e-5)
    assert one.crystals == 100


def test_errors_that_the_validation_does_not_have_are_said(tmp_path: Path) -> None:
    predicted = noise(3, 0.1, 0)
    results = store(tmp_path, {("dedicated", "none"): predicted})
    for path in results.folder.glob("*.parquet"):
        results.write(path, [replace(one, predicted=one.predicted + 1) for one in results.read(path)])
    rows = coverages(results, matrix(seeds=3))
    assert {row.coverage for row in rows if row.by == "all"} == {0.0}
    said = "networks: intervals of 90% hold the value of 0.0% of 100 crystals"
    assert outside(rows) == [f"tiny k_vrh dedicated, {members} {said}" for members in (2, 3)]


def test_elements_of_a_formula() -> None:
    assert [elements(formula) for formula in ("LiFePO4", "Co", "CO", "Mg3(SiO4)2")] == [
        {"Li", "Fe", "P", "O"}, {"Co"}, {"C", "O"}, {"Mg", "Si", "O"}]


def test_every_crystal_is_in_one_class_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formulas = ["NaCl", "Fe2O3", "Ni3Al", "LiFePO4"]
    of = Ground.of

    def named(population: Population, folds: tuple[int, ...], share: float, crystals: None) -> Ground:
        ground = of(population, folds, share, crystals)
        return replace(ground, formulas=[formulas[number % 4] for number in range(len(ground.ids))])

    monkeypatch.setattr(Ground, "of", named)
    rows = coverages(store(tmp_path, {("dedicated", "none"): noise(2, 0.3, 0)}), matrix())
    by = {(row.by, row.value): row for row in rows}
    assert list(by) == [("all", "all"), ("chemistry", "oxide"), ("chemistry", "halide"), ("chemistry", "intermetallic"),
                        ("elements", "2"), ("elements", "4")]
    assert [row.crystals for row in by.values()] == [100, 50, 25, 25, 75, 25]
    for kind in ("chemistry", "elements"):
        mine = [row for row in rows if row.by == kind]
        assert sum(row.coverage * row.crystals for row in mine) / 100 == pytest.approx(by["all", "all"].coverage)
    written = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert tuple(written[0]) == COLUMNS
    assert (written[1]["confidence"], written[1]["value"]) == (f"{coverage.CONFIDENCE}", "oxide")
