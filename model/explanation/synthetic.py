"""A property whose explaining fact is known, because it was made from that fact and from nothing else.

Each crystal gets the space group of another one, drawn at random, in its description, and its value is the number of
mirror planes in that symbol. So no other fact says anything of the value, whatever goes together in real crystals. A
model with the same kinds of text readers learns it, and a method that explains must put the space group first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from features import sentences
from features.store import tables
from model.background import TEXT, Background
from model.checkpoint import Trained
from model.explanation.facts import Unit
from model.explanation.game import Floats, Game
from model.explanation.methods import METHODS, Explainer
from model.explanation.texts import Change, Reading, joined, rewritten
from model.input.loader import Dataset
from model.nets.ensemble import Ensemble
from model.nets.fusion import Tokens
from model.params import Members
from model.training.fit import fit
from model.training.trees import Facts, grow

KIND = "space group"
MIRROR = "m"
EPOCHS = 15
"""Of the network: enough to learn what one word says."""
Read = Callable[[Mapping[str, Any]], Reading]


@dataclass(frozen=True)
class Synthetic:
    """A model of the made property, and crystals that it was not trained on."""

    game: Game
    texts: list[Reading]
    """Their descriptions, with the space groups that they were given."""

    @property
    def atoms(self) -> list[Tokens]:
        """A structure to predict with: the model looks at none."""
        return [Tokens(one.values[:1], one.mask[:1]) for one in self.game.others_atoms]

    def learned(self) -> float:
        """Mean absolute error for `texts` by that of their mean: below 1 it has learned something."""
        values = np.array([_value(text) for text in self.texts])
        predicted = self.game.predict(self.atoms, [text.pieces for text in self.texts])
        return float(np.abs(predicted - values).mean() / np.abs(values.mean() - values).mean())

    def found(self, effects: Sequence[Floats]) -> Floats:
        """`[texts]`, 1 where the fact with the largest effect, of either sign, is the space group, else 0.

        `effects`: of the facts of each of `texts`.
        """
        return np.array([float(text.parsed.facts[int(np.abs(mine).argmax())].kind == KIND)
                         for text, mine in zip(self.texts, effects, strict=True)])

    def chance(self) -> float:
        """What share would be found by chance."""
        return float(np.mean([1 / len(text.parsed.facts) for text in self.texts]))


@dataclass(frozen=True)
class Recovered:
    """What each method makes of the made property."""

    error: float
    """`Synthetic.learned`."""
    chance: float
    """`Synthetic.chance`."""
    found: Mapping[str, Floats]
    """`Synthetic.found` of each method; none where the model has learned nothing."""


def recovered(made: Synthetic) -> Recovered:
    """Put all methods to it."""
    explainer, error = Explainer(made.game), made.learned()
    return Recovered(error, made.chance(), {} if error >= 1 else {
        method: made.found([explainer.effects(method, made.atoms, text) for text in made.texts])
        for method in METHODS})


def make(root: Path, trained: Trained, splits: Mapping[str, Dataset], test: Sequence[str]) -> Synthetic:
    """Draw the space groups and train the model.

    Args:
        root: the project, for the descriptions.
        trained: the real model, whose readers of the text the made ones resemble.
        splits: its data sets.
        test: ids of test crystals with a text.
    """
    background = Background.of(trained)
    read, rng = Game(trained, background).read, np.random.default_rng(0)
    made = {}
    for name in ("train", "validation"):
        split = splits[name]
        texts = _given(root, read, [split.ids[row] for row in np.flatnonzero(split.n_texts)], rng)
        shown = split.showing(texts=joined([texts[one].pieces if one in texts else [] for one in split.ids],
                                           trained.config.text_dim))
        made[name] = _with_values(shown, [_value(texts[one]) if one in texts else np.nan for one in split.ids])
    params = trained.params.model_copy(update={
        "members": Members(fused=0, structure=0, text=1, trees=min(1, trained.params.members.trees)),
        "also": {}, "transform": "none", "epochs": EPOCHS, "patience": EPOCHS})
    fitted = [fit(one, made, trained.device, quiet=True) for _, one in params.networks()]
    fitted += [grow(params.trees, Facts.of(made), params.seed) for _ in range(params.members.trees)]
    net = Ensemble(params, trained.config.text_dim)
    for number, one in enumerate(fitted):
        net.nets[number] = one.net
    config = replace(trained.config, target_mean=fitted[0].mean, target_std=fitted[0].std)
    model = replace(trained, net=net.to(trained.device).eval(), config=config, params=params)
    return Synthetic(Game(model, background), list(_given(root, read, test, rng).values()))


def _given(root: Path, read: Read, ids: Sequence[str], rng: np.random.Generator) -> dict[str, Reading]:
    """The descriptions of these crystals with space groups of each other; without those that name none."""
    rows = {row["material_id"]: row
            for row in tables.read(root, "descriptions", ["material_id", *TEXT], ids).to_pylist()}
    own: dict[str, tuple[Reading, Unit]] = {}
    for one in ids:
        text = read(rows[one])
        unit = next((unit for unit in text.parsed.facts if unit.kind == KIND), None)
        if unit is not None:
            own[one] = text, unit
    order = rng.permutation(len(own))
    result = {}
    for (one, (text, unit)), other in zip(own.items(), order, strict=True):
        words, tagged = rewritten(text, [Change(unit, list(own.values())[other])])
        result[one] = read(rows[one] | {"text": words, "sentences": sentences.to_rows(tagged)})
    return result


def _value(text: Reading) -> float:
    unit = next(unit for unit in text.parsed.facts if unit.kind == KIND)
    return float(text.text[unit.start:unit.end].count(MIRROR))


def _with_values(split: Dataset, values: Sequence[float]) -> Dataset:
    other = copy.copy(split)
    other.labels = np.array(values)[:, None]
    other.targets = np.ascontiguousarray(other.labels[:, 0])
    return other
