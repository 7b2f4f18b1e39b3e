"""`python -m benchmarks.formation_energy --table FILE --folder DIR`: structure alone against trees, one split.

Takes crystals of a table with `material_id`, `cif` and `formation_energy_per_atom`, makes a project of them in the
folder, splits by reduced formula, trains the structure encoder alone, and trains extremely randomised trees on Magpie
composition features with density, volume per atom and cell (what anybody can have without a network) on the same
training crystals. Prints the test errors of both with an interval of their difference over test crystals. The learning
curve is in `DIR/data/model/learning_curve.csv`. A second run in the same folder goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from features.paths import Paths
from features.store import tables
from model.evaluation.metrics import bootstrap
from model.experiments.vectors import compositions
from model.params import EvaluateParams

TARGET = "formation_energy_per_atom"
TRAIN: dict[str, Any] = {
    "target": TARGET, "transform": "none", "fusion": "structure_only",
    "loss": {"fused": 1.0, "structure": 0.0, "text": 0.0},
    "masking": {"atoms": 0.0, "sentences": 0.0, "drop_structure": 0.0, "drop_text": 0.0},
    "batch_size": 32, "schedule": "one_cycle",
}


def main() -> None:
    """Make the project, train both, print the comparison; exit code 1 if the network does not win."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--crystals", type=int, default=8000)
    parser.add_argument("--encoder", default="crystalformer")
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=7e-4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begun = time.monotonic()
    seconds = network(arguments)
    predicted = {row["material_id"]: row for row in tables.read(arguments.folder, "predictions").to_pylist()}
    test = sorted(i for i, row in predicted.items() if row["split"] == "test")
    true = np.array([predicted[i]["y_true"] for i in test])
    ours = np.abs(np.array([predicted[i]["y_fused"] for i in test]) - true)
    theirs = np.abs(trees(arguments.folder, [i for i, row in predicted.items() if row["split"] == "train"], test,
                          arguments.seed) - true)
    low, high = bootstrap(ours - theirs, EvaluateParams())
    print(f"{len(predicted)} crystals, {len(test)} of them tested, split by reduced formula; training took "
          f"{seconds / 60:.1f} min, all {(time.monotonic() - begun) / 60:.1f} min")
    print(f"{arguments.encoder}: test MAE {ours.mean():.4f} eV/atom; trees: {theirs.mean():.4f}; difference "
          f"{(ours - theirs).mean():.4f} [{low:.4f}, {high:.4f}]")
    sys.exit(int(high >= 0))


def network(arguments: argparse.Namespace) -> float:
    """Train and test; returns the seconds of training."""
    from model.evaluation import stage as evaluation
    from model.training import train
    from pipelines.engine import stages

    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "params.yaml").write_text(yaml.safe_dump({
        "ingest": {"source": "table", "path": str(arguments.table.absolute()), "limit": arguments.crystals},
        "split": {"test": 0.2, "validation": 0.05},
        "train": {**TRAIN, "encoder": arguments.encoder, "epochs": arguments.epochs, "patience": arguments.epochs,
                  "learning_rate": arguments.learning_rate, "seed": arguments.seed},
    }), encoding="utf-8")
    for stage in ("ingest", "tensorize", "split"):
        stages.run(stage, arguments.folder)
    if list(Paths(arguments.folder).training.glob("*.pt")):
        print("goes on with an earlier run, whose time is not counted below")
    begun = time.monotonic()
    train.train(arguments.folder)
    seconds = time.monotonic() - begun
    evaluation.evaluate(arguments.folder)
    return seconds


def trees(root: Path, train: list[str], test: list[str], seed: int) -> NDArray[np.float64]:
    """Predictions for the test crystals of trees that saw the training crystals."""
    from sklearn.ensemble import ExtraTreesRegressor

    vectors = compositions(root)
    targets = dict(zip(*(column.to_pylist() for column in
                         tables.read(root, "materials", ["material_id", TARGET]).columns), strict=True))
    model = ExtraTreesRegressor(n_estimators=500, n_jobs=-1, random_state=seed)
    model.fit(np.stack([vectors[i] for i in train]), [targets[i] for i in train])
    result: NDArray[np.float64] = model.predict(np.stack([vectors[i] for i in test]))
    return result


if __name__ == "__main__":
    main()
