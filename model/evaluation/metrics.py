"""Metrics of a trained model's predictions, with bootstrap intervals, and the shuffled-text control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.views import chgnet_atoms
from model import cautions
from model.checkpoint import Trained
from model.chemistry import classes, sizes
from model.forward import predict
from model.input import targets
from model.input.batch import Ints
from model.input.loader import Dataset
from model.params import MEMBERS, EvaluateParams, Kind
from model.uncertainty import CONFIDENCE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rows = Sequence[Mapping[str, Any]]
LEVELS = (0.05, *(round(0.1 * step, 1) for step in range(1, 10)), 0.95, 0.99)
"""Confidences that intervals are tested at."""


def names(trained: Trained) -> dict[Kind, str]:
    """What the error of each branch is called: a branch of a fused network is no network of its own.

    Readers of the text are networks and boosted trees.
    """
    members = trained.params.members
    return {"fused": "mae",
            "structure": "mae_structure_networks" if members.structure else "mae_own_structure_branch",
            "text": "mae_text_readers" if members.readers else "mae_own_text_branch"}


def predict_all(trained: Trained, dataset: Dataset, texts_of: Ints | None = None) -> dict[str, Floats]:
    """Transformed predictions of the three branches."""
    scale, shift = trained.config.target_std, trained.config.target_mean
    return {name: values * scale + (0.0 if name == "spread" else shift)
            for name, values in predict(trained.net, dataset, trained.device, texts_of).items()}


def measure(trained: Trained, test: Dataset, predicted: dict[str, Floats], params: EvaluateParams) -> dict[str, Any]:
    """The errors on the test split, with bootstrap intervals over its crystals.

    `mae_shuffled_text` gives every crystal another one's description, at test time: a fused branch that reads its
    text must get worse. `mae_no_text` is the fused branch without any text. A model of several networks may
    have *structure networks* that were trained on structures alone, and is compared with them. These are fewer members
    than all and average less, so the difference is not what the text gives (`model/experiments/` compares equal
    numbers). Else the *own structure branch* is that of the same network, which joint training may have cost something.
    An interval says how much the error moves with the choice of test crystals; it does not hold the spread between
    training seeds. A branch that did not learn (weight 0 in `train.loss`) has no error, and a model that reads no text
    no control.
    """
    rng = np.random.default_rng(params.seed)
    name = trained.params.transform

    def interval(errors: Floats, key: str) -> dict[str, float | None]:
        low, high = bootstrap(errors, params)
        return {key: float(errors.mean()), f"{key}_low": low, f"{key}_high": high}

    def natural(values: Floats) -> Floats:
        return np.abs(targets.untransform(values, name) - targets.untransform(test.targets, name))

    scores: dict[str, float | None] = {}
    called = names(trained)
    for branch, key in called.items():
        if trained.params.learns(branch):
            errors = np.abs(predicted[branch] - test.targets)
            scores |= interval(errors[np.isfinite(errors)], key)  # by text there is none for a crystal without
    right = np.abs(predicted["fused"] - test.targets)
    if called["structure"] in scores and trained.params.with_text:
        scores |= interval(right - np.abs(predicted["structure"] - test.targets),
                           called["structure"].replace("mae", "fused_minus"))
    if trained.params.reads_text:
        shuffled = [predict_all(trained, test, anothers(test, rng))["fused"] for _ in range(params.shuffles)]
        wrong_text = np.mean([np.abs(values - test.targets) for values in shuffled], axis=0)
        scores |= interval(wrong_text, "mae_shuffled_text")
        scores |= interval(right - wrong_text, "fused_minus_shuffled_text")
        without = predict_all(trained, test, np.full(len(test), -1, np.int64))["fused"]
        if np.isfinite(without).all():
            scores |= interval(np.abs(without - test.targets), "mae_no_text")
    mean = np.full(len(test), trained.config.target_mean)
    baseline = interval(np.abs(mean - test.targets), "mean_mae") | {"mean_mae_natural": float(natural(mean).mean())}
    by_the_mean = float(np.abs(mean - test.targets).mean())
    return {
        "cautions": [*trained.cautions, *cautions.of_test(len(test), float(right.mean()), by_the_mean)],
        "weights_sha256": trained.config.weights_sha256,
        "target": trained.params.target,
        "transform": name,
        "unit": trained.learned_unit,
        "natural_unit": trained.config.unit,
        "test": scores,
        "test_natural": interval(natural(predicted["fused"]), "mae"),
        "baseline": baseline,
        "confidence": params.confidence,
        "split": trained.config.split_sizes,
        "parameters": trained.config.parameters,
        "networks": {kind: trained.net.kinds.count(kind) for kind in trained.net.kinds},
        "weights": dict(zip(MEMBERS, trained.net.weights.tolist(), strict=True)),
        "pretrained_on": pretrained_on(trained),
    }


def covered(trained: Trained, test: Dataset, predicted: dict[str, Floats], crystals: Rows,
            training: Rows) -> dict[str, Any]:
    """How many test crystals the intervals hold, and how wide these are, in the learned unit.

    Over all, and `by` chemistry, number of `elements`, number of atoms (`sites`) in the primitive cell, and `support`,
    whether the training crystals support a prediction: `inside` or `outside` of what they reach (`model/coverage.py`).
    Each class that has a test crystal says how many it has, and how many training crystals are of it. Too few
    validation crystals for the confidence make intervals without ends, which have no width and hold nothing.

    Args:
        trained: the model.
        test: the test crystals.
        predicted: predictions for them, as `predict_all` makes them.
        crystals: their rows of `materials`, in the same order.
        training: the training crystals' rows.
    """
    low, high = trained.calibration.interval(predicted["fused"], predicted["spread"], CONFIDENCE)
    held, width = (low <= test.targets) & (test.targets <= high), high - low
    outside = np.array([bool(trained.coverage.outside(row)) for row in crystals])
    groups = {**classes([row["elements"] for row in crystals]), "sites": sizes([row["nsites"] for row in crystals]),
              "support": {name: mine for name, mine in (("inside", ~outside), ("outside", outside)) if mine.any()}}
    trained_on = {**classes([row["elements"] for row in training]), "sites": sizes([row["nsites"] for row in training]),
                  "support": {"inside": np.full(len(training), True)}}

    def of(mine: Bools, learned: Bools) -> dict[str, float | None]:
        bounded = bool(np.isfinite(width[mine]).all())
        return {"crystals": int(mine.sum()), "training_crystals": int(learned.sum()),
                "coverage": float(held[mine].mean()) if bounded else None, "mean_width": _finite(width[mine].mean())}

    nobody, everybody = np.full(len(training), False), np.full(len(training), True)
    return {"confidence": CONFIDENCE, **of(np.full(len(test), True), everybody),
            "median_width": _finite(np.median(width)),
            "by": {by: {name: of(mine, trained_on[by].get(name, nobody)) for name, mine in group.items()}
                   for by, group in groups.items()}}


def held_by_confidence(trained: Trained, test: Dataset, predicted: dict[str, Floats]) -> list[dict[str, float]]:
    """Which share of the test crystals intervals hold at each `confidence` for which they have ends."""
    found: list[dict[str, float]] = []
    for confidence in LEVELS if len(trained.calibration.scores) >= cautions.FEW else ():
        low, high = trained.calibration.interval(predicted["fused"], predicted["spread"], confidence)
        if np.isfinite(high).all():
            found.append({"confidence": confidence, "crystals": len(test),
                          "held": float(((low <= test.targets) & (test.targets <= high)).mean())})
    return found


def _finite(value: np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None


def pretrained_on(trained: Trained) -> str | None:
    """What the structure encoder had learned from before, if anything: its errors are not those of a test then."""
    if trained.params.encoder != "chgnet":
        return None
    return f"CHGNet {trained.identity.params('chgnet').model}: {chgnet_atoms.PRETRAINED_ON}"


def bootstrap(errors: Floats, params: EvaluateParams) -> tuple[float | None, float | None]:
    """Percentile interval of the mean error; none for fewer crystals than `cautions.FEW`, whose resamples are too few.

    The resamples are the same for every metric of one test split.
    """
    if len(errors) < cautions.FEW:
        return None, None
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
