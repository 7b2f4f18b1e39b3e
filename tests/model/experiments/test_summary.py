"""Summaries against what a hand computes."""

import csv
import io
import itertools
from pathlib import Path

import numpy as np
import pytest

from features.errors import UserError
from model.experiments.folds import Population
from model.experiments.sheets import differing
from model.experiments.summary import COLUMNS, KEY, as_csv, finds, summarise, versus
from tests.model.experiments.stored import FOLDS, POPULATION, noise, store
from tests.model.experiments.tiny import CONTENT, matrix


def mae(predicted: np.ndarray) -> float:
    return float(np.abs(predicted.astype(np.float32) - POPULATION.y).mean())


@pytest.fixture
def arms() -> dict[tuple[str, str], np.ndarray]:
    return {("dedicated", "none"): noise(2, 0.3, 0), ("fused", "none"): noise(2, 0.2, 1),
            ("fused", "shuffled_text"): noise(1, 0.4, 2)}


def test_errors_and_differences_by_hand(tmp_path: Path, arms: dict[tuple[str, str], np.ndarray]) -> None:
    rows = {(row.arm, row.control, row.members): row for row in summarise(store(tmp_path, arms), matrix())}
    assert set(rows) == {("dedicated", "none", 1), ("dedicated", "none", 2), ("fused", "none", 1), ("fused", "none", 2),
                         ("fused", "shuffled_text", 1), ("mixed", "none", 2), ("mixed", "shuffled_text", 2)}
    dedicated, fused, wrong = arms.values()
    alone = np.mean([mae(one) for one in dedicated])
    expected = {
        ("dedicated", "none", 1): (alone, None),
        ("dedicated", "none", 2): (mae(dedicated.mean(0)), None),
        ("fused", "none", 1): (np.mean([mae(one) for one in fused]), alone),
        ("fused", "none", 2): (mae(fused.mean(0)), mae(dedicated.mean(0))),
        ("fused", "shuffled_text", 1): (mae(wrong[0]), alone),
        ("mixed", "none", 2): (np.mean([mae((a + b) / 2) for a, b in itertools.product(dedicated, fused)]),
                               mae(dedicated.mean(0))),
        ("mixed", "shuffled_text", 2): (np.mean([mae((a + wrong[0]) / 2) for a in dedicated]), mae(dedicated.mean(0))),
    }
    for key, (error, reference) in expected.items():
        row = rows[key]
        assert row.mae == pytest.approx(error, abs=1e-6)
        assert row.low < row.mae < row.high
        assert (row.minus is None) == (reference is None)
        if row.minus is not None and reference is not None:
            assert row.minus[0] == pytest.approx(error - reference, abs=1e-6)
            assert row.minus[1] < row.minus[0] < row.minus[2]
    assert rows["fused", "none", 1].commit == "commit0 commit1"
    one = rows["fused", "none", 1]
    assert (one.seeds, one.folds, one.n_train) == (2, 5, 64)


def test_an_interval_covers_and_knows_groups_and_seeds(tmp_path: Path) -> None:
    """One hundred crystals in fifty groups whose members err alike: half as many independent errors."""
    rng = np.random.default_rng(3)
    alike = np.tile(rng.normal(0, 0.3, 50), 2)
    row, *_ = summarise(store(tmp_path, {("dedicated", "none"): (POPULATION.y + alike)[None]}), matrix(bootstrap=2000))
    spread = np.abs(alike[:50]).std() / np.sqrt(50)
    assert row.high - row.low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_seeds_that_differ_widen_the_interval(tmp_path: Path) -> None:
    steady = np.stack([POPULATION.y + 0.3] * 2)
    moved = np.stack([POPULATION.y + 0.2, POPULATION.y + 0.4])
    rows = {(row.arm, row.members): row for row in summarise(
        store(tmp_path, {("dedicated", "none"): steady, ("fused", "none"): moved}), matrix())}
    one = rows["fused", 1]
    assert one.mae == pytest.approx(rows["dedicated", 1].mae, abs=1e-6)
    assert rows["dedicated", 1].high - rows["dedicated", 1].low < 1e-6
    assert (one.low, one.high) == (pytest.approx(0.2, abs=1e-6), pytest.approx(0.4, abs=1e-6))


def test_folds_that_are_not_finished(tmp_path: Path, arms: dict[tuple[str, str], np.ndarray]) -> None:
    rows = summarise(store(tmp_path, arms, folds=2), matrix())
    assert {row.folds for row in rows} == {2}
    half = FOLDS < 2
    expected = float(np.abs(arms["dedicated", "none"] - POPULATION.y)[:, half].mean())
    assert rows[0].mae == pytest.approx(expected, abs=1e-6)


