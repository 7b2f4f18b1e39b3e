"""Predictions that a test makes up, as finished cells."""

from pathlib import Path

import numpy as np

from model.experiments.fingerprints import asked
from model.experiments.folds import Population
from model.experiments.matrix import Cell
from model.experiments.results import Finished, Results
from tests.model.experiments.tiny import matrix

N = 100
FOLDS = np.arange(N, dtype=np.int32) % 5
POPULATION = Population([f"c{i:03d}" for i in range(N)], [f"g{i % 50:02d}" for i in range(N)], FOLDS,
                        np.linspace(0, 2, N))


def store(root: Path, arms: dict[tuple[str, str], np.ndarray], folds: int = 5) -> Results:
    """Predictions of arms, `[seeds, crystals]`, as finished cells."""
    results = Results(root)
    results.keep("tiny", "k_vrh", POPULATION)
    for (arm, control), predicted in arms.items():
        for seed, values in enumerate(predicted):
            for fold in range(folds):
                ids = {part: POPULATION.asked(part, fold, 0.3) for part in ("test", "validation")}
                mine = {part: np.isin(POPULATION.ids, those) for part, those in ids.items()}
                cell = Cell("tiny", "k_vrh", arm, control, seed, fold)
                results.add(Finished(cell, f"{asked(matrix(), cell)}.b.c", POPULATION.digest, 64,
                                     f"commit{seed}", "here", 1.0, ids["test"],
                                     values[mine["test"]].astype(np.float32),
                                     values[mine["validation"]].astype(np.float32)))
    return results


def noise(seeds: int, size: float, seed: int) -> np.ndarray:
    return np.asarray(POPULATION.y + np.random.default_rng(seed).normal(0, size, (seeds, N)))
