"""All about one prediction, for a page: the prediction, the crystal to draw, its facts and their effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from features.progress import say
from features.store import documents
from features.store.sums import Damaged
from model.checkpoint import Trained
from model.explanation import attention
from model.explanation.methods import METHODS, SAYS, Explainer
from model.explanation.verdicts import Verdicts
from model.prediction.predictor import Answer
from model.records import Card, Fact, Method
from model.report.shapes import shape_of
from model.threads import one_thread

METHODS_FILE = "methods.json"
UNTESTED = "not tested for this model: `python -m model explain` tests it"


@one_thread()
def card(explainer: Explainer, answer: Answer, faithful: Mapping[str, bool | None], true: float | None = None,
         work: int | None = None) -> Card:
    """The card of one answer that has a prediction.

    Args:
        explainer: of the model that answered.
        answer: what is said of the crystal.
        faithful: by method, whether it passed its tests.
        true: value of the property in its own unit, if anybody knows it.
        work: how long it may take, as of `model.explanation.methods.donors_within`; None: as long as it takes.
    """
    bare = outline(explainer, answer, true)
    made, structure = answer.made, answer.structure
    if made.description is None or structure is None:
        return bare
    text = explainer.game.read(made.description)
    return replace(bare, effects=explainer.rows(made.name, structure, text, faithful, work),
                   attention=attention.rows(explainer.game, made.name, explainer.game.atoms(structure), text))


def outline(explainer: Explainer | None, answer: Answer, true: float | None = None) -> Card:
    """The same without effects, which take the longest; `explainer` may be missing for a model without text."""
    made = answer.made
    if answer.structure is None or made.structure is None:
        raise ValueError(f"{made.name} has no prediction to explain")
    description = made.description
    file, mark, block = made.name.partition("#")  # a page may be sent on, and says nothing of its maker's folders
    predicted = replace(answer.predicted, name=Path(file).name + mark + block)
    shape = shape_of(made.structure.to_pylist()[0], description["sites"] if description else None)
    if description is None or explainer is None:
        return Card(predicted, true, shape, [], [], [])
    text = explainer.game.read(description)
    return Card(
        predicted, true, shape,
        sentences=[(one.start, one.end, one.region) for one in text.tagged],
        facts=[Fact(one.start, one.end, one.kind, one.sentence, one.atoms) for one in text.parsed.facts],
        effects=[])


def methods(explainer: Explainer, verdicts: Verdicts | None) -> list[Method]:
    """All methods with what they say, and the outcome of their tests; without `verdicts` nobody knows it."""
    trees = explainer.game.trained.net.kinds.count("trees")
    words = {"crystals": len(explainer.game.background),
             "without": ", without the share of the boosted trees, which have no gradient" if trees else ""}
    shapley = Method("shapley", SAYS["shapley"].format(**words), None, "adds up by construction")
    return [shapley, *(verdicts.of_method(name, SAYS[name].format(**words)) if verdicts
                       else Method(name, SAYS[name].format(**words), None, UNTESTED) for name in METHODS)]


def document(weights_sha256: str, found: Sequence[Method]) -> dict[str, Any]:
    """The methods as predictions read them, with the digest of the model that they were tested on."""
    return {"weights_sha256": weights_sha256, "methods": [asdict(one) for one in found]}


def methods_beside(trained: Trained) -> Path:
    """Where the outcome of a model's tests lies: in `results`, beside the folder of the model."""
    return trained.folder.parent / "results" / METHODS_FILE


def stored_methods(explainer: Explainer, path: Path) -> list[Method]:
    """Those of that file if it is of this model, else the methods as nobody has tested them. A damaged one is said."""
    try:
        content = documents.read(path)
        if content is not None and content.get("weights_sha256") == explainer.game.trained.config.weights_sha256:
            return [Method(**one) for one in content["methods"]]
    except Damaged as damage:
        say(f"{damage}; until then no method of explanation counts as tested")
    except (LookupError, TypeError):  # of another version
        return methods(explainer, None)
    return methods(explainer, None)
