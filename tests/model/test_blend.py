"""Weights of a mean of predictions, against a search by hand."""

import numpy as np
import pytest

from model.blend import simplex, weights

RNG = np.random.default_rng(0)
Y = RNG.normal(0, 1, 200)


def test_the_smallest_error_on_the_grid() -> None:
    predictions = np.stack([Y + RNG.normal(0, size, 200) for size in (0.2, 0.3, 0.9)])
    best = weights(predictions, Y)
    assert best.sum() == pytest.approx(1)
    errors = {}
    for i in range(21):
        for j in range(21 - i):
            mine = np.array([i, j, 20 - i - j]) / 20
            errors[tuple(mine)] = float(np.abs(mine @ predictions - Y).mean())
    assert tuple(best) == min(errors, key=lambda one: errors[one])
    assert best[0] > best[1] > best[2]


def test_a_perfect_prediction_gets_all_and_two_alike_share() -> None:
    assert weights(np.stack([Y + 1, Y]), Y).tolist() == [0, 1]
    assert weights(np.stack([Y, Y]), Y + 0.3).tolist() == [0.5, 0.5]
    assert weights(Y[None], Y + 1).tolist() == [1]
    # three alike: the nearest of the grid to a third each
    assert sorted(weights(np.stack([Y, Y, Y]), Y)) == [0.3, 0.35, 0.35]


def test_one_above_and_one_below_meet() -> None:
    assert weights(np.stack([Y - 0.1, Y + 0.3]), Y).tolist() == [0.75, 0.25]
    assert weights(np.stack([Y - 0.1, Y + 0.3]), Y, step=0.5).tolist() in ([1, 0], [0.5, 0.5])


def test_a_crystal_without_a_prediction_is_left_out() -> None:
    holed = np.stack([Y - 0.1, Y + 0.3])
    holed[0, :50], holed[1, 50:60] = np.nan, np.nan
    spoilt = Y.copy()
    spoilt[:60] = 1e6
    assert weights(holed, spoilt).tolist() == [0.75, 0.25]
    holed[0] = np.nan
    with pytest.raises(ValueError, match="no crystal has a prediction of every kind"):
        weights(holed, Y)


def test_many_sets_are_each_for_themselves() -> None:
    sets = np.stack([[Y + RNG.normal(0, 0.2, 200), Y + RNG.normal(0, size, 200)] for size in (0.1, 0.2, 0.5)])
    assert weights(sets, Y).tolist() == [weights(one, Y).tolist() for one in sets]


def test_what_is_not_done() -> None:
    with pytest.raises(ValueError, match="1 to 4 kinds of predictions, not 5"):
        weights(np.stack([Y] * 5), Y)
    with pytest.raises(ValueError, match=r"whole number, not 0\.3"):
        weights(np.stack([Y] * 2), Y, step=0.3)
    assert len(simplex(3, 0.05)) == 231
    assert len(simplex(2, 0.05)) == 21
