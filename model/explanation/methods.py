"""All methods for one crystal, as rows of the table `attributions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from features.words.vocabulary import ATOMIC_NUMBERS
from model.explanation import replacement
from model.explanation.facts import Unit
from model.explanation.game import PLAYERS, Floats, Game
from model.explanation.gradients import Integrated
from model.explanation.replacement import Effects
from model.explanation.texts import Reading, VectorReading
from model.input.batch import StructureBatch
from model.nets.fusion import Tokens

SYMBOLS = list(ATOMIC_NUMBERS)
METHODS = ("replacement", "gradients")
"""Those that must be tested. Shapley values need no test."""
FEWEST = 2
"""Donors where time is short."""
ENCODING = 50_000
"""Work that a sentence is for the frozen encoder."""
SAYS = {
    "shapley": "Shapley value: structure and regions, each replaced by those of {crystals} training crystals, in every "
               "order; together they are the prediction minus the mean prediction for these crystals.",
    "replacement": "How much the prediction falls when this becomes what other training crystals have in its place, on "
                   "average, with the spread over them.",
    "gradients": "Integrated gradients of the networks, from the mean word of the same role and the mean atom of "
                 "training crystals{without}.",
}


class Explainer:
    """A model and what is needed to explain its predictions."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.integrated = Integrated(self.game)

    def effects(self, method: str, atoms: Sequence[Tokens], text: Reading, unit: str = "fact",
                most: int = replacement.DONORS, among: Sequence[Reading] | None = None) -> Floats:
        """`[units]`, effects of facts or sentences (`unit`) by one of `METHODS`, in the learned unit.

        `most`: other crystals that a unit is replaced from; `among`: those that facts may come from.
        """
        if method == "gradients":
            made = self.integrated.explain(atoms, text)
            return made.of_units(text, text.parsed.facts) if unit == "fact" else made.of_sentences(text)
        return self._replaced(atoms, text, unit, most, among).effect

    def _replaced(self, atoms: Sequence[Tokens], text: Reading, unit: str, most: int = replacement.DONORS,
                  among: Sequence[Reading] | None = None) -> Effects:
        if unit == "sentence":
            return replacement.of_sentences(self.game, atoms, text, most)
        name = "facts" if unit == "fact" else "mentions"
        return replacement.of_units(self.game, atoms, text, getattr(text.parsed, name), name, most, among)

    def rows(self, material_id: str, crystal: StructureBatch, text: Reading,
             faithful: Mapping[str, bool | None], work: int | None = None) -> list[dict[str, Any]]:
        """Rows of `model.records.ATTRIBUTIONS` for one crystal; `faithful` by method, `work` as of `donors_within`."""
        atoms = self.game.atoms(crystal)
        predicted = float(self.game.predict(atoms, [text.pieces])[0])
        rows: list[dict[str, Any]] = []

        def add(method: str, kind: str, named: Sequence[Mapping[str, Any]], effect: Sequence[float] | Floats,
                reference: float | None = None, spread: Floats | None = None) -> None:
            for index, (what, value) in enumerate(zip(named, effect, strict=True)):
                if not np.isfinite(value):  # a model that needs a text, and one that says nothing else
                    continue
                width = None if spread is None or np.isnan(spread[index]) else float(spread[index])
                rows.append(_NOTHING | {
                    "material_id": material_id, "method": method, "index": index, "effect": float(value),
                    "reference": predicted - float(value) if reference is None else reference, "spread": width,
                    "faithful": faithful.get(method), "kind": kind, **what})

        shares = self.game.contributions(crystal, text)
        structure, *regions = (shares[player] for player in PLAYERS)
        add("shapley", "modality", [{"label": "structure"}, {"label": "text"}], [structure, sum(regions)],
            shares["reference"])
        add("shapley", "region", [{"label": region, "region": region} for region in PLAYERS[1:]], regions,
            shares["reference"])
        named = {"sentence": [{"label": text.text[one.start:one.end], "sentence": number, "region": one.region,
                               "start": one.start, "end": one.end} for number, one in enumerate(text.tagged)],
                 "fact": [_of_unit(text, unit) for unit in text.parsed.facts],
                 "token": [_of_unit(text, unit) for unit in text.parsed.mentions]}
        donors = donors_within(text, work)
        for unit, names in named.items():
            if donors[unit]:
                made = self._replaced(atoms, text, unit, donors[unit])
                add("replacement", unit, names, made.effect, None, made.spread)
        gradients = self.integrated.explain(atoms, text)
        start = gradients.reference
        for unit, values in (("sentence", gradients.of_sentences(text)),
                             ("fact", gradients.of_units(text, text.parsed.facts)),
                             ("token", gradients.of_units(text, text.parsed.mentions))):
            add("gradients", unit, named[unit], values, start)
        of_atoms, values = _orbits(crystal, gradients.atoms)
        add("gradients", "atom", of_atoms, values, start)
        return rows


def donors_within(text: Reading, work: int | None) -> dict[str, int]:
    """How many other crystals facts, sentences and tokens are each replaced from, by these names; 0 leaves them out.

    The time of a replacement grows with the square of the number of sentences, so that one low-symmetry crystal, of
    which each atom has sentences of its own, may take minutes. `work` bounds the replacements times that square; None
    does not. Fewer than `FEWEST` say nothing of a mean or its spread.
    """
    sizes = {"fact": len(text.parsed.facts), "sentence": len(text.pieces), "token": len(text.parsed.mentions)}
    encoded = isinstance(text, VectorReading)
    most = dict.fromkeys(sizes, replacement.DONORS_ENCODED if encoded else replacement.DONORS)
    most["sentence"] = replacement.DONORS
    if work is None:
        return most
    pieces, result = max(1, len(text.pieces)), {}
    left = work // (pieces ** 2 + ENCODING * pieces * encoded)
    for place, (unit, size) in enumerate(sizes.items()):
        wanted = min(most[unit], max(FEWEST, left // (len(sizes) - place) // max(1, size)))
        result[unit] = wanted if wanted * size <= left else 0
        left -= result[unit] * size
    return result


def shortened(text: Reading, work: int | None) -> str:
    """In words, what a bound of work leaves out; empty if nothing."""
    most, donors = donors_within(text, None), donors_within(text, work)
    fewer = [f"effects of {unit}s by replacement are means over {count} other crystals, not {most[unit]}"
             if count else f"replacement of {unit}s is left out"
             for unit, count in donors.items() if count < most[unit]]
    return f"The description is long, so to be quick {' and '.join(fewer)}." if fewer else ""


_NOTHING: dict[str, Any] = dict.fromkeys(("fact", "sentence", "region", "start", "end", "atoms"))


def _of_unit(text: Reading, unit: Unit) -> dict[str, Any]:
    return {"label": text.text[unit.start:unit.end], "fact": unit.kind or None, "sentence": unit.sentence,
            "region": text.tagged[unit.sentence].region, "start": unit.start, "end": unit.end,
            "atoms": list(unit.atoms) or None}


def _orbits(crystal: StructureBatch, values: Floats) -> tuple[list[dict[str, Any]], Floats]:
    """The orbits of one crystal, named, and the sums over their atoms."""
    orbit, numbers = crystal.orbit.numpy(), crystal.numbers.numpy()
    members = [np.flatnonzero(orbit == one) for one in range(int(orbit.max()) + 1)]
    return ([{"label": SYMBOLS[int(numbers[mine[0]]) - 1], "atoms": mine.tolist()} for mine in members],
            np.array([values[mine].sum() for mine in members]))
