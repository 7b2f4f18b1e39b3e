"""Conformal intervals: the formula by hand, and the coverage that the theorem promises."""

import json
import math

import numpy as np
import pytest

from model.uncertainty import Calibration


def test_the_formula_by_hand() -> None:
    """Spreads .1 and .3, so that β is .2: scores |1 − 1.3| / .3 and |2 − 1.5| / .5."""
    calibration = Calibration.of([1.0, 2.0], [0.1, 0.3], [1.3, 1.5])
    assert calibration.floor == pytest.approx(0.2)
    assert calibration.scores == pytest.approx([1.0, 1.0])
    calibration = Calibration(0.2, [0.5, 1.0, 3.0])
    assert [calibration.quantile(one) for one in (0.2, 0.25, 0.26, 0.5, 0.75)] == [0.5, 0.5, 1.0, 1.0, 3.0]
    low, high = calibration.interval([10.0, 20.0], [0.0, 0.8], 0.5)
    assert low.tolist() == pytest.approx([9.8, 19.0])
    assert high.tolist() == pytest.approx([10.2, 21.0])


def test_too_few_crystals_give_an_infinite_interval() -> None:
    nine = Calibration(1.0, [float(one) for one in range(9)])
    assert nine.quantile(0.9) == 8.0  # 10 · .9 is the ninth, and no tenth for the rounding of floats
    assert Calibration(1.0, nine.scores[:8]).quantile(0.9) == math.inf
    low, high = Calibration(1.0, [0.3]).interval([1.0], [0.1], 0.9)
    assert (low[0], high[0]) == (-math.inf, math.inf)
    for n in (19, 69, 99, 999):
        assert Calibration(1.0, list(map(float, range(n)))).quantile(0.9) == (n + 1) * 9 // 10 - 1


@pytest.mark.parametrize("n", [9, 19, 24])
def test_coverage_of_exchangeable_crystals_is_exact(n: int) -> None:
    """With continuous scores it is ⌈(n + 1) · .9⌉ / (n + 1), whatever the errors look like."""
    rng = np.random.default_rng(n)
    rounds, held = 4000, 0
    for _ in range(rounds):
        spread = rng.uniform(0.05, 0.5, n + 1)
        y = rng.standard_t(2, n + 1) * spread ** 2
        # β must not be that of the calibration crystals alone, or they are not exchangeable with the last one
        calibration = Calibration(0.2, np.sort(np.abs(y[:n]) / (spread[:n] + 0.2)).tolist())
        low, high = calibration.interval([0.0], spread[n:], 0.9)
        held += int(low[0] <= y[n] <= high[0])
    expected = math.ceil((n + 1) * 0.9 - 1e-9) / (n + 1)
    assert held / rounds == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / rounds))


def test_the_mean_spread_as_floor_keeps_the_coverage() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(500):
        spread = rng.uniform(0.05, 0.5, 150)
        y = rng.normal(0, spread)
        calibration = Calibration.of(np.zeros(100), spread[:100], y[:100])
        low, high = calibration.interval(np.zeros(50), spread[100:], 0.9)
        held.append(((low <= y[100:]) & (y[100:] <= high)).mean())
    assert np.mean(held) == pytest.approx(91 / 101, abs=0.01)


def test_one_member_has_intervals_of_one_width() -> None:
    calibration = Calibration.of(np.zeros(20), np.zeros(20), np.arange(20))
    assert calibration.floor == 1.0
    low, high = calibration.interval([1.0, 5.0], [0.0, 0.0], 0.9)
    assert (high - low).tolist() == [36.0, 36.0]  # the 19th of 20 errors


def test_plain_data_and_back() -> None:
    calibration = Calibration.of([1.0, 2.0, 3.0], [0.1, 0.2, 0.4], [1.1, 2.3, 2.5])
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


@pytest.mark.parametrize("bad", [([], [], []), ([1.0], [0.1], [math.nan]), ([1.0], [-0.1], [1.0]),
                                 ([1.0], [0.1, 0.2], [1.0])])
def test_what_is_no_calibration(bad: tuple[list[float], list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="a calibration needs"):
        Calibration.of(*bad)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Calibration(1.0, [1.0]).quantile(90)
