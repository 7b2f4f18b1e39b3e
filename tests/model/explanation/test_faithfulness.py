"""Curves of models whose best order is known; intervals; weights that are shuffled."""

import copy
from collections.abc import Collection, Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch

from model.explanation import faithfulness
from model.explanation.faithfulness import (
    DONORS,
    Curves,
    Facts,
    Measured,
    Removable,
    Sentences,
    against_random,
    in_common,
    removable,
    shuffled,
)
from model.explanation.texts import Change, Piece, VectorReading, WordPiece
from model.nets.trees import TextTrees
from tests.model.explanation.models import MODELS, READ, crystal, game, made, whole


class Sum:
    """A game whose prediction is the sum of what the units say that are there."""

    def __init__(self, worth: Sequence[float], power: float = 1.0) -> None:
        self.worth, self.power, self.asked = np.array(worth), power, 0

    def predict(self, _atoms: Any, variants: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
        self.asked += len(variants)
        sums = np.array([self.worth[list(one)].sum() for one in variants])
        return np.sign(sums) * np.abs(sums) ** self.power


class Units(Removable):
    """Units that are numbers: a variant is those that are left."""

    def __init__(self, game: Sum) -> None:
        self.game = cast(Any, game)

    @property
    def count(self) -> int:
        return len(self.game.worth)  # type: ignore[attr-defined]

    def replaced(self, gone: Sequence[Collection[int]], donor: int) -> list[list[Piece]]:
        assert donor < DONORS
        return [[one for one in range(self.count) if one not in some] for some in gone]  # type: ignore[misc]


def curves(worth: Sequence[float], power: float = 1.0) -> Curves:
    mine = Sum(worth, power)
    return Curves(cast(Any, mine), [], Units(mine))


WORTH = [[0.1, 2.0, -1.0, 0.5, 0.0, 3.0, -0.2], [5.0, 4.0, 3.0, 2.0, 1.0], [1.0, -1.0],
         list(np.random.default_rng(1).normal(size=24))]


@pytest.mark.parametrize("worth", WORTH)
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_true_order_is_the_best(worth: list[float], power: float) -> None:
    """1 for the order of the true effects, 0 for the reverse, about a half for random ones."""
    true = np.argsort(-np.array(worth), kind="stable")
    rng = np.random.default_rng(0)
    orders = [true, true[::-1], *(rng.permutation(len(worth)) for _ in range(400))]
    deletion, insertion = curves(worth, power).scores(orders)
    for values in (deletion, insertion):
        assert values[:2] == pytest.approx([1.0, 0.0], abs=1e-9)
        assert values.min() >= -1e-9
        assert values.max() <= 1 + 1e-9
        if power == 1.0:
            assert 0.45 < values[2:].mean() < 0.55
    for order, score in ((true, 1.0), (true[::-1], 0.0)):  # against those that the search finds
        assert np.concatenate(curves(worth, power).scores([order])) == pytest.approx([score] * 2, abs=1e-9)


def test_the_area_is_the_mean_fall_over_the_steps() -> None:
    """Of four units, by hand: 6 falls to 3, 1, 0 and 0, and rises from 0 to 3, 5, 6 and 6."""
    mine = curves([3.0, 2.0, 1.0, 0.0])
    assert mine.sizes.tolist() == [1, 2, 3, 4]
    order = np.array([0, 1, 2, 3])
    assert mine._areas([order], False) == pytest.approx([(3 + 5 + 6 + 6) / 4])
    assert mine._areas([order], True) == pytest.approx([(3 + 5 + 6 + 6) / 4])
    # with units 1 and 2 in each other's place: 6 falls to 3, 2, 0 and 0
    assert mine._areas([np.array([0, 2, 1, 3])], False) == pytest.approx([(3 + 4 + 6 + 6) / 4])


def test_a_curve_of_many_units_has_few_points() -> None:
    mine = curves(list(np.random.default_rng(0).normal(size=60)))
    assert len(mine.sizes) == faithfulness.STEPS
    assert mine.sizes[-1] == 60
    assert (np.diff(mine.sizes) > 0).all()
    assert curves([1.0, 2.0]).sizes.tolist() == [1, 2]


def test_nothing_is_asked_twice() -> None:
    mine = curves([3.0, 2.0, 1.0, 0.5])
    order = np.array([0, 1, 2, 3])
    first = mine.scores([order])
    asked = mine.game.asked  # type: ignore[attr-defined]
    assert asked <= 2**4 * DONORS
    assert mine.scores([order]) == first
    assert mine.game.asked == asked  # type: ignore[attr-defined]


def test_where_nothing_changes_nobody_scores() -> None:
    deletion, insertion = curves([0.0, 0.0, 0.0]).scores([np.array([0, 1, 2])])
    assert np.isnan(deletion).all()
    assert np.isnan(insertion).all()


def test_methods_against_random_orders() -> None:
    worth = np.array(WORTH[0])
    scores = against_random(curves(WORTH[0]), {"true": worth, "reverse": -worth, "half": np.arange(7.0)},
                            np.random.default_rng(0))
    assert scores["true"][:2] == pytest.approx((1.0, 1.0))
    assert scores["reverse"][:2] == pytest.approx((0.0, 0.0))
    chance = scores["true"][2:]
    assert scores["half"][2:] == chance
    assert all(0.3 < one < 0.7 for one in chance)


def test_facts_are_replaced_by_those_of_the_half_that_tests(structures: dict[str, Any]) -> None:
    mine, text = game(structures), READ["SrTiO3"]
    units = removable(mine, text)
    assert isinstance(units, Facts)
    assert units.count == len(text.parsed.facts)
    theirs = {id(other) for other in mine.testing}
    facts = text.parsed.facts
    for donor in range(DONORS):
        (none, one, every) = units.replaced([[], [2], range(units.count)], donor)
        assert none == text.pieces
        assert all(other in theirs for some in units.donors for other in [id(one) for one, _ in some])
        by = units.donors[2][donor % len(units.donors[2])]
        assert one == text.variants([[Change(facts[2], by)]])[0]
        assert all(a is not b for a, b in zip(every, text.pieces, strict=True))
    (number,) = (number for number, one in enumerate(facts) if one.kind == "tilt")
    assert units.donors[number] == []
    (empty,) = units.replaced([[number]], 0)
    assert isinstance(empty[4], WordPiece)
    assert len(empty[4].ids) == 0


def test_sentences_are_replaced_by_those_of_their_region(structures: dict[str, Any]) -> None:
    mine, text = game(structures), READ["SrTiO3"]
    units = Sentences(mine, text)
    assert units.count == 7
    (none, first, every) = units.replaced([[], [0], range(7)], 1)
    assert none == text.pieces
    assert first[0] in mine.testing[1].of_region(0)
    assert first[1:] == text.pieces[1:]
    assert [one.region for one in every] == [one.region for one in text.pieces]
    assert not set(every) & set(text.pieces)
    vectors = VectorReading(text.text, text.tagged, text.parsed, [], cast(Any, None), cast(Any, None))
    assert isinstance(removable(mine, vectors), Sentences)


def test_a_real_curve_knows_its_model(structures: dict[str, Any]) -> None:
    """Of a model in which the best order is searched for: no order gets beyond it by much, and effects by replacement
    of a tree that adds up beat their reverse."""
    mine, text = game(structures, "trees"), READ["SrTiO3"]
    atoms = mine.atoms(crystal(structures))
    units = removable(mine, text)
    full = whole(mine.trained, crystal(structures), text)
    alone = np.array([full - np.mean([mine.predict(atoms, units.replaced([[one]], donor))[0]
                                      for donor in range(DONORS)]) for one in range(units.count)])
    deletion, insertion = Curves(mine, atoms, units).scores([np.argsort(-alone), np.argsort(alone)])
    assert deletion[0] > deletion[1] + 0.3
    assert insertion[0] > insertion[1] + 0.3


def test_a_mean_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(2.0, 1.0, 400)
    found = Measured.of([*values, np.nan])
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert found.low < found.mean < found.high
    assert Measured.of([*values, np.nan]) == found
    assert Measured.of([3.0, np.nan]) == Measured(3.0, 3.0, 3.0)
    assert all(np.isnan([one.mean, one.low, one.high]).all() for one in (Measured.of([]), Measured.of([np.nan])))


@pytest.mark.parametrize("name", ["all kinds", "trees", "two layers, both ways"])
def test_shuffled_weights(structures: dict[str, Any], name: str) -> None:
    """The same numbers in other places; trees still ask and still end; the original keeps its own."""
    trained = made(**MODELS[name])
    before = copy.deepcopy(trained.net.state_dict())
    one, again, other = shuffled(trained, 0), shuffled(trained, 0), shuffled(trained, 1)
    moved = 0
    for (key, values), (_, new) in zip(trained.net.named_parameters(), one.net.named_parameters(), strict=True):
        assert torch.equal(values.flatten().sort().values, new.flatten().sort().values)
        moved += not torch.equal(values, new)
        assert torch.equal(dict(again.net.named_parameters())[key], new)
    assert moved > 10
    for mine, new in zip(trained.net.networks(), one.net.networks(), strict=True):
        if isinstance(mine, TextTrees) and isinstance(new, TextTrees):
            leaf = mine.left == torch.arange(mine.left.shape[1])
            assert torch.equal(mine.left, new.left)
            assert not torch.equal(mine.feature, new.feature)
            assert torch.equal(mine.feature[~leaf].sort().values, new.feature[~leaf].sort().values)
            assert torch.equal(mine.value[leaf].sort().values, new.value[leaf].sort().values)
            assert (new.value[~leaf] == 0).all()
    structure, text = crystal(structures), READ["SrTiO3"]
    values = [whole(model, structure, text) for model in (trained, one, other)]
    assert len({round(value, 4) for value in values}) == 3
    assert all(torch.equal(before[key], value) for key, value in trained.net.state_dict().items())
    assert all(torch.equal(before[key], value) for key, value in one.net.state_dict().items() if "properties" in key)


def test_what_two_explanations_have_in_common() -> None:
    one = np.array([0.1, 0.5, -0.3, 0.2])
    assert in_common(one, one**3) == pytest.approx(1.0)
    assert in_common(one, -one) == pytest.approx(-1.0)
    assert in_common(one, np.array([0.5, 0.1, -0.3, 0.2])) == pytest.approx(1 - 6 * (4 + 4) / 60)
    for unclear in (np.zeros(4), np.full(4, 0.7)):
        assert np.isnan(in_common(one, unclear))
        assert np.isnan(in_common(unclear, one))
    assert np.isnan(in_common(one[:2], one[:2]))
