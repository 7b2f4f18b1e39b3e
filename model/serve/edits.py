"""What a prediction does while somebody edits the description, sentence by sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.prediction.asked import Asked
from model.prediction.predictor import Answer, Predictor
from model.prediction.recipe import retold
from model.records import Predicted
from model.serve.limits import RefusedError, UnusableError

MOST_STEPS = 40
"""Changed sentences whose steps are told one by one."""


@dataclass(frozen=True)
class Edited:
    """A prediction with an edited description."""

    predicted: Predicted
    """With the difference from the crystal's own (`what_if`) if anything was edited."""
    text: str
    steps: list[tuple[int, float]]
    """Row of a changed sentence, and by how much the prediction changes in the learned unit when that change is made
    after those above it: together they are the difference. Empty for more than `MOST_STEPS`."""


def own_sentences(answer: Answer) -> list[str]:
    """Those of the crystal's own description."""
    description = answer.made.description
    if description is None:
        return []
    return [description["text"][one["start"]:one["end"]] for one in description["sentences"]]


def text_of(rows: Sequence[str]) -> str:
    """Rows of an editor as one text; blank ones are sentences that were taken out."""
    return " ".join(" ".join(rows).split())


def edited(predictor: Predictor, own: Answer, rows: Sequence[str]) -> Edited:
    """The prediction for a crystal whose sentences became these rows.

    Args:
        predictor: the model.
        own: its answer for the crystal with its own description.
        rows: one for each of `own_sentences`, in their order, then sentences that were added.

    Raises `RefusedError` if there are too few rows, and `UnusableError` if the model cannot predict from what is left.
    """
    sentences = own_sentences(own)
    if not sentences:
        raise RefusedError(422, "this crystal has no description to edit")
    if len(rows) < len(sentences):
        raise RefusedError(422, f"the description has {len(sentences)} sentences: send as many, blank where one is "
                                "left out")
    before = [*sentences, *[""] * (len(rows) - len(sentences))]
    changed = [row for row, (old, new) in enumerate(zip(before, rows, strict=True)) if text_of([old]) != text_of([new])]
    if not changed:
        return Edited(own.predicted, own.made.description["text"], [])  # type: ignore[index]
    text = text_of(rows)
    (answer,) = predictor.answers([own.made], Asked(text=text, contributions=False), quiet=True)
    if answer.predicted.error is not None:
        raise UnusableError(answer.predicted.error)
    if len(changed) > MOST_STEPS:
        return Edited(answer.predicted, text, [])
    values = [own.predicted.learned["value"], *_between(predictor, own, before, rows, changed),
              answer.predicted.learned["value"]]
    return Edited(answer.predicted, text, [(row, after - first) for row, first, after in
                                           zip(changed, values[:-1], values[1:], strict=True)])


def _between(predictor: Predictor, own: Answer, before: Sequence[str], after: Sequence[str],
             changed: Sequence[int]) -> list[float]:
    """Predictions with the first of the changes, the first two, and so on, without that with all."""
    if len(changed) < 2 or own.structure is None:
        return []
    game, now, variants = predictor.game, list(before), []
    for row in changed[:-1]:
        now[row] = after[row]
        made = retold(predictor.recipe, own.made, text_of(now), ())
        variants.append(game.read(made.description).pieces if made.description else [])
    values: list[float] = game.predict(game.atoms(own.structure), variants).tolist()
    return values
