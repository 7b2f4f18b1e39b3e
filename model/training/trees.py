"""The trees of `model.nets.trees`: grown on the texts of training crystals, and kept as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from features.errors import UserError
from model.forward import EVALUATION_BATCH
from model.input.loader import Dataset
from model.nets.text_facts import SIZE, TextFacts
from model.nets.trees import TextTrees
from model.params import TreesParams
from model.training.boosting import boosted
from model.training.fit import Fitted, statistics

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Facts:
    """What trees are told of the training and of the validation crystals."""

    training: tuple[Floats, Floats]
    """`[crystals, SIZE]` and the targets in units of the standard deviation, `[crystals]`."""
    validation: tuple[Floats, Floats]
    mean: float
    std: float
    """Of the training crystals' targets, as networks count them."""

    @classmethod
    def of(cls, splits: Mapping[str, Dataset]) -> Self:
        """Raises `UserError` if no training or no validation crystal has a text."""
        mean, std = statistics(splits["train"])
        parts = {}
        for part in ("train", "validation"):
            split = splits[part]
            known = (split.n_texts > 0) & np.isfinite(split.targets)
            if not known.any():
                raise UserError(f"no crystal of the split '{part}' has a text, and train.members asks for trees on "
                                "texts")
            parts[part] = read(split)[known], (split.targets[known] - mean) / std
        return cls(parts["train"], parts["validation"], mean, std)


def grow(params: TreesParams, told: Facts, seed: int) -> Fitted:
    """Trees on the texts of the training crystals, with the mean and deviation that networks have too."""
    model, count = boosted(*told.training, told.validation, params, seed)
    return Fitted(kept(model, count, params), told.mean, told.std, [])


def read(dataset: Dataset) -> Floats:
    """`[crystals, SIZE]`, what trees are told of the descriptions; without meaning where there is none."""
    facts, result = TextFacts(), np.zeros((len(dataset), SIZE))
    for batch in dataset.batches(dataset.plan(EVALUATION_BATCH)):
        result[batch.row] = facts(batch.text).numpy()
    wrong = np.flatnonzero(~np.isfinite(result).all(axis=1))
    if len(wrong):
        raise UserError(f"what trees are told of the text of {dataset.ids[wrong[0]]} is no number ({len(wrong)} such "
                        "crystals): a number of the text is out of all bounds")
    return result


def kept(model: Any, count: int, params: TreesParams) -> TextTrees:
    """The first `count` trees of a fitted `GradientBoostingRegressor` as tensors."""
    result = TextTrees(params)
    result.start.fill_(float(np.ravel(model.init_.constant_)[0]))
    for row, tree in enumerate(one.tree_ for one in model.estimators_[:count, 0]):
        nodes, here = slice(0, tree.node_count), np.arange(tree.node_count)
        inner = tree.children_left >= 0
        for name, values in (("feature", np.where(inner, tree.feature, 0)), ("threshold", tree.threshold),
                             ("left", np.where(inner, tree.children_left, here)),
                             ("right", np.where(inner, tree.children_right, here)),
                             ("value", np.where(inner, 0.0, params.learning_rate * tree.value[:, 0, 0]))):
            getattr(result, name)[row, nodes] = torch.from_numpy(np.ascontiguousarray(values))
    return result
