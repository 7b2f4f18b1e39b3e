"""Intervals of the test crystals, told apart by chemistry, elements, size and what the training crystals reach."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.paths import Paths
from features.store import tables
from model import checkpoint, coverage
from model.chemistry import chemistry, classes, sizes
from model.evaluation import stage as evaluation
from model.evaluation.metrics import covered, predict_all
from model.forward import load_splits
from model.training import train
from model.uncertainty import Calibration
from tests.conftest import set_params


@pytest.fixture(scope="module")
def evaluated(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(project, tmp_path_factory.mktemp("intervals") / "project"))
    set_params(root, train={"epochs": 1}, evaluate={"shuffles": 1, "bootstrap": 100})
    train.train(root)
    evaluation.evaluate(root)
    return root


@pytest.mark.parametrize(("elements", "expected"), [
    (["Fe", "Li", "O", "P"], "oxide"), (["Cl", "Na"], "halide"), (["Bi", "I", "Te"], "halide"),
    (["S", "Zn"], "chalcogenide"), (["Ga", "N"], "pnictide"), (["Si"], "other with nonmetal"),
    (["C", "Ti"], "other with nonmetal"), (["Al", "Ni"], "intermetallic"), (["Co"], "intermetallic"),
])
def test_chemistry(elements: list[str], expected: str) -> None:
    assert chemistry(elements) == expected


def test_each_crystal_is_in_one_class_of_each_kind() -> None:
    found = classes([["Cl", "Na"], ["Fe", "O"], ["Co"], ["Fe", "Li", "O", "P"], list("BCFHIKNOPSUV")])
    assert {by: {name: mine.tolist() for name, mine in groups.items()} for by, groups in found.items()} == {
        "chemistry": {"oxide": [False, True, False, True, True], "halide": [True, False, False, False, False],
                      "intermetallic": [False, False, True, False, False]},
        "elements": {"1": [False, False, True, False, False], "2": [True, True, False, False, False],
                     "4": [False, False, False, True, False], "12": [False, False, False, False, True]}}
    assert [list(groups) for groups in found.values()] == [["oxide", "halide", "intermetallic"], ["1", "2", "4", "12"]]


def test_each_crystal_has_one_size() -> None:
    sites = [1, 4, 5, 10, 11, 20, 21, 300, 4]
    found = {name: np.flatnonzero(mine).tolist() for name, mine in sizes(sites).items()}
    assert list(found.items()) == [("1-4", [0, 1, 8]), ("5-10", [2, 3]), ("11-20", [4, 5]), ("21 and more", [6, 7])]
    assert list(sizes([2, 40])) == ["1-4", "21 and more"]


def size(sites: int) -> str:
    return next(name for name, most in (("1-4", 4), ("5-10", 10), ("11-20", 20), ("21 and more", 1000))
                if sites <= most)


def test_intervals_of_each_class_by_hand(evaluated: Path) -> None:
    """With intervals of ± 0.1 and of ± 0.1 times the number of a crystal, so that widths differ."""
    trained = replace(checkpoint.load(evaluated), calibration=Calibration(1.0, [0.1] * 20))
    splits = load_splits(evaluated, trained.params)
    test = splits["test"]
    crystals = {name: coverage.read_crystals(evaluated, split.ids) for name, split in splits.items()}
    predicted = {**predict_all(trained, test), "spread": np.arange(float(len(test)))}
    measured = covered(trained, test, predicted, crystals["test"], crystals["train"])
    held = np.abs(predicted["fused"] - test.targets) <= 0.1 * (1 + np.arange(len(test)))
    width = 0.2 * (1 + np.arange(len(test)))
    assert 0 < held.sum() < len(test)
    rows = {row["material_id"]: row for row in tables.read(evaluated, "materials").to_pylist()}
    known = {element for name in splits["train"].ids for element in rows[name]["elements"]}
    ranges = coverage.Coverage.of(evaluated, splits["train"].ids)
    said = {
        "chemistry": lambda name: chemistry(rows[name]["elements"]),
        "elements": lambda name: str(len(rows[name]["elements"])),
        "sites": lambda name: size(rows[name]["nsites"]),
        "support": lambda name: "inside" if set(rows[name]["elements"]) <= known and not ranges.outside(rows[name])
        else "outside"}
    assert set(measured["by"]) == set(said)
    for by, of in said.items():
        mine, training = np.array([of(name) for name in test.ids]), [of(name) for name in splits["train"].ids]
        assert set(measured["by"][by]) == set(mine)
        for name, row in measured["by"][by].items():
            assert row == {"crystals": (mine == name).sum(), "training_crystals": training.count(name),
                           "coverage": pytest.approx(held[mine == name].mean()),
                           "mean_width": pytest.approx(width[mine == name].mean())}
    assert (measured["crystals"], measured["training_crystals"]) == (len(test), len(splits["train"]))
    assert (measured["coverage"], measured["mean_width"]) == pytest.approx((held.mean(), width.mean()))
    assert measured["by"]["support"]["outside"]["training_crystals"] == 0


def test_metrics_table_and_page_say_it(evaluated: Path) -> None:
    """Three validation crystals are too few for 90 %: these intervals have no ends and hold nothing."""
    metrics = json.loads((Paths(evaluated).results / "metrics.json").read_text())["intervals"]
    rows = [row for row in tables.read(evaluated, "predictions").to_pylist() if row["split"] == "test"]
    assert (metrics["coverage"], metrics["mean_width"], metrics["crystals"]) == (None, None, len(rows))
    for groups in metrics["by"].values():
        assert sum(row["crystals"] for row in groups.values()) == len(rows)
        assert {row["mean_width"] for row in groups.values()} == {None}
    outside = {row["material_id"]: row["outside"] for row in rows if row["outside"]}
    assert outside["mp-20928"] == "elements never seen: Ru"
    assert metrics["by"]["support"]["outside"]["crystals"] == len(outside) < len(rows)
    page = re.sub(r"\s*<[^>]*>\s*", "|", (Paths(evaluated).results / "report.html").read_text())
    assert f"|outside the training data||{len(outside)}||none||–||no end|" in page
    two = metrics["by"]["elements"]["2"]
    assert f"|of 2 elements||{two['crystals']}||{two['training_crystals']}||–||no end|" in page
    small = metrics["by"]["sites"]["1-4"]
    assert f"|of 1-4 atoms in the primitive cell||{small['crystals']}||{small['training_crystals']}||–|" in page
    assert all(row["outside"] is None for row in tables.read(evaluated, "predictions").to_pylist()
               if row["split"] == "train")
