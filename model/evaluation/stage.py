"""Stage `evaluate`: metrics with intervals, controls, predictions as a table, plots."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features import catalog
from features.errors import UserError
from features.params import load_section
from features.paths import Paths
from features.progress import conclude, say
from features.store import documents
from features.store.files import write_text
from features.view import column
from model import checkpoint, coverage
from model.checkpoint import Trained
from model.curves import mean_curve
from model.evaluation import groups
from model.evaluation.metrics import (
    Floats,
    Rows,
    covered,
    held_by_confidence,
    measure,
    names,
    predict_all,
    pretrained_on,
)
from model.forward import load_splits
from model.identity import require_same
from model.input import targets
from model.input.loader import Dataset
from model.params import EvaluateParams, Kind
from model.publish import publish
from model.report import pages
from model.threads import one_thread
from model.uncertainty import CONFIDENCE

PREDICTIONS = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("split", pa.string(), "train, validation or test"),
    column("target", pa.string(), "property that was learned"),
    column("transform", pa.string(), "none or log10: what the model predicts"),
    column("y_true", pa.float64(), "transformed target"),
    column("y_fused", pa.float64(), "transformed prediction of the fused branch"),
    column("y_low", pa.float64(), f"lower end of its {CONFIDENCE:.0%} interval"),
    column("y_high", pa.float64(), "upper end of it"),
    column("outside", pa.string(), "what of the crystal no training crystal reaches, so that the interval promises "
           "nothing; null if there is nothing"),
    column("y_structure_only", pa.float64(), "the same of the structure branch; null if it did not learn"),
    column("y_text_only", pa.float64(), "the same of the text branch; null if it did not learn, and for a "
           "crystal without text"),
    column("pretrained_on", pa.string(), "what a pretrained part of the model had learned from; null if there is none"),
    column("value_true", pa.float64(), "target in its own unit"),
    column("value_fused", pa.float64(), "prediction of the fused branch in the target's own unit"),
    column("value_low", pa.float64(), "lower end of its interval in the target's own unit"),
    column("value_high", pa.float64(), "upper end of it in the target's own unit"),
])


def evaluate(root: Path) -> None:
    """Evaluate the trained model; writes `data/results/` and the table `predictions`."""
    params = load_section(root, "evaluate", EvaluateParams)
    trained = checkpoint.load(root)
    require_same(trained.identity, root, trained.params)
    splits = load_splits(root, trained.params)
    made = computed(root, trained, splits, params)
    metrics, predictions, crystals = made.metrics, made.predictions, made.crystals
    intervals = metrics["intervals"]
    folder = Paths(root).results
    folder.mkdir(parents=True, exist_ok=True)
    documents.write(folder / "metrics.json", metrics)
    rows = _rows(trained, splits, predictions, crystals)
    publish(root, "predictions", PREDICTIONS, ("material_id",), rows)
    _write_parity(folder / "parity.csv", rows)
    curve = mean_curve([kind for kind, _ in trained.params.networks()], trained.config.history)
    test_rows = [row for row in rows if row["split"] == "test"]
    are = groups.read_crystals(root, splits["test"].ids)
    pages.write_run(folder / "report.html", metrics, rows, are, curve, list(names(trained).items()),
                    groups.by_group(test_rows, are, params),
                    held_by_confidence(trained, splits["test"], predictions["test"]), _experiments(root))
    catalog.refresh(root)
    test, base = metrics["test"], metrics["baseline"]
    others = "".join(f"{label} {test[key]:.4f}, " for key, label in (
        ("mae_structure_networks", "its structure networks"), ("mae_text_readers", "what reads the text alone"),
        ("mae_own_structure_branch", "its own structure branch"), ("mae_own_text_branch", "its own text branch"),
        ("mae_shuffled_text", "shuffled text"), ("mae_no_text", "no text")) if key in test)
    within = "" if test["mae_low"] is None else f"[{test['mae_low']:.4f}, {test['mae_high']:.4f}] "
    conclude(f"evaluate: test MAE {test['mae']:.4f} {within}{metrics['unit']}, "
             f"{others}mean predictor {base['mean_mae']:.4f}")
    beyond = intervals["by"]["support"].get("outside", {"crystals": 0})["crystals"]
    held = "have no ends for" if intervals["coverage"] is None else f"hold {intervals['coverage']:.1%} of"
    say(f"evaluate: intervals of {CONFIDENCE:.0%} {held} {intervals['crystals']} test "
        f"crystals" + (f"; {beyond} of these lie outside the training data" if beyond else ""))
    for caution in metrics["cautions"]:
        say(f"evaluate: CAUTION. {caution}")
    if metrics["pretrained_on"]:
        say(f"evaluate: the structure encoder is pretrained ({metrics['pretrained_on']}) and may have seen these "
            "crystals")


@dataclass(frozen=True)
class Evaluated:
    """What a test of a model found."""

    metrics: dict[str, Any]
    """As in `metrics.json`."""
    predictions: dict[str, dict[str, Floats]]
    """Of each split, as `predict_all` makes them."""
    crystals: Mapping[str, Rows]
    """Of each split, the rows of `materials`."""


@one_thread()
def computed(root: Path, trained: Trained, splits: dict[str, Dataset], params: EvaluateParams) -> Evaluated:
    """The metrics of a model on these crystals of the tables below `root`; nothing is written.

    Raises `UserError` if too few are tested, or if a prediction is no number.
    """
    if len(splits["test"]) < 2:
        raise UserError("the test split has only one crystal, too few to test on: take more (ingest.limit)")
    predictions = {name: predict_all(trained, split) for name, split in splits.items()}
    for name, split in splits.items():
        wrong = np.flatnonzero(~np.isfinite(predictions[name]["fused"]))
        if len(wrong):
            raise UserError(f"the prediction for {split.ids[wrong[0]]} is not a number ({len(wrong)} such crystals of "
                            f"the split {name}); train again with another train.seed or a lower train.learning_rate")
    crystals = {name: coverage.read_crystals(root, split.ids) for name, split in splits.items()}
    intervals = covered(trained, splits["test"], predictions["test"], crystals["test"], crystals["train"])
    metrics = {**measure(trained, splits["test"], predictions["test"], params), "intervals": intervals}
    return Evaluated(metrics, predictions, crystals)


def _rows(trained: Trained, splits: dict[str, Dataset], predicted: dict[str, dict[str, Floats]],
          crystals: Mapping[str, Rows]) -> list[dict[str, Any]]:
    name, learns = trained.params.transform, trained.params.learns
    ends = {split: trained.calibration.interval(made["fused"], made["spread"], CONFIDENCE)
            for split, made in predicted.items()}

    def of_branch(split: str, branch: Kind, row: int) -> float | None:
        value = float(predicted[split][branch][row])
        return value if learns(branch) and math.isfinite(value) else None

    def back(value: float) -> float:
        return float(targets.untransform(np.array([value]), name)[0])

    return [
        {
            "material_id": material_id,
            "split": split,
            "target": trained.params.target,
            "transform": name,
            "y_true": float(dataset.targets[row]),
            "y_fused": float(predicted[split]["fused"][row]),
            "y_low": float(ends[split][0][row]),
            "y_high": float(ends[split][1][row]),
            "outside": coverage.in_words(trained.coverage.outside(crystals[split][row])) or None,
            "y_structure_only": of_branch(split, "structure", row),
            "y_text_only": of_branch(split, "text", row),
            "pretrained_on": pretrained_on(trained),
            "value_true": back(dataset.targets[row]),
            "value_fused": back(predicted[split]["fused"][row]),
            "value_low": back(ends[split][0][row]),
            "value_high": back(ends[split][1][row]),
        }
        for split, dataset in splits.items() for row, material_id in enumerate(dataset.ids)
        if math.isfinite(dataset.targets[row])  # a training crystal may have a target of train.also alone
    ]


def _experiments(root: Path) -> list[dict[str, str]]:
    """The lines of docs/experiments.csv, if this project has any.

    DVC is not told of that file: it is what days of experiments made, which no evaluation shall begin.
    """
    path = Paths(root).experiments_summary
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))) if path.is_file() else []


def _write_parity(path: Path, rows: list[dict[str, Any]]) -> None:
    """True and predicted value of the test crystals, for `dvc plots`."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["material_id", "true", "predicted"])
    writer.writerows([row["material_id"], f"{row['y_true']:.6f}", f"{row['y_fused']:.6f}"]
                     for row in rows if row["split"] == "test")
    write_text(path, table.getvalue())
