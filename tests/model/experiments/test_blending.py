"""Sets of seeds, weights and mean predictions against what a hand computes."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model import blend
from model.experiments.blending import SETS, Blend, Part
from model.experiments.results import Results
from model.experiments.runs import Ground, Runs, common
from tests.model.experiments.stored import FOLDS, POPULATION, noise, store

DEDICATED, FUSED = noise(3, 0.2, 0), noise(2, 0.3, 1)


def runs_of(results: Results, arm: str) -> Runs:
    return Runs({(one.cell.seed, one.cell.fold): one for one in results.all() if one.cell.arm == arm})


@pytest.fixture
def parts(tmp_path: Path) -> list[Part]:
    results = store(tmp_path, {("dedicated", "none"): DEDICATED, ("fused", "none"): FUSED})
    return [Part(runs_of(results, "dedicated"), 2), Part(runs_of(results, "fused"), 1)]


def test_equal_weights_count_networks(parts: list[Part]) -> None:
    mixed = Blend(Ground.of(POPULATION, range(5), 0.3), parts)
    expected = [(DEDICATED[list(two)].sum(0) + FUSED[one]) / 3
                for two, one in itertools.product(itertools.combinations(range(3), 2), range(2))]
    assert mixed.tested() == pytest.approx(np.stack(expected), abs=1e-6)
    assert mixed.disjoint == 1


def test_learned_weights_are_those_of_the_validation_crystals_of_each_fold(parts: list[Part]) -> None:
    mixed = Blend(Ground.of(POPULATION, range(5), 0.3), parts, learned=True)
    tested = mixed.tested()
    seen = set()
    for fold in range(5):
        validates = np.isin(POPULATION.ids, POPULATION.asked("validation", fold, 0.3))
        for number, (two, one) in enumerate(itertools.product(itertools.combinations(range(3), 2), range(2))):
            means = np.stack([DEDICATED.astype(np.float32)[list(two)].mean(0), FUSED.astype(np.float32)[one]])
            expected = blend.weights(means[:, validates], POPULATION.y[validates])
            assert mixed.weights[fold][number] == pytest.approx(expected)
            assert tested[number, fold == FOLDS] == pytest.approx(expected @ means[:, fold == FOLDS], abs=1e-6)
            seen.add(tuple(expected))
    assert len(seen) > 1


def test_the_test_has_no_say_in_the_weights(parts: list[Part]) -> None:
    ground = Ground.of(POPULATION, range(5), 0.3)
    spoilt = [Part(Runs({key: replace(one, predicted=one.predicted * 0) for key, one in part.runs.by_cell.items()}),
                   part.count) for part in parts]
    ours, theirs = Blend(ground, parts, learned=True), Blend(ground, spoilt, learned=True)
    assert all((ours.weights[fold] == theirs.weights[fold]).all() for fold in range(5))
    assert (theirs.tested() == 0).all()


def test_of_many_sets_some_are_drawn(tmp_path: Path) -> None:
    runs = runs_of(store(tmp_path, {("dedicated", "none"): noise(12, 0.2, 0)}), "dedicated")
    mixed = Blend(Ground.of(POPULATION, range(5), 0.3), [Part(runs, 6)])
    assert mixed.tested().shape == (SETS, 100)
    assert len({tuple(one) for one in mixed.choices[0].tolist()}) == SETS
    assert mixed.disjoint == 2


def test_folds_that_all_have_finished(parts: list[Part]) -> None:
    shorter = Runs({key: one for key, one in parts[1].runs.by_cell.items() if key[1] != 3})
    assert common([parts[0].runs, shorter]) == [0, 1, 2, 4]
