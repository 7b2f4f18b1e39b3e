"""Crystals with a further target alone train in their folds, and no formula is on two sides."""

from pathlib import Path

import pytest

from features.store import tables
from model.experiments import cell as cells
from model.experiments import folds, networks
from model.experiments.cell import Bench
from model.experiments.folds import Population
from model.experiments.matrix import Cell
from tests.model.experiments.tiny import CONTENT, matrix
from tests.model.small import ONLY_G, with_missing_labels

SHARE = 0.3
BOTH = {"g_vrh": "log10"}


@pytest.fixture(scope="module")
def sparse(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_missing_labels(project, tmp_path_factory.mktemp("sparse") / "p")


def test_they_train_unless_their_formula_is_held_out(sparse: Path) -> None:
    rows = {row["material_id"]: row for row in tables.read(sparse, "splits").to_pylist()}
    population = Population.of(sparse, "k_vrh", "log10", 5)
    groups = dict(zip(population.ids, population.groups, strict=True))
    left_out = set()
    for fold in range(5):
        parts = population.parts(fold, SHARE)
        more = folds.further(sparse, BOTH, population, fold, SHARE)
        assert not set(more) & set(parts)
        held = {groups[i] for i, part in parts.items() if part != "train"}
        assert not held & set(more.values())
        tested = {i for i in ONLY_G if rows[i]["fold"] == fold}
        assert not tested & set(more)
        validate = {i for i in ONLY_G if folds.uniform(f"validation:{fold}:{rows[i]['group']}") < SHARE}
        assert set(more) == set(ONLY_G) - tested - validate
        assert all(more[i] == rows[i]["group"] for i in more)
        left_out |= {i for i in ("mp-169", "mp-149") if rows[i]["group"] in held}
    assert left_out == {"mp-169", "mp-149"}  # C and Si have other crystals, which are tested
    assert folds.further(sparse, {}, population, 0, SHARE) == {}


def test_a_cell_trains_on_them_and_predicts_for_the_same_crystals(sparse: Path) -> None:
    joint = {"kind": "network", "train": {**CONTENT["arms"]["dedicated"]["train"], "also": "others"}}
    on = Bench(sparse, matrix(targets={"k_vrh": {"transform": "log10"}, "g_vrh": {"transform": "log10"}},
                              datasets={"tiny": {"targets": ["k_vrh", "g_vrh"]}},
                              arms={**CONTENT["arms"], "joint": joint}), "abc")
    one, other = (cells.run(on, Cell("tiny", "k_vrh", arm, "none", 0, 3)) for arm in ("dedicated", "joint"))
    more = folds.further(sparse, BOTH, on.population("tiny", "k_vrh"), 3, on.matrix.validation)
    assert more
    assert other.n_train == one.n_train + len(more)
    assert (other.ids, len(other.validated)) == (one.ids, len(one.validated))
    assert other.predicted.tobytes() != one.predicted.tobytes()
    assert other.fingerprint.split(".")[0] != one.fingerprint.split(".")[0]


def test_a_cell_that_would_leak_is_not_run(sparse: Path) -> None:
    population = Population.of(sparse, "k_vrh", "log10", 5)
    parts, groups = population.parts(0, SHARE), dict(zip(population.ids, population.groups, strict=True))
    tested = groups[population.asked("test", 0, SHARE)[0]]
    params = matrix().train_params(Cell("tiny", "k_vrh", "dedicated", "none", 0, 0))
    with pytest.raises(AssertionError, match=f"the group {tested} trains and is held out"):
        networks.predicted(sparse, params, "own", {**parts, "mp-2700": "train"}, {**groups, "mp-2700": tested})


def test_of_few_crystals_all_are_of_those_of_more_and_the_test_is_the_same(sparse: Path) -> None:
    population = Population.of(sparse, "k_vrh", "log10", 5)
    whole, more, fewer = (population.parts(1, SHARE, crystals) for crystals in (None, 20, 12))
    for parts, most in ((more, 20), (fewer, 12)):
        assert len([part for part in parts.values() if part != "test"]) == most
        assert {i for i, part in parts.items() if part == "test"} == {i for i, part in whole.items() if part == "test"}
        assert all(whole[i] == part for i, part in parts.items())
    assert set(fewer) <= set(more)


def test_a_data_set_of_few_crystals_of_another(sparse: Path) -> None:
    few = {"tiny": {"targets": ["k_vrh"]}, "few": {"of": "tiny", "crystals": 20, "targets": ["k_vrh"]}}
    on = Bench(sparse, matrix(datasets=few), "abc")
    one, other = (cells.run(on, Cell(name, "k_vrh", "ridge_words", "none", 0, 1)) for name in few)
    assert one.ids == other.ids
    assert other.n_train + len(other.validated) == 20
    assert one.n_train + len(one.validated) > 20
