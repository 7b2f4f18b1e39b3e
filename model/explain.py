"""Stage `explain`: what predictions rest on, whether the methods that say so may be believed, and what carries the
property."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from features import catalog
from features.errors import UserError
from features.params import load_section
from features.paths import Paths
from features.processes import available_cores, ready
from features.progress import Progress, conclude
from features.store import documents, placement, tables
from model import cards, checkpoint
from model.checkpoint import Trained
from model.explanation import synthetic, verdicts
from model.explanation.aggregates import aggregate
from model.explanation.methods import METHODS, Explainer
from model.explanation.synthetic import Recovered
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
from model.threads import one_thread
from model.training.fit import deterministic

PAGE = "explanations.html"
LONGEST = 100
"""Sentences of a description: the time that an explanation takes grows with their square."""
DONORS = 8
"""Replacements of each fact where effects are averaged over many crystals: of as many crystals of the background, drawn
anew for each crystal, so that the interval of a mean holds the chance of the draw."""


def explain_stage(root: Path) -> None:
    """Explain test crystals; writes the tables `attributions`, `attention`, `faithfulness` and `fact_effects`, and
    `data/results/explanations.html`."""
    beside = min(torch.get_num_threads(), available_cores()) > 1
    with one_thread():
        _explain(root, beside)


def _explain(root: Path, beside: bool) -> None:
    """`beside`: whether the model of the made property is made in another process meanwhile."""
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
    with _made_property(root, trained, splits, ids[:params.tested], beside) as recovered:
        effects = _effects(root, explainer, ids[:params.aggregated])
        found = _tested(root, explainer, ids[:params.tested], recovered)
    known = {method: found.faithful(method) for method in METHODS}
    made = _cards(root, predictor, explainer, ids[:params.crystals], known,
                  dict(zip(test.ids, untransform(test.targets, trained.params.transform).tolist(), strict=True)))
    _write(root, trained, made, found, cards.methods(explainer, found), [
        row for method, into in effects.items() for row in aggregate(method, known[method], into)])
    believed = [method for method in METHODS if known[method]]
    conclude(f"explain: {len(made)} test crystals; methods that passed their tests: {', '.join(believed) or 'none'}")


def _short(root: Path, ids: Sequence[str]) -> list[str]:
    """Those of the crystals whose descriptions are not longer than `LONGEST`."""
    names, sentences = tables.read(root, "descriptions", ["material_id", "sentences"], ids).columns
    counts = dict(zip(names.to_pylist(), pc.list_value_length(sentences).to_pylist(), strict=True))
    return [one for one in ids if counts[one] <= LONGEST]


@contextlib.contextmanager
def _made_property(root: Path, trained: Trained, splits: dict[str, Dataset], ids: Sequence[str],
                   beside: bool) -> Iterator[Callable[[], Recovered | None]]:
    """What the methods make of a property whose explaining fact is known: to be asked for last, since on a CPU another
    process makes it meanwhile. None where there are too few crystals, or no network that reads words."""
    if len(ids) < verdicts.FEWEST or trained.params.text != "words":
        yield lambda: None
    elif not beside or trained.device.type != "cpu":
        yield lambda: _recovered(root, trained, splits, ids)
    else:
        from pebble import ProcessExpired, ProcessPool

        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPool(max_workers=1, context=spawn, initializer=ready, initargs=[()])
        try:
            yield pool.schedule(_recovered_alone, args=[root, list(ids)]).result
        except ProcessExpired:
            raise UserError("a process of `explain` was killed, by the system for want of memory perhaps; run again "
                            "with OMP_NUM_THREADS=1, which needs no second one") from None
        finally:
            pool.stop()  # at once, whatever it does: nobody asks for it any more
            pool.join()


def _recovered_alone(root: Path, ids: Sequence[str]) -> Recovered:
    trained = checkpoint.load(root)
    with one_thread():
        return _recovered(root, trained, load_splits(root, trained.params), ids)


def _recovered(root: Path, trained: Trained, splits: dict[str, Dataset], ids: Sequence[str]) -> Recovered:
    deterministic()
    return synthetic.recovered(synthetic.make(root, trained, splits, ids))


def _tested(root: Path, explainer: Explainer, ids: Sequence[str],
            recovered: Callable[[], Recovered | None]) -> Verdicts:
    """The methods put to their tests on these test crystals."""
    rows = _rows(root, "descriptions", ids)
    structures = read_crystals(root, ids, encoders.reads(explainer.game.trained.params))
    crystals = [(explainer.game.atoms(structures.batch([number])), explainer.game.read(rows[one]))
                for number, one in enumerate(ids)]
    with Progress("explain: tests", len(ids), "crystals") as progress:
        return verdicts.judge(explainer, crystals, recovered, lambda: progress.advance(1))


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


def _effects(root: Path, explainer: Explainer, ids: Sequence[str]) -> dict[str, list[Any]]:
    """For each method what `aggregate` takes of each crystal: its text, its facts and their effects."""
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
    return made


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
