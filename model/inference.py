"""The Python API: a trained model, ready to predict for any crystal.

    from model import inference

    model = inference.load("data/model")
    model.predict(["my.cif", structure])  # a polars frame
"""

from __future__ import annotations

from pathlib import Path

from features.paths import Paths
from features.store import versions
from model.checkpoint import load_file
from model.header import MODEL
from model.prediction.predictor import Predictor

__all__ = ["Predictor", "load"]


def load(folder: str | Path, device: str | None = None) -> Predictor:
    """The model whose file lies in a folder such as `data/model`, ready to predict for any crystal.

    Raises `UserError` if there is none, it is damaged, or the features that it was trained on cannot be made here.
    """
    path = _published(Path(folder))
    return Predictor.of(load_file(path if path.is_file() else path / MODEL, device))


def _published(folder: Path) -> Path:
    """Of the folder `data/model` of a project, the one that readers read, whatever trains there meanwhile."""
    absolute = folder.absolute()
    if absolute.parts[-2:] != ("data", "model"):
        return folder
    return Paths(versions.current(absolute.parents[1])).model
