"""Test a trained model: metrics with intervals, controls, predictions as a table, plots."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import catalog, chgnet_atoms, placement, tables
from features.errors import UserError
from features.files import write_text
from features.params import load_section
from features.paths import Paths
from features.progress import say
from features.view import column, rows_to_table
from model import checkpoint, loader, report
from model.checkpoint import Trained
from model.data import Ints
from model.loader import Dataset
from model.params import EvaluateParams
from model.train import load_splits, predict

Floats = NDArray[np.float64]
BRANCHES: dict[Literal["fused", "structure", "text"], str] = {
    "fused": "mae", "structure": "mae_structure_only", "text": "mae_text_only"}

PREDICTIONS = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("split", pa.string(), "train, validation or test"),
    column("target", pa.string(), "property that was learned"),
    column("transform", pa.string(), "none or log10: what the model predicts"),
    column("y_true", pa.float64(), "transformed target"),
    column("y_fused", pa.float64(), "transformed prediction of the fused branch"),
    column("y_structure_only", pa.float64(), "the same of the structure branch; null if it did not learn"),
    column("y_text_only", pa.float64(), "the same of the text branch; null if it did not learn"),
    column("pretrained_on", pa.string(), "what a pretrained part of the model had learned from; null if there is none"),
    column("value_true", pa.float64(), "target in its own unit"),
    column("value_fused", pa.float64(), "prediction of the fused branch in the target's own unit"),
])


def evaluate(root: Path) -> None:
    """Evaluate the trained model; writes `data/results/` and the table `predictions`."""
    params = load_section(root, "evaluate", EvaluateParams)
    trained = checkpoint.load(root)
    checkpoint.check_versions(trained)
    splits = load_splits(root, trained.params)
    if loader.split_digest(splits) != trained.config.split_digest:
        raise UserError("the crystals or their splits have changed since the model was trained; run `dvc repro`")
    if len(splits["test"]) < 2:
        raise UserError("the test split has only one crystal, too few to test on: take more (ingest.limit)")
    predictions = {name: predict_all(trained, split) for name, split in splits.items()}
    metrics = measure(trained, splits["test"], predictions["test"], params)
    folder = Paths(root).results
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    rows = _rows(trained, splits, predictions)
    publish(root, "predictions", PREDICTIONS, ("material_id",), rows)
    _write_parity(folder / "parity.csv", rows)
    report.write_evaluation(folder / "report.html", metrics, rows, Paths(root).model / "learning_curve.csv")
    catalog.refresh(root)
    test, base = metrics["test"], metrics["baseline"]
    others = "".join(f"{label} {test[key]:.4f}, " for key, label in (
        ("mae_structure_only", "structure only"), ("mae_text_only", "text only"),
        ("mae_shuffled_text", "shuffled text")) if key in test)
    say(f"evaluate: test MAE {test['mae']:.4f} [{test['mae_low']:.4f}, {test['mae_high']:.4f}] {metrics['unit']}, "
        f"{others}mean predictor {base['mean_mae']:.4f}")
    if metrics["pretrained_on"]:
        say(f"evaluate: the structure encoder is pretrained ({metrics['pretrained_on']}) and may have seen these "
            "crystals")


def predict_all(trained: Trained, dataset: Dataset, texts_of: Ints | None = None) -> dict[str, Floats]:
    """Transformed predictions of the three branches."""
    scale, shift = trained.config.target_std, trained.config.target_mean
    return {name: values * scale + shift
            for name, values in predict(trained.net, dataset, trained.device, texts_of).items()}


def measure(trained: Trained, test: Dataset, predicted: dict[str, Floats], params: EvaluateParams) -> dict[str, Any]:
    """All metrics of the test split, with bootstrap intervals over its crystals.

    `mae_shuffled_text` gives every crystal another one's description, at test time: a fused branch that reads its
    text must get worse. An interval says how much the error moves with the choice of test crystals; it does not
    hold the spread between training seeds. A branch that did not learn (weight 0 in `train.loss`) has no error, and a
    fusion that reads no text no control.
    """
    rng = np.random.default_rng(params.seed)
    name = trained.params.transform

    def interval(errors: Floats, key: str) -> dict[str, float]:
        low, high = bootstrap(errors, params)
        return {key: float(errors.mean()), f"{key}_low": low, f"{key}_high": high}

    def natural(values: Floats) -> Floats:
        return np.abs(loader.untransform(values, name) - loader.untransform(test.targets, name))

    scores: dict[str, float] = {}
    for branch, key in BRANCHES.items():
        if trained.params.learns(branch):
            scores |= interval(np.abs(predicted[branch] - test.targets), key)
    right = np.abs(predicted["fused"] - test.targets)
    if "mae_structure_only" in scores:
        scores |= interval(right - np.abs(predicted["structure"] - test.targets), "fused_minus_structure_only")
    if trained.params.fusion != "structure_only":
        shuffled = [predict_all(trained, test, anothers(test, rng))["fused"] for _ in range(params.shuffles)]
        wrong_text = np.mean([np.abs(values - test.targets) for values in shuffled], axis=0)
        scores |= interval(wrong_text, "mae_shuffled_text")
        scores |= interval(right - wrong_text, "fused_minus_shuffled_text")
    mean = np.full(len(test), trained.config.target_mean)
    baseline = interval(np.abs(mean - test.targets), "mean_mae") | {"mean_mae_natural": float(natural(mean).mean())}
    unit = trained.config.unit
    return {
        "target": trained.params.target,
        "transform": name,
        "unit": f"log10({unit or '1'})" if name == "log10" else unit,
        "natural_unit": unit,
        "test": scores,
        "test_natural": interval(natural(predicted["fused"]), "mae"),
        "baseline": baseline,
        "confidence": params.confidence,
        "split": trained.config.split_sizes,
        "parameters": trained.config.parameters,
        "pretrained_on": pretrained_on(trained),
    }


def pretrained_on(trained: Trained) -> str | None:
    """What the structure encoder had learned from before, if anything: its errors are not those of a test then."""
    if trained.params.encoder != "chgnet":
        return None
    return f"CHGNet {trained.config.features['chgnet']['params']['model']}: {chgnet_atoms.PRETRAINED_ON}"


def bootstrap(errors: Floats, params: EvaluateParams) -> tuple[float, float]:
    """Percentile interval of the mean error. The resamples are the same for every metric of one test split."""
    rng = np.random.default_rng([params.seed, 1])
    means = [errors[rng.integers(0, len(errors), len(errors))].mean() for _ in range(params.bootstrap)]
    tail = (1 - params.confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def anothers(dataset: Dataset, rng: np.random.Generator) -> Ints:
    """For each row another one of its window, each row once."""
    return np.concatenate([start + derangement(stop - start, rng) for start, stop in dataset.bounds])


def derangement(count: int, rng: np.random.Generator) -> Ints:
    """A permutation without a fixed point: each goes to the next of a random circle."""
    circle = rng.permutation(count)
    result = np.empty(count, np.int64)
    result[circle] = np.roll(circle, -1)
    return result


def _rows(trained: Trained, splits: dict[str, Dataset],
          predicted: dict[str, dict[str, Floats]]) -> list[dict[str, Any]]:
    name, learns = trained.params.transform, trained.params.learns

    def back(value: float) -> float:
        return float(loader.untransform(np.array([value]), name)[0])

    return [
        {
            "material_id": material_id,
            "split": split,
            "target": trained.params.target,
            "transform": name,
            "y_true": float(dataset.targets[row]),
            "y_fused": float(predicted[split]["fused"][row]),
            "y_structure_only": float(predicted[split]["structure"][row]) if learns("structure") else None,
            "y_text_only": float(predicted[split]["text"][row]) if learns("text") else None,
            "pretrained_on": pretrained_on(trained),
            "value_true": back(dataset.targets[row]),
            "value_fused": back(predicted[split]["fused"][row]),
        }
        for split, dataset in splits.items() for row, material_id in enumerate(dataset.ids)
    ]


def publish(root: Path, name: str, schema: pa.Schema, key: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Write a table of the model stages in the same form as every feature table."""
    where = placement.positions([row["material_id"] for row in rows])
    parts = placement.number_of_parts(len(rows))
    bounds = [placement.part_range(part, parts) for part in range(parts)]
    tables.publish(
        Paths(root).table(name), schema, key,
        (rows_to_table([row for row, position in zip(rows, where, strict=True) if low <= position < high], schema)
         for low, high in bounds),
        ({"view": name, "version": 1, "parts": parts} for _ in bounds),
    )


def _write_parity(path: Path, rows: list[dict[str, Any]]) -> None:
    """True and predicted value of the test crystals, for `dvc plots`."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["material_id", "true", "predicted"])
    writer.writerows([row["material_id"], f"{row['y_true']:.6f}", f"{row['y_fused']:.6f}"]
                     for row in rows if row["split"] == "test")
    write_text(path, table.getvalue())
