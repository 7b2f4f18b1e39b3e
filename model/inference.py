"""The Python API: a trained model, ready to predict for any crystal.

    from model import inference

    model = inference.load("data/model")
    model.predict(["my.cif", structure])  # a polars frame
    inference.load("data/model", at="v1")  # the model of a git revision
"""

from __future__ import annotations

from pathlib import Path

from features.errors import UserError
from features.paths import Paths
from features.store import revisions
from model.checkpoint import load_file
from model.header import MODEL
from model.prediction.predictor import Predictor

__all__ = ["Predictor", "load"]


def load(folder: str | Path, device: str | None = None, at: str | None = None) -> Predictor:
    """The model whose file lies in a folder such as `data/model`, ready to predict for any crystal.

    Args:
        folder: of the model.
        device: where it computes; `train.device` by default.
        at: a git revision or tag whose model it is; the folder is then `data/model` of a project.

    Raises `UserError` if there is none, it is damaged, or the features that it was trained on cannot be made here.
    """
    path = _published(Path(folder), at)
    return Predictor.of(load_file(path if path.is_file() else path / MODEL, device))


def _published(folder: Path, at: str | None) -> Path:
    """Of the folder `data/model` of a project, the one that readers read, whatever trains there meanwhile."""
    absolute = folder.absolute()
    if absolute.parts[-2:] == ("data", "model"):
        return Paths(revisions.at(absolute.parents[1], at)).model
    if at is not None:
        raise UserError(f"{folder} is not the folder data/model of a project, so that it has no revision {at}")
    return folder
