"""The training set of a model (`features.training_sets`), which lies beside it: the rows that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from features import training_sets
from features.errors import UserError
from features.store import sums
from features.training_sets import TrainingSet
from model import coverage
from model.input.batch import ATOM_VECTORS, ATOMS
from model.input.loader import Dataset
from model.input.words import COLUMNS
from model.nets import encoders
from model.params import TrainParams

NAME = "training_set.json"
"""Of the file beside the model."""


def read_by(params: TrainParams) -> tuple[list[str], list[str]]:
    """The columns that a model's inputs come from, as `table.column`, and those tables that a crystal may have no row
    in."""
    reads = encoders.reads(params)
    columns = {"materials": coverage.COLUMNS,
               "structures": (*ATOMS, *(name for name in reads if name not in ATOM_VECTORS), "n_edges")}
    if set(ATOM_VECTORS) & set(reads):
        columns["chgnet_atoms"] = ATOM_VECTORS
    text = "text_tokens" if params.text == "words" else "text_embeddings"
    if params.with_text:
        columns[text] = COLUMNS if params.text == "words" else ("sentence_vectors", "regions")
    return [f"{table}.{name}" for table, names in columns.items() for name in names], [text] * params.with_text


def of(root: Path, params: TrainParams, splits: Mapping[str, Dataset]) -> TrainingSet:
    """The set that the section `train` asks for, which is the one that was loaded as `splits`."""
    views, optional = read_by(params)
    made = training_sets.made_from(root, params.target, views, optional=optional, also=tuple(params.also))
    if made.split_of != {i: name for name, split in splits.items() for i in split.ids}:
        raise AssertionError("the training set holds other crystals than what is trained on")
    return made


def read(folder: Path, root: Path) -> TrainingSet:
    """The set of the model in a folder, whose rows are those of the tables below `root`.

    Raises `UserError` if there is none, and `Damaged` if it is not what was written.
    """
    path = folder / NAME
    if not path.exists() and NAME not in (sums.listed(folder) or ()):
        raise UserError(f"{path} does not exist: the model was trained by a version that kept no training set; train "
                        "again with `dvc repro`")
    return TrainingSet.parse(sums.read(path), str(path), root)
