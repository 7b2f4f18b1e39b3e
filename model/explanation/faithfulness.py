"""Whether an explanation says what the model does: deletion, insertion, and weights that were shuffled.

*Deletion*: facts are replaced by those of other crystals, the one with the largest effect first, and the prediction
should fall as fast as it can. AOPC is the mean fall over the steps (Samek et al., IEEE TNNLS 2017). How far it can fall
differs from crystal to crystal, so it is counted between the least and the most that any order reaches, which a greedy
search finds (normalised AOPC, Edin et al., 2024): 0 the worst order, 1 the best. *Insertion* begins with all facts
replaced and puts those of the crystal back. A random order is the control: what counts is the difference from it. What
stands in a fact's place comes from the half of the background that no effect was measured with.

*Shuffled weights*: the entries of each matrix of the networks change places, and so do features and leaves of the
trees. What the explanation of such a model has in common with that of the trained one owes nothing to what was learned
(Adebayo et al., NeurIPS 2018).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats

from model.checkpoint import Trained
from model.explanation.facts import Unit
from model.explanation.game import Floats, Game
from model.explanation.replacement import donors_of
from model.explanation.texts import Change, Piece, Reading, VectorReading
from model.input.batch import Ints
from model.nets.fusion import Tokens
from model.nets.trees import TextTrees

STEPS = 8
"""Points of a curve at most."""
RANDOM_ORDERS = 10
DONORS = 4
"""Of other crystals, in each step of a curve."""
RESAMPLES = 2000
COLLAPSED = 0.5
"""The upper end of the interval of the rank correlation with shuffled weights lies below this."""


@dataclass(frozen=True)
class Measured:
    """A mean over crystals with its interval of 95 %, by bootstrap."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats | Sequence[float]) -> Measured:
        """Of `[crystals]`, NaN left out; all NaN where nothing is left."""
        there = np.asarray(values, np.float64)
        there = there[np.isfinite(there)]
        if not len(there):
            return cls(np.nan, np.nan, np.nan)
        rng = np.random.default_rng(0)
        means = there[rng.integers(0, len(there), (RESAMPLES, len(there)))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        return cls(float(there.mean()), float(low), float(high))


class Removable(ABC):
    """A text, of which some units can be replaced by those of the background that tests."""

    def __init__(self, game: Game, text: Reading) -> None:
        self.game, self.text = game, text

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of units."""

    @abstractmethod
    def replaced(self, gone: Sequence[Collection[int]], donor: int) -> list[list[Piece]]:
        """The text without each of these sets of units, by the donor of that number."""


class Facts(Removable):
    """By facts."""

    def __init__(self, game: Game, text: Reading) -> None:
        super().__init__(game, text)
        self.donors = [donors_of(unit, number, game.testing) for number, unit in enumerate(text.parsed.facts)]

    @property
    def count(self) -> int:
        return len(self.text.parsed.facts)

    def replaced(self, gone: Sequence[Collection[int]], donor: int) -> list[list[Piece]]:
        facts = self.text.parsed.facts
        return self.text.variants([[Change(facts[one], self._donor(one, donor)) for one in sorted(some)]
                                   for some in gone])

    def _donor(self, unit: int, number: int) -> tuple[Reading, Unit] | None:
        mine = self.donors[unit]
        return mine[number % len(mine)] if mine else None


class Sentences(Removable):
    """By sentences."""

    @property
    def count(self) -> int:
        return len(self.text.pieces)

    def replaced(self, gone: Sequence[Collection[int]], donor: int) -> list[list[Piece]]:
        others = [[same[number % len(same)] for other in self.game.testing if (same := other.of_region(piece.region))]
                  for number, piece in enumerate(self.text.pieces)]
        return [[piece if number not in some else mine[donor % len(mine)]
                 for number, (piece, mine) in enumerate(zip(self.text.pieces, others, strict=True))
                 if number not in some or mine] for some in gone]


def removable(game: Game, text: Reading) -> Removable:
    """By facts where these can be exchanged quickly; by sentences where each change goes through the encoder."""
    return Sentences(game, text) if isinstance(text, VectorReading) else Facts(game, text)


class Curves:
    """Deletion and insertion of one crystal."""

    def __init__(self, game: Game, atoms: Sequence[Tokens], units: Removable) -> None:
        self.game, self.atoms, self.units = game, atoms, units
        self.sizes = np.unique(np.ceil(np.linspace(0, 1, STEPS + 1) * units.count).astype(int))[1:]
        self._known: dict[tuple[int, frozenset[int]], float] = {}

    def scores(self, orders: Sequence[Ints]) -> tuple[Floats, Floats]:
        """`[orders]` each: normalised AOPC of deletion and of insertion; NaN where nothing changes the prediction."""
        found = [*orders, *(self._search(sign, inserting) for sign in (1, -1) for inserting in (False, True))]
        result = []
        for inserting in (False, True):
            areas = self._areas(found, inserting)
            low, high = areas.min(), areas.max()
            result.append((areas[:len(orders)] - low) / (high - low) if high > low else np.full(len(orders), np.nan))
        return result[0], result[1]

    def _areas(self, orders: Sequence[Ints], inserting: bool) -> Floats:
        """`[orders]`, mean change over the steps, in the learned unit."""
        everything = frozenset(range(self.units.count))
        sets = [frozenset(order[size:] if inserting else order[:size]) for order in (o.tolist() for o in orders)
                for size in self.sizes]
        values = self._values([*sets, everything if inserting else frozenset()], DONORS)
        steps = values[:-1].reshape(len(orders), len(self.sizes)).mean(axis=1)
        return steps - values[-1] if inserting else values[-1] - steps

    def _values(self, gone: Sequence[frozenset[int]], donors: int) -> Floats:
        """`[sets]`, mean prediction over the donors without each set of units."""
        new = [(donor, one) for donor in range(donors) for one in dict.fromkeys(gone)
               if (donor, one) not in self._known]
        variants: list[list[Piece]] = []
        for donor in range(donors):
            variants += self.units.replaced([one for of, one in new if of == donor], donor)
        self._known.update(zip(new, self.game.predict(self.atoms, variants).tolist(), strict=True))
        return np.array([np.mean([self._known[donor, one] for donor in range(donors)]) for one in gone])

    def _search(self, sign: int, inserting: bool) -> Ints:
        """An order that is greedily the best (`sign` 1) or the worst (−1), a step at a time."""
        order: list[int] = []
        left = set(range(self.units.count))
        for size in self.sizes:
            tried = sorted(left)
            sets = [frozenset(left - {one}) if inserting else frozenset([*order, one]) for one in tried]
            values = self._values(sets, 1) * (1 if inserting else -1)
            best = [tried[place] for place in np.argsort(-sign * values, kind="stable")[:size - len(order)]]
            order += best
            left -= set(best)
        return np.array(order)


def against_random(curves: Curves, effects: Mapping[str, Floats],
                   rng: np.random.Generator) -> dict[str, tuple[float, float, float, float]]:
    """By method: normalised AOPC of deletion and of insertion, and both of a random order, of one crystal."""
    names = list(effects)
    orders = [np.argsort(-effects[name], kind="stable") for name in names]
    orders += [rng.permutation(curves.units.count) for _ in range(RANDOM_ORDERS)]
    deletion, insertion = curves.scores(orders)
    chance = deletion[len(names):].mean(), insertion[len(names):].mean()
    return {name: (float(deletion[row]), float(insertion[row]), float(chance[0]), float(chance[1]))
            for row, name in enumerate(names)}


def shuffled(trained: Trained, seed: int) -> Trained:
    """The model with the entries of each parameter in another order: nothing of what was learned is left."""
    generator = torch.Generator().manual_seed(seed)
    net = copy.deepcopy(trained.net)

    def permuted(values: torch.Tensor) -> torch.Tensor:
        flat = values.reshape(-1)
        return flat[torch.randperm(len(flat), generator=generator).to(flat.device)].reshape(values.shape)

    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(permuted(parameter))
        for one in net.networks():
            if isinstance(one, TextTrees):
                inner = one.left != torch.arange(one.left.shape[1], device=one.left.device)
                for buffer, where in ((one.feature, inner), (one.value, ~inner)):
                    buffer[where] = permuted(buffer[where])
    return replace(trained, net=net)


def in_common(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation of two explanations; NaN where one says the same of all units, or of fewer than 3."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(stats.spearmanr(one, other).statistic)
