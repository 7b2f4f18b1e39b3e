"""Effects by replacement: how much the prediction falls when a fact becomes that of another crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.explanation.facts import Unit
from model.explanation.game import Floats, Game
from model.explanation.texts import Change, Piece, Reading, VectorReading
from model.nets.fusion import Tokens

DONORS = 16
"""Crystals of the background whose facts stand in a fact's place, at most: one fact of each."""
DONORS_ENCODED = 2
"""The same where each text must go through the frozen encoder again."""
NOBODY: list[tuple[Reading, Unit] | None] = [None]


@dataclass(frozen=True)
class Effects:
    """Of the units of one text."""

    effect: Floats
    """`[units]`: the prediction minus its mean over the donors, in the learned unit."""
    spread: Floats
    """`[units]`, standard deviation over the donors; NaN where no other crystal has a thing of the kind and the place
    was left empty."""


def of_units(game: Game, atoms: Sequence[Tokens], text: Reading, units: Sequence[Unit],
             name: str = "facts", most: int = DONORS, among: Sequence[Reading] | None = None) -> Effects:
    """Effects of facts or mentions (`name`, an attribute of `Parsed`), each replaced by those of the same kind.

    `most`: donors at most; `among`: the texts that they are of, the explaining half of the background by default.
    """
    most = min(most, DONORS_ENCODED) if isinstance(text, VectorReading) else most
    others = game.explaining if among is None else among
    donors = [donors_of(unit, number, others, name)[:most] for number, unit in enumerate(units)]
    changes = [[Change(unit, donor)] for unit, mine in zip(units, donors, strict=True)
               for donor in ([*mine] or NOBODY)]
    return _effects(game, atoms, text, text.variants(changes), donors)


def of_sentences(game: Game, atoms: Sequence[Tokens], text: Reading, most: int = DONORS) -> Effects:
    """Effects of sentences, each replaced by one of the same region of other crystals; `most`: donors at most."""
    donors, variants = [], []
    for number, piece in enumerate(text.pieces):
        mine = [same[number % len(same)] for other in game.explaining
                if (same := other.of_region(piece.region))][:most]
        donors.append(mine)
        variants += [[*text.pieces[:number], donor, *text.pieces[number + 1:]] for donor in mine] \
            or [[*text.pieces[:number], *text.pieces[number + 1:]]]
    return _effects(game, atoms, text, variants, donors)


def donors_of(unit: Unit, number: int, others: Sequence[Reading], name: str = "facts") -> list[tuple[Reading, Unit]]:
    """A unit of the same kind of each text that has one; `number` says which, so that several are not all the first."""
    result = []
    for other in others:
        same = [one for one in getattr(other.parsed, name) if one.kind == unit.kind]
        if same:
            result.append((other, same[number % len(same)]))
    return result


def _effects(game: Game, atoms: Sequence[Tokens], text: Reading, variants: Sequence[Sequence[Piece]],
             donors: Sequence[Sequence[object]]) -> Effects:
    predicted = game.predict(atoms, [text.pieces, *variants])
    full, rest = predicted[0], predicted[1:]
    edges = np.cumsum([max(1, len(mine)) for mine in donors])[:-1]
    parts = np.split(rest, edges) if donors else []
    return Effects(np.array([full - part.mean() for part in parts]),
                   np.array([part.std() if mine else np.nan for part, mine in zip(parts, donors, strict=True)]))
