"""One cell of a network, or of trees on texts: learned from a fold's training crystals, stopped by its validation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from features.text_encoder.weights import pick_device
from model.experiments import controls
from model.experiments.folds import PARTS, Predicted
from model.experiments.matrix import TextsShown
from model.forward import load_splits, predict
from model.input.targets import require_apart
from model.params import TrainParams
from model.training.fit import deterministic, fit
from model.training.trees import Facts, grow


def predicted(root: Path, params: TrainParams, texts: TextsShown, parts: Mapping[str, str],
              groups: dict[str, str], trees: bool = False) -> Predicted:
    """Transformed predictions of the fused branch. Raises `AssertionError` if a formula trains that is held out.

    Args:
        root: the project of the data set.
        params: section `train`, with target and seed.
        texts: which text a crystal gets, in every part.
        parts: part of each crystal by id.
        groups: reduced formula of each crystal by id.
        trees: those on the text, in the place of a network.
    """
    require_apart(parts, groups)
    deterministic()
    device = torch.device(pick_device(params.device))
    splits = load_splits(root, params, parts)
    if params.with_text:
        splits = {part: controls.shown(root, splits[part], texts, groups, (params.seed, number))
                  for number, part in enumerate(PARTS)}
    # trees are grown on the CPU
    fitted = grow(params.trees, Facts.of(splits), params.seed) if trees else fit(params, splits, device, quiet=True)

    fitted.net.to(device)

    def values(part: str) -> dict[str, float]:
        dataset = splits[part]
        fused: NDArray[np.float64] = predict(fitted.net, dataset, device)["fused"] * fitted.std + fitted.mean
        return dict(zip(dataset.ids, fused.tolist(), strict=True))

    return Predicted(values("test"), values("validation"), len(splits["train"]))
