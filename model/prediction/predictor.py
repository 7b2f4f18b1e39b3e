"""A model that is asked about crystals: features in, what is said of each out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from features.errors import RowError, UserError
from features.processes import available_cores
from features.progress import Progress
from features.sentences import REGIONS
from features.store import documents
from features.store.sums import Damaged
from features.view import row_errors
from model import cautions
from model.checkpoint import Trained
from model.explanation.game import Game
from model.identity import require_reproducible
from model.input import targets
from model.input.batch import Crystals, StructureBatch, Text, TextBatch, collate_texts
from model.input.finite import wrong
from model.input.words import WordBatch, collate_words
from model.neighbours import Neighbourhood, vectors
from model.prediction import recipe as features_of
from model.prediction.asked import LEFT_OUT, Asked
from model.prediction.inputs import Inputs
from model.prediction.recipe import Made, Recipe
from model.prediction.workers import TIMEOUT_S, WORKER_BYTES, Workers
from model.records import Predicted
from model.threads import one_thread
from model.uncertainty import CONFIDENCE

if TYPE_CHECKING:
    import polars as pl

NEAR = 5
"""Training crystals that are named by each view."""
SAID = {"semiglobal": "semi-global"}
"""Region → what users call it."""
A_FEW = 3
"""Crystals whose features are made in this process: to start others would take longer."""


@dataclass(frozen=True)
class Answer:
    """What is said of a crystal, and what it was said from."""

    predicted: Predicted
    made: Made
    structure: StructureBatch | None = None
    """As the networks read it; None if there is no prediction."""
    text: TextBatch | WordBatch | None = None


@dataclass(frozen=True)
class Predictor:
    """A trained model, ready for any crystal. It makes the features that it was trained on, or refuses to begin."""

    trained: Trained
    recipe: Recipe
    cautions: tuple[str, ...] = field(default=())
    """What must be said of the model beside every prediction."""

    @classmethod
    def of(cls, trained: Trained, makes_features: bool = True) -> Predictor:
        """Raises `UserError` if the features that the model was trained on cannot be made here.

        `makes_features`: without, this is not asked, and features come from the tables that the model was trained on.
        """
        if makes_features:
            require_reproducible(trained.identity)
        said = [*trained.cautions, *(one for one in _test_cautions(trained) if one not in trained.cautions)]
        return cls(trained, Recipe.of(trained.identity, trained.params), tuple(said))

    @property
    def target(self) -> str:
        """Name of the property."""
        return self.trained.params.target

    @property
    def unit(self) -> str:
        """Of the property; empty if it has none, or nobody has said it."""
        return self.trained.config.unit

    @property
    def learned_unit(self) -> str:
        """Of what is learned, such as log10(GPa)."""
        return self.trained.learned_unit

    @cached_property
    def game(self) -> Game:
        """What asks the model of crystals with parts of others."""
        return Game(self.trained)

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        """The training crystals."""
        return Neighbourhood.of(self.trained)

    def predict(self, crystals: Any, confidence: float = CONFIDENCE, text: str | None = None,
                without: str | Sequence[str] = (), *, blocks: str = "one") -> pl.DataFrame:
        """One row for each crystal, in their order; one that cannot be used has an `error`, and the others a value.

        Args:
            crystals: pymatgen Structures, texts of CIFs, POSCARs and the like, paths of files, folders and tables, or
                a single one of these.
            confidence: how often an interval is to hold the true value.
            text: a description to predict with in place of the crystal's own; one crystal only.
            without: what of the description is left out: global, semi-global, local, or text for all of it.
            blocks: `all` takes every block with sites of a CIF for a crystal.

        The columns are said in docs/predict.md. More than a few crystals are described by processes: a script must then
        have its work below `if __name__ == "__main__":`.
        """
        from model.prediction.rows import frame

        return frame(self, self.stream(crystals, confidence, text, without, blocks=blocks))

    def stream(self, crystals: Any, confidence: float = CONFIDENCE, text: str | None = None,
               without: str | Sequence[str] = (), *, blocks: str = "one",
               timeout_s: float = TIMEOUT_S) -> Iterator[Predicted]:
        """The same crystal by crystal, as they are finished and in their order, in bounded memory."""
        if blocks not in ("one", "all"):
            raise UserError(f"blocks '{blocks}': there are one and all")
        if text is not None and not text.strip():
            raise UserError("the edited description is empty: without='text' predicts without one")
        asked = Asked(confidence, text, (without,) if isinstance(without, str) else tuple(without))
        return self._stream(Inputs(crystals, blocks == "all"), asked, timeout_s)

    def _stream(self, inputs: Inputs, asked: Asked, timeout_s: float) -> Iterator[Predicted]:
        first = list(itertools.islice(iter(inputs), A_FEW + 1)) if inputs.total is None else []
        few = (inputs.total or 0) <= A_FEW if inputs.total is not None else len(first) <= A_FEW
        given = inputs if inputs.total is not None else itertools.chain(first, inputs)
        if few:
            made = (features_of.make(self.recipe, one) for one in given)
            yield from (answer.predicted for answer in self.answers(made, asked))
            return
        with Workers(self.recipe, available_cores(), timeout_s, WORKER_BYTES) as workers:
            yield from (answer.predicted for answer in self.answers(workers.map(given), asked, inputs.total))

    def answers(self, made: Iterable[Made], asked: Asked, total: int | None = None,
                quiet: bool = False) -> Iterator[Answer]:
        """What is said of each crystal, from its features; progress is shown for `total` of them."""
        if asked.change and self.recipe.text_stage is None:
            raise UserError("the model was trained without text: there is none to edit or to leave out")
        with Progress("predict", total or 0, "crystals", quiet) as progress:
            for number, one in enumerate(made, start=1):
                if asked.text is not None and number > 1:
                    raise UserError("an edited description belongs to one crystal: give one crystal")
                yield self._answer(one, asked)
                progress.advance(1)

    @one_thread()  # the other cores describe
    def _answer(self, made: Made, asked: Asked) -> Answer:
        if made.error is not None:
            return Answer(Predicted(made.name, error=made.error), made)
        try:
            with row_errors():
                own = self._read(made)
                answer = self._said(*own, asked)
                if not asked.change:
                    return answer
                changed = features_of.retold(self.recipe, made, asked.text,
                                             [LEFT_OUT[one] for one in asked.without])
                return _compared(answer.predicted, self._said(*self._read(changed), asked), asked.change)
        except RowError as error:
            made = features_of.failed(made.name, error)
            return Answer(Predicted(made.name, error=made.error), made)

    def _read(self, made: Made) -> tuple[Made, StructureBatch, TextBatch | WordBatch]:
        """The crystal as the networks read it; what the frozen encoder or CHGNet makes of it is made here."""
        columns: Any = made.structure
        if self.trained.params.encoder == "chgnet":
            vectors_of_atoms = self.recipe.table("chgnet", made.material or {})
            columns = columns.append_column("atom_vectors", vectors_of_atoms["atom_vectors"])
        if self.recipe.text_stage == "embed" and made.description is not None:
            try:
                made = replace(made, words=self.recipe.row("embed", made.description | {"variant": 0}))
            except RowError as error:
                made = features_of.without_text(self.recipe, made, f"no text ({error.kind}: {error})")
        texts = collate_words(made.words) if self.trained.params.text == "words" else \
            collate_texts([_text(made.words) if made.words else None], self.trained.config.text_dim)
        crystals, device = Crystals.from_table(columns), self.trained.device
        _require_finite(crystals, texts)
        return made, crystals.batch().to(device), texts.to(device)

    @torch.no_grad()
    def _said(self, made: Made, structure: StructureBatch, text: TextBatch | WordBatch, asked: Asked) -> Answer:
        trained, params, material = self.trained, self.trained.params, made.material or {}
        prediction = trained.net(structure, text)
        fused, by_structure, by_text = (trained.natural(z).numpy() for z in (
            prediction.fused, prediction.structure, prediction.text))
        if not math.isfinite(fused[0]):
            raise RowError("number", "what the model predicts for it is not a number")
        low, high = trained.calibration.interval(fused, trained.spread(prediction), asked.confidence)
        learned = {"value": fused[0]}
        if len(trained.calibration.scores) >= cautions.FEW:
            learned |= {"low": low[0], "high": high[0]}
        if params.learns("structure"):
            learned["structure_only"] = by_structure[0]
        if params.learns("text") and made.words is not None:
            learned["text_only"] = by_text[0]
        learned = {name: float(value) for name, value in learned.items() if math.isfinite(value)}
        own: dict[str, Any] = {name: float(targets.untransform(np.array([value]), params.transform)[0])
                               for name, value in learned.items()}
        seen = vectors(trained.net, structure, text)
        near = {view: self.neighbourhood.near(view, None if found is None else found[0], NEAR)
                for view, found in seen.items()}
        unlike = [self.neighbourhood.unlike(view, near[view]) for view in near]
        outside = [f"outside the training data: {one.message}" for one in trained.coverage.outside(material)]
        predicted = Predicted(
            made.name, formula=material["reduced_formula"], space_group=material["space_group"],
            confidence=asked.confidence, **own, learned=learned,
            contributions=self._contributions(made, structure) if asked.contributions else {},
            trained_on=self.neighbourhood.is_one(material, near["structure"]),
            near_by_structure=near["structure"], near_by_text=near["text"],
            warnings=tuple(filter(None, [*self.cautions, *outside, *unlike, made.no_text])),
            flags=dict(zip(material["flags"], material["flag_messages"], strict=True)),
            text=made.description["text"] if made.description else None)
        return Answer(predicted, made, structure, text)

    def _contributions(self, made: Made, structure: StructureBatch) -> dict[str, float]:
        """Shapley values of structure and regions; none for a crystal without a text."""
        if made.description is None:
            return {}
        shares = self.game.contributions(structure, self.game.read(made.description))
        return {SAID.get(name, name): value for name, value in shares.items()}


def _require_finite(crystals: Crystals, texts: TextBatch | WordBatch) -> None:
    """Raise `RowError` if a feature of the crystal is not a number."""
    found = wrong(crystals.values, crystals.starts)
    if found is not None:
        raise RowError("number", f"its {found.column} holds {found.value}, which is no number")
    numbers = texts.values if isinstance(texts, WordBatch) else texts.vectors
    if bool(numbers.isinf().any()) or (isinstance(texts, TextBatch) and bool(numbers.isnan().any())):
        raise RowError("number", "its text, as the model reads it, holds infinity or NaN")


def _compared(own: Predicted, changed: Answer, change: str) -> Answer:
    """The changed prediction, with its difference from the crystal's own."""
    new = changed.predicted
    assert own.value is not None and new.value is not None  # noqa: PT018, S101 (both were predicted)
    what_if = {"change": change, "value": own.value, "learned": own.learned["value"],
               "difference": {"value": new.value - own.value, "learned": new.learned["value"] - own.learned["value"]}}
    return replace(changed, predicted=replace(new, what_if=what_if))


def _text(words: dict[str, Any]) -> Text:
    return Text(np.array(words["sentence_vectors"], np.float32),
                np.array([REGIONS.index(region) for region in words["regions"]], np.int64))


def _test_cautions(trained: Trained) -> list[str]:
    """Those of the test, if the results beside the model are its own; that these are damaged, if they are."""
    path: Path = trained.folder.parent / "results" / "metrics.json"
    try:
        metrics = documents.read(path)
    except Damaged as damage:
        return [f"What the test said of the model is not known: {damage}."]
    return [] if metrics is None else cautions.stored(metrics, trained.config.weights_sha256)