def test_cells_for_other_crystals_do_not_count(tmp_path: Path, arms: dict[tuple[str, str], np.ndarray]) -> None:
    results = store(tmp_path, arms)
    other = Population(POPULATION.ids, POPULATION.groups, POPULATION.fold, POPULATION.y + 1)
    results.keep("tiny", "k_vrh", other)
    assert summarise(results, matrix()) == []


def test_cells_that_the_matrix_asks_for_otherwise_do_not_count(
        tmp_path: Path, arms: dict[tuple[str, str], np.ndarray]) -> None:
    results = store(tmp_path, arms)
    longer = matrix(train={**CONTENT["train"], "epochs": 2})
    assert summarise(results, longer) == []
    assert {row.members for row in summarise(results, matrix(seeds=1)) if row.arm != "mixed"} == {1}


def test_a_control_of_a_mixture_is_one_of_all_that_reads(
        tmp_path: Path, arms: dict[tuple[str, str], np.ndarray]) -> None:
    """The ridge on words goes on reading the text: with its own text it would not be the control."""
    both = {**arms, ("ridge_words", "none"): noise(1, 0.3, 4)}
    asked = matrix(mixtures={"both": {"parts": {"fused": 1, "ridge_words": 1}}})
    rows = summarise(store(tmp_path, both), asked)
    assert [row.control for row in rows if row.arm == "both"] == ["none"]
    asked.arms["ridge_words"].controls.append("shuffled_text")
    rows = summarise(store(tmp_path, {**both, ("ridge_words", "shuffled_text"): noise(1, 0.5, 5)}), asked)
    assert [row.control for row in rows if row.arm == "both"] == ["none", "shuffled_text"]


def test_any_two_lines_are_compared(tmp_path: Path, arms: dict[tuple[str, str], np.ndarray]) -> None:
    (found,) = finds(store(tmp_path, arms), matrix())
    rows = {(row.arm, row.control, row.members): row for row in summarise(store(tmp_path, arms), matrix())}
    against = versus(found, "fused", "dedicated")
    assert against is not None
    assert (against.value, against.low, against.high) == rows["fused", "none", 1].minus
    other = versus(found, "mixed", "fused:shuffled_text")
    assert other is not None
    assert other.value == pytest.approx(rows["mixed", "none", 2].mae - rows["fused", "shuffled_text", 1].mae)
    assert other.low < other.value < other.high
    assert versus(found, "fused", "dedicated", members=3) is None
    assert versus(found, "ridge_words", "dedicated") is None
    for name in ("fuse", "fused:shuffled"):
        with pytest.raises(UserError, match=f"{name}: the matrix has the arms and mixtures"):
            versus(found, name, "dedicated")


def test_the_file_has_the_columns_and_is_compared(tmp_path: Path, arms: dict[tuple[str, str], np.ndarray]) -> None:
    text = as_csv(summarise(store(tmp_path, arms), matrix()))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert differing(text, text, KEY) == []
    mae_of = rows[2]["mae"]
    assert differing(text.replace(mae_of, f"{float(mae_of) + 1e-5:.5f}"), text, KEY) == []
    assert len(differing(text.replace(mae_of, f"{float(mae_of) + 3e-5:.5f}"), text, KEY)) == 1
    assert "only in the stored predictions" in differing("\n".join(text.splitlines()[:-1]), text, KEY)[0]


def test_learned_weights_lower_a_worse_part(tmp_path: Path) -> None:
    """A part that is far worse than the other loses by equal weights what it does not by learned ones."""
    results = store(tmp_path, {("dedicated", "none"): noise(2, 0.1, 0), ("fused", "none"): noise(2, 0.1, 1) + 3,
                               ("fused", "shuffled_text"): noise(2, 0.1, 2) - 5})
    parts = {"dedicated": 1, "fused": 1}
    rows = {(row.arm, row.control): row for row in summarise(results, matrix(mixtures={
        "equal": {"parts": parts}, "learned": {"parts": parts, "weights": "learned"}}))}
    assert rows["equal", "none"].mae == pytest.approx(1.5, abs=0.05)
    assert rows["equal", "shuffled_text"].mae == pytest.approx(2.5, abs=0.05)
    for control in ("none", "shuffled_text"):
        assert rows["learned", control].mae < 0.15
        assert (rows["learned", control].members, rows["learned", control].minus is None) == (2, False)


def test_a_data_set_with_some_arms_only(tmp_path: Path, arms: dict[tuple[str, str], np.ndarray]) -> None:
    """What is stored of other arms does not count, nor does a mixture; without the reference nothing is compared."""
    results = store(tmp_path, arms)
    few = matrix(datasets={"tiny": {"targets": ["k_vrh"], "arms": ["fused"]}})
    rows = summarise(results, few)
    assert {(row.arm, row.members, row.minus) for row in rows} == {("fused", 1, None), ("fused", 2, None)}
