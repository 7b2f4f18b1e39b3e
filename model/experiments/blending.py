"""Mean predictions of networks: those of one arm, or of several arms with equal or learned weights.

A line of n members is the mean over n networks of different seeds, and is looked at for all sets of n seeds. In a
mixture with equal weights each network counts the same. With learned ones (late fusion) the networks of each part are
averaged first, and the weights of the parts are those of the smallest mean absolute error on the validation crystals of
the fold, for each set and fold anew (`model.blend`). The crystals of the test have no say in them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model import blend
from model.experiments.runs import Floats, Ground, Runs

SETS = 200
"""Most sets of seeds that are looked at; of more, these many are drawn."""


@dataclass(frozen=True)
class Part:
    """The networks of an arm, and how many of them a set has."""

    runs: Runs
    count: int


@dataclass(frozen=True)
class Blend:
    """What all sets of so many networks of each part predict."""

    ground: Ground
    parts: Sequence[Part]
    learned: bool = False
    """Whether the parts have learned weights."""

    @property
    def disjoint(self) -> int:
        """How many sets without a common seed there are."""
        return min(len(part.runs.seeds(self.ground.folds)) // part.count for part in self.parts)

    @functools.cached_property
    def choices(self) -> list[NDArray[np.int64]]:
        """`[sets, count]` for each part: the places of a set's seeds among those of the part."""
        numbers = [len(part.runs.seeds(self.ground.folds)) for part in self.parts]
        choices = list(itertools.product(*(itertools.combinations(range(number), part.count)
                                           for number, part in zip(numbers, self.parts, strict=True))))
        if len(choices) > SETS:
            chosen = np.random.default_rng(1).choice(len(choices), SETS, replace=False)
            choices = [choices[place] for place in sorted(chosen)]
        return [np.array(mine, np.int64) for mine in zip(*choices, strict=True)]

    @functools.cached_property
    def weights(self) -> dict[int, Floats]:
        """`[sets, parts]` for each fold."""
        if self.learned:
            return {fold: blend.weights(self._means(self._validated(fold)), self.ground.validation[fold])
                    for fold in self.ground.folds}
        counts = np.array([part.count for part in self.parts], np.float64)
        return dict.fromkeys(self.ground.folds, np.tile(counts / counts.sum(), (len(self.choices[0]), 1)))

    def tested(self) -> Floats:
        """`[sets, crystals]`, predictions out of fold."""
        means = self._means(self._tested)
        result = np.empty((means.shape[0], means.shape[2]))
        for fold, weights in self.weights.items():
            mine = self.ground.fold == fold
            result[:, mine] = np.einsum("sk,skn->sn", weights, means[:, :, mine])
        return result

    def errors(self) -> Floats:
        """`[sets, crystals]`, absolute errors out of fold."""
        return np.abs(self.tested() - self.ground.y)

    def validated(self, fold: int) -> Floats:
        """`[sets, validation crystals]`, predictions for the crystals that validated when `fold` was tested."""
        return np.einsum("sk,skn->sn", self.weights[fold], self._means(self._validated(fold)))

    def spread(self) -> Floats:
        """`[sets, crystals]`, standard deviation over the predictions of a set's networks, out of fold."""
        return self._members(self._tested).std(axis=1)

    def validated_spread(self, fold: int) -> Floats:
        """`[sets, validation crystals]`, the same of the crystals that validated."""
        return self._members(self._validated(fold)).std(axis=1)

    @functools.cached_property
    def _tested(self) -> list[Floats]:
        return [part.runs.tested(self.ground) for part in self.parts]

    def _validated(self, fold: int) -> list[Floats]:
        return [part.runs.validated(self.ground, fold) for part in self.parts]

    def _means(self, predictions: Sequence[Floats]) -> Floats:
        """From `[seeds, crystals]` of each part to `[sets, parts, crystals]`."""
        return np.stack([mine[choice].mean(axis=1) for mine, choice in zip(predictions, self.choices, strict=True)],
                        axis=1)

    def _members(self, predictions: Sequence[Floats]) -> Floats:
        """From `[seeds, crystals]` of each part to `[sets, members, crystals]`."""
        return np.concatenate([mine[choice] for mine, choice in zip(predictions, self.choices, strict=True)], axis=1)
