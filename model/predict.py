"""From crystal files to predictions, through the same feature functions that made the training data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from features.cif.blocks import structure_blocks
from features.crystal_files import decode, read_text, shown
from features.errors import RowError
from features.formats import format_of
from features.registry import view_of
from features.sentences import REGIONS
from features.view import reject, row_errors
from features.views import materials
from model.checkpoint import Trained
from model.coverage import Outside, in_words
from model.explanation.methods import explain
from model.explanation.variants import reader
from model.identity import require_reproducible
from model.input import targets
from model.input.batch import Crystals, StructureBatch, Text, collate_texts
from model.input.words import collate_words
from model.records import Explanation
from model.uncertainty import CONFIDENCE

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
    low: float | None = None
    high: float | None = None
    """Ends of its interval, infinite where too few crystals validated for one."""
    confidence: float | None = None
    """How often an interval is to hold the true value, of crystals like those of the training."""
    structure_only: float | None = None
    text_only: float | None = None
    text: str | None = None
    note: str | None = None
    """Why the prediction rests on the structure alone, if it does."""
    flags: dict[str, str] | None = None
    """What the file says that may matter beside the crystal: kind → in words; None without a crystal."""
    outside: list[Outside] | None = None
    """What of the crystal no training crystal reaches; empty if there is nothing, None without a crystal."""
    training_crystals_with: dict[str, int] | None = None
    """How many training crystals have each of the crystal's elements."""
    explanation: Explanation | None = None


def predict_files(trained: Trained, files: list[Path], with_explanations: bool = False,
                  finished: Callable[[FileResult], None] = lambda _result: None,
                  every_block: bool = False, confidence: float = CONFIDENCE) -> list[FileResult]:
    """Predict for each file; a bad one gives an `error` and never stops the others.

    Each prediction has an interval of the given confidence. `FILE#BLOCK` is one block of a CIF; with `every_block` each
    block with sites is predicted by itself. `finished` gets each result as it is made, so that nothing is lost if an
    error of the machine stops the rest. Raises `UserError` if the features that the model was trained on cannot be made
    here.
    """
    require_reproducible(trained.identity)
    results = []
    for path in files:
        try:
            with row_errors():
                crystals = read_crystals(path, every_block)
        except RowError as error:
            results.append(_failed(str(path), error))
            finished(results[-1])
            continue
        for name, text in crystals:
            results.append(_predict_crystal(trained, name, text, with_explanations, confidence))
            finished(results[-1])
    return results


def _failed(name: str, error: RowError) -> FileResult:
    """It belongs to this file, and the others are predicted."""
    why = reject(ID, error)
    return FileResult(name, error=f"{why.error}: {why.message}")


def _predict_crystal(trained: Trained, name: str, text: str, with_explanation: bool, confidence: float) -> FileResult:
    try:
        with row_errors():
            return _predict(trained, name, text, with_explanation, confidence)
    except RowError as error:
        return _failed(name, error)


def _predict(trained: Trained, name: str, text: str, with_explanation: bool, confidence: float) -> FileResult:
    entry = dict.fromkeys(materials.SOURCE_SCHEMA.names)
    form = format_of(Path(name).name, text)
    material = _row(trained, "ingest", entry | {"structure": text, "format": form, "properties": "{}"})
    crystals = _crystals(trained, material)
    description, words, note = None, None, None
    by_words = trained.params.text == "words"
    if trained.params.with_text:
        try:
            description = _row(trained, "describe", material)
            words = _row(trained, "tokenize" if by_words else "embed", description | {"variant": 0})
        except RowError as error:
            note = f"no text ({error.kind}: {error}): predicted from the structure alone"
            if trained.params.without_text is None:
                raise RowError("no_text", f"no text ({error.kind}: {error}), and no branch of the model has learned to "
                                          "predict without one") from None
    texts = collate_words(words) if by_words else \
        collate_texts([_text(words) if words else None], trained.config.text_dim)
    with torch.no_grad():
        prediction = trained.net(crystals.to(trained.device), texts.to(trained.device))
    learned = [trained.natural(z).numpy() for z in (prediction.fused, prediction.structure, prediction.text)]
    ends = trained.calibration.interval(learned[0], trained.spread(prediction), confidence)
    fused, structure_only, text_only, low, high = (float(targets.untransform(values, trained.params.transform)[0])
                                                   for values in (*learned, *ends))
    outside = trained.coverage.outside(material)
    explanation = None
    if with_explanation and description is not None and words is not None:
        explanation = explain(trained, Path(name).name, crystals, reader(trained)(description), None,
                              in_words(outside))
    return FileResult(
        name, formula=material["reduced_formula"], space_group=material["space_group"], value=fused, low=low,
        high=high, confidence=confidence,
        structure_only=structure_only if trained.params.learns("structure") else None,
        text_only=text_only if words is not None and trained.params.learns("text") else None,
        text=description["text"] if description else None, note=note,
        flags=dict(zip(material["flags"], material["flag_messages"], strict=True)), outside=outside,
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


def read_crystals(path: Path, every_block: bool = False) -> list[tuple[str, str]]:
    """Name and text of each crystal that a file, `-` for standard input, or `FILE#BLOCK` stands for.

    Names of blocks count in small and capital letters alike. A file whose own name holds a `#` goes before a block.
    Raises `RowError` if the file cannot be read or has no such block.
    """
    file, block = _file_and_block(path)
    text = _read(file)
    if block is None and not (every_block and format_of(file.name, text) == "cif"):
        return [(str(file), text)]
    if format_of(file.name, text) != "cif":
        raise RowError("no_block", f"{shown(file)} is no CIF, and only a CIF has blocks")
    blocks = structure_blocks(text)
    chosen = blocks if block is None else [name for name in blocks if name == block] \
        or [name for name in blocks if name.lower() == block.lower()]
    if not chosen:
        raise RowError("no_block", f"{shown(file)} has no block '{block}' with sites; there are: {', '.join(blocks)}")
    return [(f"{file}#{name}", blocks[name]) for name in chosen]


def _file_and_block(path: Path) -> tuple[Path, str | None]:
    """The file that is there, and what stands behind it as the name of a block, which may hold a `#` too."""
    written = str(path)
    ends = [] if path.exists() else [at for at, character in enumerate(written) if character == "#"]
    for end in reversed(ends):
        if written[:end] == "-" or Path(written[:end]).exists():
            return Path(written[:end]), written[end + 1:]
    return path, None


def _read(path: Path) -> str:
    if str(path) != "-":
        return read_text(path)
    try:
        return decode(sys.stdin.buffer.read())
    except RowError as error:
        raise RowError(error.kind, f"standard input: {error}") from None
