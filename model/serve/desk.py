"""A loaded model that answers about dropped crystals, from any thread.

What it keeps of a crystal are its features, under the digest of the file, so that an edit of the description needs no
new one; the page that asks keeps everything else.
"""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from functools import cached_property

from model import cards
from model.explanation.methods import Explainer, shortened
from model.prediction import rows
from model.prediction.asked import Asked
from model.prediction.predictor import Answer, Predictor
from model.prediction.workers import Workers
from model.records import Card, Method, Predicted
from model.report import pages
from model.serve import edits, uploads
from model.serve.edits import Edited
from model.serve.limits import Limits, RefusedError, UnusableError

ROCK_SALT = """NaCl
1.0
0.0 2.82 2.82
2.82 0.0 2.82
2.82 2.82 0.0
Na Cl
1 1
Direct
0.0 0.0 0.0
0.5 0.5 0.5
"""
"""What a new server tries itself on, so that the first crystal of its user finds all that it needs in memory."""


@dataclass(frozen=True)
class Wanted:
    """One line of a table or card of a page: a crystal that was dropped before, or a file that could not be used."""

    name: str
    digest: str | None = None
    rows: tuple[str, ...] | None = None
    """Its edited description, if it was edited (`model.serve.edits.edited`)."""
    error: str | None = None


@dataclass
class _Kept:
    answer: Answer
    explained: Card | None = None


@dataclass
class Desk:
    """The model, the processes that describe, and what is kept."""

    predictor: Predictor
    workers: Workers
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._keeping, self._explaining = threading.Lock(), threading.Lock()
        self._warm = threading.Event()
        self._warm.set()

    @cached_property
    def explainer(self) -> Explainer | None:
        """None for a model without text."""
        return None if self.predictor.recipe.text_stage is None else Explainer(self.predictor.game)

    @cached_property
    def methods(self) -> list[Method]:
        """Those that explain, with the outcome of their tests."""
        if self.explainer is None:
            return []
        return cards.stored_methods(self.explainer, cards.methods_beside(self.predictor.trained))

    def warm(self) -> None:
        """Do all of it once, in a thread of its own, so that the first crystal is answered as fast as the next ones.

        Until then crystals are described and wait: libraries that are imported by two threads at once may fail.
        """
        self._warm.clear()
        threading.Thread(target=self._try, name="warm", daemon=True).start()

    def _try(self) -> None:
        try:
            kept = self._made("POSCAR", ROCK_SALT.encode())
            if self.explainer is not None:
                cards.card(self.explainer, kept.answer, {one.name: one.faithful for one in self.methods})
        except (RefusedError, CancelledError):  # a model that has no word for rock salt, or the server ends already
            return
        finally:
            self._warm.set()

    def crystal(self, name: str, raw: bytes) -> tuple[str, Card]:
        """A dropped file: its digest, and its card without effects.

        Raises `UnusableError` with what is wrong with the file.
        """
        digest = uploads.digest_of(name, raw)
        kept = self._find(digest)
        if kept is None:
            kept = self._made(name, raw, self._warm)
            self._keep(digest, kept)
        return digest, _labelled(cards.outline(self.explainer, kept.answer), name)

    def _made(self, name: str, raw: bytes, when: threading.Event | None = None) -> _Kept:
        """What is kept of a file; `when` is waited for before the model is asked."""
        made = self.workers.one(uploads.given(name, raw, self.limits.file_bytes))
        if when is not None:
            when.wait()
        (answer,) = self.predictor.answers([made], Asked(), quiet=True)
        if answer.predicted.error is not None:
            raise UnusableError(answer.predicted.error)
        return _Kept(answer)

    def edited(self, digest: str, rows: Sequence[str]) -> Edited:
        """The prediction with an edited description. Raises `RefusedError` for a crystal that is not kept."""
        return edits.edited(self.predictor, self._known(digest).answer, rows)

    def explained(self, one: Wanted) -> Card:
        """The card of a crystal with all its effects; one crystal at a time, the others wait."""
        kept = self._known(one.digest)
        if one.rows is None and kept.explained is not None:
            return _labelled(kept.explained, one.name)
        with self._explaining:
            if self.explainer is None:
                return _labelled(cards.outline(None, kept.answer), one.name)
            faithful = {method.name: method.faithful for method in self.methods}
            work = self.limits.explanation_work
            if one.rows is not None:
                text = edits.edited(self.predictor, kept.answer, one.rows).text
                (answer,) = self.predictor.answers([kept.answer.made], Asked(text=text), quiet=True)
                return _labelled(cards.card(self.explainer, answer, faithful, work=work), one.name)
            if kept.explained is None:
                kept.explained = cards.card(self.explainer, kept.answer, faithful, work=work)
            return _labelled(kept.explained, one.name)

    def shortened(self, one: Wanted) -> str:
        """What an explanation leaves out so as not to take minutes, in words; empty if nothing."""
        description = self._known(one.digest).answer.made.description
        if self.explainer is None or description is None:
            return ""
        return shortened(self.explainer.game.read(description), self.limits.explanation_work)

    def predicted(self, wanted: Sequence[Wanted]) -> list[Predicted]:
        """All of these, as tables have them."""
        result = []
        for one in wanted:
            if one.error is not None:
                result.append(Predicted(one.name, error=one.error))
            elif one.rows is not None:
                result.append(replace(self.edited(one.digest or "", one.rows).predicted, name=one.name))
            else:
                result.append(replace(self._known(one.digest).answer.predicted, name=one.name))
        return result

    def csv(self, wanted: Sequence[Wanted]) -> str:
        """The table as `predict --csv` writes it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(rows.SCHEMA.names)
        writer.writerows(rows.cells(self.predictor, one) for one in self.predicted(wanted))
        return text.getvalue()

    def json(self, wanted: Sequence[Wanted]) -> str:
        """The table as `predict --json` writes it."""
        lines = [json.dumps(rows.as_json(self.predictor, one), ensure_ascii=False, allow_nan=False)
                 for one in self.predicted(wanted)]
        return "[" + ",\n ".join(lines) + "]\n"

    def page(self, wanted: Sequence[Wanted]) -> str:
        """The page as `predict --html` writes it, of those that have a prediction."""
        found = [self.explained(one) for one in wanted if one.error is None]
        of = self.predictor
        return pages.cards_page(of.target, of.unit, of.learned_unit, found, self.methods)

    def live(self) -> str:
        """The page of this server."""
        of, limits = self.predictor, self.limits
        return pages.live_page(of.target, of.unit, of.learned_unit, self.methods, of.cautions, {
            "file_bytes": limits.file_bytes, "crystals": limits.crystals, "name_characters": limits.name_characters,
            "text_characters": limits.text_characters, "at_once": self.workers.count})

    def _find(self, digest: str) -> _Kept | None:
        with self._keeping:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)

    def _known(self, digest: str | None) -> _Kept:
        kept = self._find(digest or "")
        if kept is None:
            raise RefusedError(404, "the server does not keep this crystal any more: drop its file again")
        return kept

    def _keep(self, digest: str, kept: _Kept) -> None:
        with self._keeping:
            self._kept[digest] = kept
            while len(self._kept) > self.limits.crystals:
                self._kept.popitem(last=False)


def _labelled(card: Card, name: str) -> Card:
    return replace(card, predicted=replace(card.predicted, name=name))
