"""From CIF files to predictions, through the same feature functions that made the training data."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features import crystal, sentences
from features.crystal_files import read_text
from features.errors import RowError
from features.registry import view_of
from features.sentences import Sentence
from features.view import reject
from features.views import chgnet_atoms, descriptions, materials, structures
from model import checkpoint
from model.checkpoint import Trained
from model.explanation.methods import explain
from model.inference import as_text, load_encoder
from model.input import loader
from model.input.batch import Crystals, StructureBatch, collate_texts
from model.records import Explanation


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
    explanation: Explanation | None = None


def predict_files(trained: Trained, files: list[Path], with_explanations: bool = False) -> list[FileResult]:
    """Predict for each file; a bad one gives an `error` and never stops the others."""
    checkpoint.check_versions(trained)
    return [_predict_file(trained, path, with_explanations) for path in files]


def _predict_file(trained: Trained, path: Path, with_explanation: bool) -> FileResult:
    try:
        structure = crystal.canonical_structure(materials.parse(_read(path), "cif"))
        row = materials.material_row(structure)
        tensors = _tensors(trained, row["cif"])
    except RowError as error:
        return FileResult(str(path), error=" ".join(f"{error.kind}: {error}".split()))
    tagged: list[Sentence] = []
    text, note, spoken = None, None, None
    try:
        if trained.params.with_text:
            text = descriptions.describe(crystal.from_cif(row["cif"]), _section(trained, "describe")).text
            tagged = sentences.tag(text)
    except RowError as error:
        note = f"no text ({reject('', error).message}): predicted from the structure alone"
    if text is not None:
        encoder = load_encoder(trained)
        spoken = as_text(encoder.encode([text], [tagged])[0], tagged)
    with torch.no_grad():
        prediction = trained.net(tensors.to(trained.device),
                                 collate_texts([spoken], trained.config.text_dim).to(trained.device))
    fused, structure_only, text_only = (
        float(loader.untransform(trained.natural(z).numpy(), trained.params.transform)[0])
        for z in (prediction.fused, prediction.structure, prediction.text))
    explanation = None
    if with_explanation and text is not None:
        explanation = explain(trained, encoder, path.name, tensors, text, tagged, None)
    return FileResult(str(path), formula=row["reduced_formula"], space_group=row["space_group"], value=fused,
                      structure_only=structure_only if trained.params.learns("structure") else None,
                      text_only=text_only if text is not None and trained.params.learns("text") else None, text=text,
                      note=note, explanation=explanation)


def _read(path: Path) -> str:
    if str(path) != "-":
        return read_text(path)
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError("unreadable", f"standard input: {error}") from None


def _section(trained: Trained, stage: str) -> Any:
    """The parameters of a feature as they were when the model was trained."""
    return view_of(stage).params.model_validate(trained.config.features[stage]["params"])


def _tensors(trained: Trained, cif: str) -> StructureBatch:
    row = structures.tensors(cif, _section(trained, "tensorize"))
    if trained.params.encoder == "chgnet":
        model = _section(trained, "chgnet").model
        vectors = chgnet_atoms.atom_vectors(crystal.from_cif(cif), model).astype(np.float16)  # as the table has them
        row["atom_vectors"] = vectors.ravel()
    return Crystals.of([row]).batch()
