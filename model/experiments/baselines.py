"""Cells without a network: trees on composition, cell and facts, and ridge regression on words.

They learn from the same training crystals as the networks; the validation crystals choose a penalty or a number of
trees, as they stop the training of a network, and are not learned from.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.store import tables
from model.experiments import controls, vectors
from model.experiments.folds import PARTS, Predicted
from model.experiments.matrix import Arm, TextsShown
from model.experiments.words import words
from model.params import TreesParams
from model.training.boosting import boosted

Floats = NDArray[np.float64]
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
TREES = 500
ASKED = ("validation", "test")


def predicted(root: Path, arm: Arm, texts: TextsShown, parts: Mapping[str, str], groups: Mapping[str, str],
              y: Mapping[str, float], seed: int) -> Predicted:
    """Transformed predictions.

    Args:
        root: the project of the data set.
        arm: one that is no network.
        texts: which text, or facts of which text, a crystal gets, in every part.
        parts: part of each crystal by id.
        groups: reduced formula of each crystal by id.
        y: transformed target by id.
        seed: of the trees, and of the shuffling.
    """
    ids = {part: sorted(i for i, mine in parts.items() if mine == part) for part in PARTS}
    spoken = {part: _speaker(ids[part], texts, groups, (seed, number)) for number, part in enumerate(PARTS)}
    goal = {part: np.array([y[i] for i in ids[part]]) for part in PARTS}
    if arm.kind == "ridge_words":
        values = _ridge({part: _texts(root, texts, spoken[part]) for part in PARTS}, goal)
    else:
        x = {part: _vectors(root, arm, ids[part], spoken[part]) for part in PARTS}
        values = _trees(x, goal, seed) if arm.kind == "trees" else _boosting(x, goal, seed)
    by_id = {part: dict(zip(ids[part], values[part].tolist(), strict=True)) for part in ASKED}
    return Predicted(by_id["test"], by_id["validation"], len(ids["train"]))


def _speaker(ids: Sequence[str], texts: TextsShown, groups: Mapping[str, str], seed: Sequence[int]) -> list[str]:
    """The crystals whose texts these get."""
    if texts != "anothers":
        return list(ids)
    return [ids[place] for place in controls.anothers([groups[i] for i in ids], seed)]


def _vectors(root: Path, arm: Arm, ids: Sequence[str], spoken: Sequence[str]) -> Floats:
    own = np.stack([vectors.compositions(root)[i] for i in ids])
    if not arm.facts:
        return own
    missing = np.full(vectors.number_of_facts(), vectors.MISSING)
    return np.hstack([own, np.stack([vectors.facts(root).get(i, missing) for i in spoken])])


def _texts(root: Path, texts: TextsShown, spoken: Sequence[str]) -> list[str]:
    """Their descriptions, or their formulas; empty for a crystal without a description."""
    described = _descriptions(root)
    if texts != "formula_and_space_group":
        return [described.get(i, "") for i in spoken]
    said = controls.formula_sentences(root, spoken)
    return [said[i] if i in described else "" for i in spoken]


@functools.cache
def _descriptions(root: Path) -> dict[str, str]:
    return {row["material_id"]: row["text"]
            for row in tables.read(root, "descriptions", ["material_id", "text"]).to_pylist()}


def _trees(x: Mapping[str, Floats], goal: Mapping[str, Floats], seed: int) -> dict[str, Floats]:
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(n_estimators=TREES, n_jobs=1, random_state=seed).fit(x["train"], goal["train"])
    return {part: model.predict(x[part]) for part in ASKED}


def _boosting(x: Mapping[str, Floats], goal: Mapping[str, Floats], seed: int) -> dict[str, Floats]:
    """Grown as the trees on texts are."""
    model, count = boosted(x["train"], goal["train"], (x["validation"], goal["validation"]), TreesParams(), seed)
    return {part: list(model.staged_predict(x[part]))[count - 1] for part in ASKED}


def _ridge(texts: Mapping[str, Sequence[str]], goal: Mapping[str, Floats]) -> dict[str, Floats]:
    """Ridge regression on tf-idf of words and pairs of words, its penalty chosen by the validation crystals."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    counter = TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2), min_df=2,
                              sublinear_tf=True)
    x: dict[str, Any] = {"train": counter.fit_transform(texts["train"])}
    x |= {part: counter.transform(texts[part]) for part in ("validation", "test")}
    mean = goal["train"].mean()
    models = [Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(x["train"], goal["train"] - mean)
              for penalty in PENALTIES]
    errors = [np.abs(model.predict(x["validation"]) + mean - goal["validation"]).mean() for model in models]
    best = models[int(np.argmin(errors))]
    return {part: best.predict(x[part]) + mean for part in ASKED}
