"""The features of one crystal, by the functions that make the tables and with the parameters of the model's own.

Nothing here needs torch, so that worker processes that describe crystals do not import it; what a network makes
(vectors of texts, of atoms) is added where the model is (`model.prediction.predictor`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from features import sentences
from features.errors import RowError, UserError
from features.formats import format_of
from features.params import Section
from features.registry import view_of
from features.view import reject, row_errors
from features.views import materials
from model.header import read_header
from model.identity import Identity
from model.params import TrainParams
from model.prediction.inputs import Given

ID = "crystal"
"""What the one crystal is called while its features are made."""


@dataclass(frozen=True)
class Recipe:
    """What a model reads of a crystal, and how it was made for the training crystals."""

    params: Mapping[str, Section]
    """By stage."""
    text_stage: str | None
    """`tokenize` or `embed`; None for a model without text."""
    needs_text: bool
    """Whether no branch predicts for a crystal without a text."""

    @classmethod
    def of(cls, identity: Identity, train: TrainParams) -> Self:
        """That of a model. Raises `UserError` if a stage has parameters that this code does not know."""
        stages = [stage for stage in identity.tables if stage != "split"]
        text = ("tokenize" if train.text == "words" else "embed") if train.with_text else None
        return cls({stage: identity.params(stage) for stage in stages}, text, train.without_text is None)

    @classmethod
    def early(cls, path: Path) -> Self | None:
        """That of a model's file, read from its header alone, before torch is there.

        None where that fails, for whatever reason: whoever loads the model will say it.
        """
        content = read_header(path)
        try:
            return cls.of(Identity.from_dict(content["identity"]), TrainParams.model_validate(content["train"]))
        except (ValueError, LookupError, TypeError, AttributeError, UserError):
            return None

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules that a worker needs."""
        stages = [stage for stage in self.params if stage not in ("embed", "chgnet")]
        return (__name__, *(module for stage in stages for module in view_of(stage).preload))

    def table(self, stage: str, unit: Mapping[str, Any]) -> pa.Table:
        """The rows of a view for one unit. Raises `RowError` where the stage would have a reject."""
        view = view_of(stage)
        made = view.compute(pa.Table.from_pylist([{**unit, "material_id": ID}]), self.params[stage])
        for why in made.rejects.values():
            raise RowError(why.error, why.message)
        return made.rows

    def row(self, stage: str, unit: Mapping[str, Any]) -> dict[str, Any]:
        """The first of them."""
        row: dict[str, Any] = self.table(stage, unit).to_pylist()[0]
        return row


@dataclass(frozen=True)
class Made:
    """The features of one crystal, or why there are none."""

    name: str
    error: str | None = None
    """As `kind: message`."""
    material: dict[str, Any] | None = None
    """Row of `materials`."""
    structure: pa.Table | None = None
    """Row of `structures`."""
    description: dict[str, Any] | None = None
    """Row of `descriptions`."""
    words: dict[str, Any] | None = None
    """Row of `text_tokens`, or once the encoder has read it of `text_embeddings`."""
    no_text: str | None = None
    """Why there is no text, where the model would read one."""


def make(recipe: Recipe, given: Given) -> Made:
    """All features that need no network. Errors of the machine and the set-up are raised, others are the crystal's."""
    if given.error is not None:
        return Made(given.name, error=given.error)
    try:
        with row_errors():
            return _made(recipe, given)
    except RowError as error:
        return failed(given.name, error)


def failed(name: str, error: RowError) -> Made:
    """It belongs to this crystal, and the others are predicted."""
    why = reject(ID, error)
    return Made(name, error=f"{why.error}: {why.message}")


def _made(recipe: Recipe, given: Given) -> Made:
    entry = dict.fromkeys(materials.SOURCE_SCHEMA.names)
    form = format_of(given.says, given.text)
    material = recipe.row("ingest", entry | {"structure": given.text, "format": form, "properties": "{}"})
    made = Made(given.name, material=material, structure=recipe.table("tensorize", material))
    if recipe.text_stage is None:
        return made
    try:
        description = recipe.row("describe", material)
        words = recipe.row("tokenize", description | {"variant": 0}) if recipe.text_stage == "tokenize" else None
        return replace(made, description=description, words=words)
    except RowError as error:
        return without_text(recipe, made, f"no text ({error.kind}: {error})")


def without_text(recipe: Recipe, made: Made, why: str) -> Made:
    """The same crystal without a text. Raises `RowError` if the model cannot predict so."""
    if recipe.needs_text:
        raise RowError("no_text", f"{why}, and no branch of the model has learned to predict without one")
    return replace(made, description=None, words=None, no_text=f"{why}: predicted from the structure alone")


def retold(recipe: Recipe, made: Made, text: str | None, without: Sequence[str]) -> Made:
    """The same crystal with another description.

    Args:
        recipe: of the model.
        made: its features.
        text: what the user wrote; None for its own description.
        without: regions whose sentences are left out; `text` leaves out all of it.

    Raises `RowError` if nothing is left and the model needs a text, or the text cannot be read.
    """
    own = made.description["text"] if made.description else ""
    told = own if text is None else text
    kept = [] if "text" in without else [
        (told[one.start:one.end], one.region) for one in sentences.tag(told) if one.region not in without]
    if not kept:
        return without_text(recipe, made, "nothing of the text is left")
    told, tagged = sentences.join(kept)
    description = {**(made.description or {}), "mineral": _still_named(made.description, told), "text": told,
                   "sentences": sentences.to_rows(tagged), "n_words": len(told.split())}
    words = recipe.row("tokenize", description | {"variant": 0}) if recipe.text_stage == "tokenize" else None
    return replace(made, description=description, words=words, no_text=None)


def _still_named(description: Mapping[str, Any] | None, text: str) -> str | None:
    """The prototype of a description, if an edited text names it too: its words are read as one name."""
    mineral = description["mineral"] if description else None
    return mineral if mineral and mineral in text else None
