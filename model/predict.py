"""`python -m model predict`: from the command line to tables, files and a page."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from features.crystal_files import read_text
from features.errors import RowError, UserError
from features.paths import Paths
from features.processes import available_cores
from model.header import MODEL
from model.prediction.asked import Asked
from model.prediction.inputs import Inputs
from model.prediction.recipe import Recipe
from model.prediction.rows import CsvWriter, JsonWriter, ParquetWriter, TableWriter, Writer
from model.prediction.workers import WORKER_BYTES, Workers

if TYPE_CHECKING:
    from model.explanation.methods import Explainer
    from model.prediction.predictor import Answer, Predictor
    from model.records import Card, Method

WORK = 200_000_000
"""Of replacements for one crystal on a page (`model.explanation.methods.donors_within`): half a minute or so."""


@dataclass(frozen=True)
class Outputs:
    """Where predictions go; a table is printed if nothing else goes to standard output."""

    json: bool = False
    csv: str | None = None
    """A file, or - for standard output."""
    parquet: Path | None = None
    html: Path | None = None

    def __post_init__(self) -> None:
        if self.json and self.csv == "-":
            raise UserError("--json and --csv - both write to standard output; name a file for one")
        for option, path in (("--csv", None if self.csv in (None, "-") else Path(str(self.csv))),
                             ("--parquet", self.parquet), ("--html", self.html)):
            if path is not None and not path.absolute().parent.is_dir():
                raise UserError(f"{option}: the folder of {path} does not exist")
            if path is not None and path.is_dir():
                raise UserError(f"{option}: {path} is a folder; name a file")

    @property
    def tell_contributions(self) -> bool:
        """Whether anything shows what structure and regions contribute; the table does not."""
        return self.json or bool(self.csv or self.parquet or self.html)

    @contextlib.contextmanager
    def open(self, of: Predictor) -> Iterator[list[Writer]]:
        """What writes them; all are finished at the end, whatever stops the rest."""
        with contextlib.ExitStack() as stack:
            writers: list[Writer] = []
            for made in self._writers(of):
                stack.callback(made.close)
                writers.append(made)
            yield writers

    def _writers(self, of: Predictor) -> Iterator[Writer]:
        """Each is finished even if the next one cannot begin."""
        if self.json:
            yield JsonWriter(of)
        if self.csv is not None:
            yield CsvWriter(of, None if self.csv == "-" else Path(self.csv))
        if self.parquet is not None:
            yield ParquetWriter(of, self.parquet)
        if not self.json and self.csv != "-":
            yield TableWriter(of, of.cautions)


def predict(given: Sequence[str | Path], root: Path, outputs: Outputs, asked: Asked, every_block: bool,
            timeout_s: float) -> None:
    """Predict and write. Raises `UserError` if some crystals could not be used; the others are written."""
    inputs = Inputs(list(given), every_block)
    if asked.text is not None and inputs.total != 1:
        raise UserError("--text belongs to one crystal: name one file")
    recipe = Recipe.early(Paths(root).model / MODEL)
    bad: list[tuple[str, str]] = []
    count = 0
    with contextlib.ExitStack() as stack:
        started = None
        if recipe is not None:  # crystals are described while torch is imported and the model is read
            workers = stack.enter_context(Workers(recipe, min(available_cores(), max(1, inputs.total or 1)), timeout_s,
                                                  WORKER_BYTES))
            started = stack.enter_context(ThreadPoolExecutor(1)).submit(workers.map, inputs)
        from model import checkpoint
        from model.prediction.predictor import Predictor

        predictor = Predictor.of(checkpoint.load(root))
        if started is None:
            raise UserError(f"{Paths(root).model / MODEL} cannot be read; train again with `dvc repro`")
        if outputs.html is not None and predictor.recipe.text_stage is None:
            raise UserError("--html: the model was trained without text, so there is nothing to explain")
        page = _Page(predictor, outputs.html)
        stack.callback(page.write)
        writers = stack.enter_context(outputs.open(predictor))
        asked = replace(asked, contributions=outputs.tell_contributions)
        quiet = sys.stdout.isatty() and any(isinstance(one, TableWriter) for one in writers)
        for answer in predictor.answers(started.result(), asked, inputs.total, quiet):
            count += 1
            if answer.predicted.error:
                bad.append((answer.predicted.name, answer.predicted.error))
            for writer in writers:
                writer.write(answer.predicted)
            page.add(answer)
    if bad:
        said = any(isinstance(one, TableWriter) for one in writers)  # it says each reason as it comes
        reason = f", for the reason{'' if len(bad) == 1 else 's'} above" if said else f"; {bad[0][0]}: {bad[0][1]}" \
            if len(bad) == 1 else ", as their errors say"
        raise UserError(f"{len(bad)} of {count} crystals could not be used{reason}")


def edited(path: Path | None) -> str | None:
    """The text of `--text`. Raises `UserError` if there is none."""
    if path is None:
        return None
    try:
        text = read_text(path)
    except RowError as error:
        raise UserError(f"--text: {error}") from None
    if not text.strip():
        raise UserError(f"--text: {path} is empty; --without text predicts without a description")
    return " ".join(text.split())


class _Page:
    """The page with all about what is predicted."""

    def __init__(self, predictor: Predictor, path: Path | None) -> None:
        self.predictor, self.path = predictor, path
        self._cards: list[Card] = []

    @cached_property
    def _explainer(self) -> Explainer:
        from model.explanation.methods import Explainer

        return Explainer(self.predictor.game)

    @cached_property
    def _methods(self) -> list[Method]:
        from model import cards

        return cards.stored_methods(self._explainer, cards.methods_beside(self.predictor.trained))

    def add(self, answer: Answer) -> None:
        """Explain one more, if there is to be a page."""
        from model import cards
        from model.explanation.methods import shortened

        if self.path is not None and answer.structure is not None:
            faithful = {one.name: one.faithful for one in self._methods}
            card = cards.card(self._explainer, answer, faithful, work=WORK)
            description = answer.made.description
            note = shortened(self._explainer.game.read(description), WORK) if description else ""
            warnings = (*card.predicted.warnings, *filter(None, [note]))
            self._cards.append(replace(card, predicted=replace(card.predicted, warnings=warnings)))

    def write(self) -> None:
        """Write it, if there is anything on it."""
        from model.report import pages

        if self.path is not None and self._cards:
            pages.write_cards(self.path, self.predictor.target, self.predictor.unit, self.predictor.learned_unit,
                              self._cards, self._methods)
