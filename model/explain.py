"""Stage `explain`: what predictions rest on, whether the methods that say so may be believed, and what carries the
property."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from features import catalog
from features.params import load_section
from features.paths import Paths
from features.progress import Progress, conclude
from features.store import documents, placement, tables
from features.text_encoder.weights import one_thread
from model import cards, checkpoint
from model.checkpoint import Trained
from model.explanation import synthetic, verdicts
from model.explanation.aggregates import aggregate
from model.explanation.methods import METHODS, Explainer
from model.explanation.verdicts import Verdicts
from model.forward import load_splits
from model.identity import require_same
from model.input.loader import Dataset, read_crystals
from model.input.targets import untransform
from model.nets import encoders
from model.params import ExplainParams
from model.prediction.asked import Asked
from model.prediction.predictor import Predictor
from model.prediction.recipe import Made
from model.publish import publish
from model.records import ATTENTION, ATTRIBUTIONS, FACT_EFFECTS, FAITHFULNESS, Card, Method
from model.report import pages
from model.training.fit import deterministic

PAGE = "explanations.html"
LONGEST = 100
"""Sentences of a description: the time that an explanation takes grows with their square."""
DONORS = 8
"""Replacements of each fact where effects are averaged over many crystals: of as many crystals of the background, drawn
anew for each crystal, so that the interval of a mean holds the chance of the draw."""


@one_thread()  # many small products: threads would wait for each other, and wherever others work, for those
def explain_stage(root: Path) -> None:
    """Explain test crystals; writes the tables `attributions`, `attention`, `faithfulness` and `fact_effects`, and
    `data/results/explanations.html`."""
    params = load_section(root, "explain", ExplainParams)
    trained = checkpoint.load(root)
    if not trained.params.with_text:
        _write(root, trained, [], Verdicts([]), [], [])
        conclude("explain: the model was trained without text, so there is nothing to explain")
        return
    require_same(trained.identity, root, trained.params)
    splits = load_splits(root, trained.params)
    test = splits["test"]
    place = placement.positions(test.ids)
    told = sorted(np.flatnonzero(test.n_texts), key=lambda index: int(place[index]))
    ids = _short(root, [test.ids[index] for index in told])[:max(params.crystals, params.tested, params.aggregated)]
    if not ids:
        _write(root, trained, [], Verdicts([]), [], [])
        conclude(f"explain: no test crystal has a text of at most {LONGEST} sentences, so there is nothing to explain")
        return
    predictor = Predictor.of(trained, makes_features=False)
    explainer = Explainer(predictor.game)
    found = _tested(root, explainer, splits, ids[:params.tested])
    known = {method: found.faithful(method) for method in METHODS}
    made = _cards(root, predictor, explainer, ids[:params.crystals], known,
                  dict(zip(test.ids, untransform(test.targets, trained.params.transform).tolist(), strict=True)))
    effects = _aggregated(root, explainer, ids[:params.aggregated], known)
    _write(root, trained, made, found, cards.methods(explainer, found), effects)
    believed = [method for method in METHODS if known[method]]
    conclude(f"explain: {len(made)} test crystals; methods that passed their tests: {', '.join(believed) or 'none'}")


def _short(root: Path, ids: Sequence[str]) -> list[str]:
    """Those of the crystals whose descriptions are not longer than `LONGEST`."""
    names, sentences = tables.read(root, "descriptions", ["material_id", "sentences"], ids).columns
    counts = dict(zip(names.to_pylist(), pc.list_value_length(sentences).to_pylist(), strict=True))
    return [one for one in ids if counts[one] <= LONGEST]


def _tested(root: Path, explainer: Explainer, splits: dict[str, Dataset], ids: Sequence[str]) -> Verdicts:
    """The methods put to their tests on these test crystals."""
    trained = explainer.game.trained
    rows = _rows(root, "descriptions", ids)
    structures = read_crystals(root, ids, encoders.reads(trained.params))
    crystals = [(explainer.game.atoms(structures.batch([number])), explainer.game.read(rows[one]))
                for number, one in enumerate(ids)]
    deterministic()
    enough = len(ids) >= verdicts.FEWEST and trained.params.text == "words"
    made = synthetic.make(root, trained, splits, ids) if enough else None
    with Progress("explain: tests", len(ids), "crystals") as progress:
        return verdicts.judge(explainer, crystals, made, lambda: progress.advance(1))


def _cards(root: Path, predictor: Predictor, explainer: Explainer, ids: Sequence[str],
           faithful: dict[str, bool | None], targets: dict[str, float]) -> list[Card]:
    result = []
    with Progress("explain", len(ids), "crystals") as progress:
        for answer in predictor.answers(_from_tables(root, predictor, ids), Asked(), quiet=True):
            result.append(cards.card(explainer, answer, faithful, targets[answer.made.name]))
            progress.advance(1)
    return result


def _from_tables(root: Path, predictor: Predictor, ids: Sequence[str]) -> Iterator[Made]:
    """The features of these crystals as `predict` makes them, from the tables."""
    text = "text_tokens" if predictor.recipe.text_stage == "tokenize" else "text_embeddings"
    materials, descriptions = (_rows(root, name, ids) for name in ("materials", "descriptions"))
    words = {row["material_id"]: row for row in tables.read(root, text, None, ids).to_pylist() if row["variant"] == 0}
    structures = tables.read(root, "structures", None, ids)
    place = {one: row for row, one in enumerate(structures["material_id"].to_pylist())}
    for one in ids:
        yield Made(one, material=materials[one], structure=structures.slice(place[one], 1),
                   description=descriptions[one], words=words[one])


def _aggregated(root: Path, explainer: Explainer, ids: Sequence[str],
                faithful: dict[str, bool | None]) -> list[dict[str, Any]]:
    """Rows of `fact_effects`."""
    rows = _rows(root, "descriptions", ids)
    structures = read_crystals(root, ids, encoders.reads(explainer.game.trained.params))
    made: dict[str, list[Any]] = {method: [] for method in METHODS}
    others, rng = explainer.game.others, np.random.default_rng(0)
    with Progress("explain: effects of facts", len(ids), "crystals") as progress:
        for number, one in enumerate(ids):
            atoms, text = explainer.game.atoms(structures.batch([number])), explainer.game.read(rows[one])
            among = [others[place] for place in rng.permutation(len(others))]
            for method, into in made.items():
                effects = explainer.effects(method, atoms, text, most=DONORS, among=among)
                into.append((text.text, text.parsed.facts, effects))
            progress.advance(1)
    return [row for method, into in made.items() for row in aggregate(method, faithful[method], into)]


def _rows(root: Path, name: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows of a table with one for each crystal, by id."""
    return {row["material_id"]: row for row in tables.read(root, name, None, ids).to_pylist()}


def _write(root: Path, trained: Trained, made: list[Card], found: Verdicts, methods: list[Method],
           effects: list[dict[str, Any]]) -> None:
    rows = {"attributions": (ATTRIBUTIONS, ("material_id", "method", "kind", "index"), [
                row for card in made for row in card.effects]),
            "attention": (ATTENTION, ("material_id", "network", "layer", "head", "sentence"), [
                row for card in made for row in card.attention]),
            "faithfulness": (FAITHFULNESS, ("method", "test"), found.rows),
            "fact_effects": (FACT_EFFECTS, ("method", "fact", "label"), effects)}
    for name, (schema, key, content) in rows.items():
        publish(root, name, schema, key, content)
    folder = Paths(root).results
    folder.mkdir(parents=True, exist_ok=True)
    documents.write(folder / cards.METHODS_FILE, cards.document(trained.config.weights_sha256, methods))
    pages.write_cards(folder / PAGE, trained.params.target, trained.config.unit, trained.learned_unit, made, methods,
                      effects)
    catalog.refresh(root)
