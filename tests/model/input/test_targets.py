"""What crystals learn from: any of the targets trains, and no group is on two sides."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.errors import UserError
from features.params import parse_section
from features.store import tables
from model.input import loader, targets
from model.input.batch import IMAGES
from model.input.loader import Dataset
from model.params import TrainParams
from tests.model.small import ONLY_G, ONLY_K, with_missing_labels


@pytest.fixture(scope="module")
def sparse(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_missing_labels(project, tmp_path_factory.mktemp("sparse") / "p")


def splits(root: Path, target: str = "k_vrh", **how: Any) -> dict[str, Dataset]:
    return loader.load(root, target, "log10", IMAGES, **how)


def test_any_target_trains_and_the_first_alone_is_validated_and_tested(sparse: Path) -> None:
    alone, joint = splits(sparse), splits(sparse, also={"g_vrh": "log10"})
    assert set(joint["train"].ids) - set(alone["train"].ids) == set(ONLY_G[:3])
    for part in ("validation", "test"):
        assert joint[part].ids == alone[part].ids
        assert not set(joint[part].ids) & set(ONLY_G)
    training = joint["train"]
    missing = {i: np.isnan(row).tolist() for i, row in zip(training.ids, training.labels, strict=True)}
    assert {i for i, row in missing.items() if row == [True, False]} == set(ONLY_G[:3])
    assert {i for i, row in missing.items() if row == [False, True]} == set(ONLY_K)
    values = targets.read_targets(sparse, "g_vrh", "log10")
    place = training.ids.index("mp-2700")
    assert training.labels[place, 1] == values["mp-2700"]


def test_no_formula_of_a_test_or_validation_crystal_trains(sparse: Path) -> None:
    group = {row["material_id"]: row["group"] for row in tables.read(sparse, "splits").to_pylist()}
    joint = splits(sparse, also={"g_vrh": "log10"})
    trained = {group[i] for i in joint["train"].ids}
    assert not trained & {group[i] for part in ("validation", "test") for i in joint[part].ids}
    with pytest.raises(AssertionError, match="the group C trains and is held out"):
        targets.require_apart({"a": "train", "b": "test", "c": "train"}, {"a": "C", "b": "C", "c": "Si"})


def test_a_split_that_leaks_is_not_trained_on(sparse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = tables.read

    def leaking(root: Path, name: str, columns: Any = None, *how: Any) -> Any:
        table = read(root, name, columns, *how)
        return table.set_column(1, "group", [["one"] * len(table)]) if columns == ["material_id", "group"] else table

    monkeypatch.setattr(tables, "read", leaking)
    with pytest.raises(AssertionError, match="the group one trains"):
        splits(sparse, also={"g_vrh": "log10"})


def test_batches_count_who_has_each_target(sparse: Path) -> None:
    training = splits(sparse, also={"g_vrh": "log10"})["train"]
    for batch, share in zip(training.batches(training.plan(6, (0, 1))), training.batches(training.plan(6, (0, 1)),
                                                                                      share=(0, 2)), strict=True):
        known, has_text = ~batch.target.isnan(), batch.text.mask.any(1)
        assert batch.target.shape == (batch.crystals, 2)
        assert list(batch.labelled) == known.sum(0).tolist()
        assert list(batch.with_text) == known[has_text].sum(0).tolist()
        assert (share.labelled, share.with_text) == (batch.labelled, batch.with_text)


@pytest.mark.parametrize(("also", "said"), [
    ({"g_vhr": "none"}, "train.also: no crystal has 'g_vhr'; there is k_vrh, g_vrh, tested, zero"),
    ({"zero": "log10"}, "train.also: log10 needs positive values, but zero of "),
    ({"tested": "none"}, "train.also: no training crystal has tested"),
])
def test_mistakes_are_one_line(sparse: Path, also: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        splits(sparse, also=also)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("section", "said"), [
    ({"also": {"k_vrh": "none"}}, "train: also names k_vrh, which is the target itself"),
    ({"also": {"g_vrh": "ln"}}, "train.also.g_vrh: Input should be 'none' or 'log10' (got 'ln')"),
])
def test_a_section_that_is_wrong(section: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        parse_section(section, "train", TrainParams)


def test_further_targets_keep_one_order() -> None:
    given = TrainParams.model_validate({"also": {"n": "none", "g_vrh": "log10"}})
    assert list(given.also) == ["g_vrh", "n"]
