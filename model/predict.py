"""From CIF files to predictions, through the same feature functions that made the training data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from features import sentences
from features.crystal_files import read_text
from features.errors import RowError
from features.registry import view_of
from features.sentences import REGIONS
from features.view import reject, row_errors
from features.views import materials
from model.checkpoint import Trained
from model.coverage import Outside, in_words
from model.explanation.methods import explain
from model.identity import require_reproducible
from model.inference import load_encoder
from model.input import loader
from model.input.batch import Crystals, StructureBatch, Text, collate_texts
from model.records import Explanation

ID = "file"
"""What the one crystal of a file is called while its features are made."""


@dataclass(frozen=True)
class FileResult:
    """What came of one file."""

    file: str
    error: str | None = None
    formula: str | None = None
    space_group: str | None = None
    value: float | None = None
    """Fused prediction in the target's own unit."""
    structure_only: float | None = None
    text_only: float | None = None
    text: str | None = None
    note: str | None = None
    """Why the prediction rests on the structure alone, if it does."""
    outside: list[Outside] | None = None
    """What of the crystal no training crystal reaches; empty if there is nothing, None without a crystal."""
    training_crystals_with: dict[str, int] | None = None
    """How many training crystals have each of the crystal's elements."""
    explanation: Explanation | None = None


def predict_files(trained: Trained, files: list[Path], with_explanations: bool = False,
                  finished: Callable[[FileResult], None] = lambda _result: None) -> list[FileResult]:
    """Predict for each file; a bad one gives an `error` and never stops the others.

    `finished` gets each result as it is made, so that nothing is lost if an error of the machine stops the rest. Raises
    `UserError` if the features that the model was trained on cannot be made here.
    """
    require_reproducible(trained.identity)
    results = []
    for path in files:
        results.append(_predict_file(trained, path, with_explanations))
        finished(results[-1])
    return results


def _predict_file(trained: Trained, path: Path, with_explanation: bool) -> FileResult:
    try:
        with row_errors():
            return _predict(trained, path, with_explanation)
    except RowError as error:  # it belongs to this file, and the others are predicted
        why = reject(ID, error)
        return FileResult(str(path), error=f"{why.error}: {why.message}")


def _predict(trained: Trained, path: Path, with_explanation: bool) -> FileResult:
    entry = dict.fromkeys(materials.SOURCE_SCHEMA.names)
    material = _row(trained, "ingest", entry | {"structure": _read(path), "format": "cif", "properties": "{}"})
    crystals = _crystals(trained, material)
    description, words, note = None, None, None
    if trained.params.with_text:
        try:
            description = _row(trained, "describe", material)
            words = _row(trained, "embed", description | {"variant": 0})
        except RowError as error:
            note = f"no text ({error.kind}: {error}): predicted from the structure alone"
    texts = collate_texts([_text(words) if words else None], trained.config.text_dim)
    with torch.no_grad():
        prediction = trained.net(crystals.to(trained.device), texts.to(trained.device))
    fused, structure_only, text_only = (
        float(loader.untransform(trained.natural(z).numpy(), trained.params.transform)[0])
        for z in (prediction.fused, prediction.structure, prediction.text))
    outside = trained.coverage.outside(material)
    explanation = None
    if with_explanation and description is not None and words is not None:
        explanation = explain(trained, load_encoder(trained), path.name, crystals, description["text"],
                              sentences.from_rows(description["sentences"]), None, in_words(outside))
    return FileResult(
        str(path), formula=material["reduced_formula"], space_group=material["space_group"], value=fused,
        structure_only=structure_only if trained.params.learns("structure") else None,
        text_only=text_only if words is not None and trained.params.learns("text") else None,
        text=description["text"] if description else None, note=note, outside=outside,
        training_crystals_with=trained.coverage.crystals_with(material["elements"]), explanation=explanation)


def _row(trained: Trained, stage: str, unit: dict[str, Any]) -> dict[str, Any]:
    """The row of a view for one unit, by the function that makes the view's table and as the model's was made.

    Raises `RowError` where the stage would have a reject.
    """
    row: dict[str, Any] = _table(trained, stage, unit).to_pylist()[0]
    return row


def _table(trained: Trained, stage: str, unit: dict[str, Any]) -> pa.Table:
    view = view_of(stage)
    made = view.compute(pa.Table.from_pylist([{**unit, "material_id": ID}]), trained.identity.params(stage))
    for why in made.rejects.values():
        raise RowError(why.error, why.message)
    return made.rows


def _crystals(trained: Trained, material: dict[str, Any]) -> StructureBatch:
    columns = _table(trained, "tensorize", material)
    if trained.params.encoder == "chgnet":
        vectors = _table(trained, "chgnet", material)
        columns = columns.append_column("atom_vectors", vectors["atom_vectors"])
    return Crystals.from_table(columns).batch()


def _text(words: dict[str, Any]) -> Text:
    return Text(np.array(words["sentence_vectors"], np.float32),
                np.array([REGIONS.index(region) for region in words["regions"]], np.int64))


def _read(path: Path) -> str:
    if str(path) != "-":
        return read_text(path)
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError("unreadable", f"standard input: {error}") from None
