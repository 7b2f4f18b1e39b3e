"""Running one cell, in a process of one thread."""

from __future__ import annotations

import functools
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from features.errors import UserError
from features.paths import Paths
from features.text_encoder.weights import pick_device
from model.experiments import baselines, fingerprints, folds, networks
from model.experiments.folds import Population
from model.experiments.matrix import OWN, Cell, Matrix
from model.experiments.results import Finished
from model.threads import one_thread

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Environment of a process that runs cells."""


@dataclass(frozen=True)
class Bench:
    """Where cells are run: a project and a matrix."""

    root: Path
    matrix: Matrix
    commit: str

    def project(self, dataset: str) -> Path:
        """The project of a data set: this one, or its own below `data/experiments/`."""
        dataset = self.matrix.datasets[dataset].of or dataset
        if self.matrix.datasets[dataset].params is None:
            return self.root
        project = Paths(self.root).experiment_project(dataset)
        if not Paths(project).params.exists():
            raise UserError(f"data set {dataset} has no tables yet: `python -m model.experiments prepare {dataset}` "
                            "says how to make them")
        return project

    def population(self, dataset: str, target: str) -> Population:
        """The crystals of a data set and a target, as the tables are now."""
        return _population(self.project(dataset), target, self.matrix.targets[target].transform, self.matrix.folds)

    def fingerprint(self, cell: Cell) -> str:
        """Of a cell as things are now."""
        return str(fingerprints.of(self.project(cell.dataset), self.matrix, cell,
                                  self.population(cell.dataset, cell.target)))


@functools.lru_cache
def _population(root: Path, target: str, transform: str, folds: int) -> Population:
    return Population.of(root, target, transform, folds)


def forget() -> None:
    """Read all tables anew: for a process that has seen them change."""
    _population.cache_clear()
    fingerprints.forget()


def run(bench: Bench, cell: Cell, fingerprint: str | None = None) -> Finished:
    """Train and predict.

    The fingerprint is that of the code that is loaded, so whoever has taken it when this process began gives it: files
    may change while a run of hours is at work. Raises `UserError` for what the matrix or the tables do not allow, and
    for training that diverges.
    """
    begun = time.monotonic()
    fingerprint = fingerprint or bench.fingerprint(cell)
    root, matrix = bench.project(cell.dataset), bench.matrix
    population = bench.population(cell.dataset, cell.target)
    few = matrix.datasets[cell.dataset].crystals
    parts = population.parts(cell.fold, matrix.validation, few)
    groups = dict(zip(population.ids, population.groups, strict=True))
    arm, texts = matrix.arms[cell.arm], matrix.control(cell.control).texts
    with one_thread():
        if arm.kind in OWN:
            params = matrix.train_params(cell)
            device = pick_device(params.device)
            more = folds.further(root, params.also, population, cell.fold, matrix.validation) if few is None else {}
            predicted = networks.predicted(root, params, texts, {**parts, **dict.fromkeys(more, "train")},
                                           {**groups, **more}, arm.kind == "text_trees")
        else:
            device = "cpu"
            y = dict(zip(population.ids, population.y.tolist(), strict=True))
            predicted = baselines.predicted(root, arm, texts, parts, groups, y, cell.seed)
    asked = {part: population.asked(part, cell.fold, matrix.validation, few) for part in ("test", "validation")}
    made = {"test": predicted.test, "validation": predicted.validation}
    for part, ids in asked.items():
        if sorted(made[part]) != ids:
            raise UserError(f"{cell}: {len(set(ids) - set(made[part]))} crystals of the part {part} have no "
                            "prediction, and arms can only be compared on the same crystals")
    values = {part: np.array([made[part][i] for i in ids], np.float32) for part, ids in asked.items()}
    return Finished(cell, fingerprint, population.digest, predicted.n_train, bench.commit, arithmetic(device),
                    time.monotonic() - begun, asked["test"], values["test"], values["validation"])


def arithmetic(device: str = "cpu") -> str:
    """What decides how numbers are rounded here."""
    kind = torch.cuda.get_device_name() if device.startswith("cuda") else torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {kind} 1 thread"


def commit_of(folder: Path) -> str:
    """Short name of the commit of the code, + where files of `features/` or `model/` differ from it."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True,  # noqa: S607 (git of PATH)
                              check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "features", "model")
        return git("rev-parse", "--short=9", "HEAD") + ("+" if changed else "")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"
