"""What a run would do, and why. Stages of the model, which DVC judges, are in `tests/test_end_to_end.py`."""

import shutil
from pathlib import Path

import pytest

from features import registry
from features.differences import differences
from features.paths import Paths
from pipelines.engine import stages
from pipelines.engine.plan import plan
from tests.conftest import CRYSTALS, make_project, set_params

FOUR = ["mp-30", "mp-127", "mp-149", "mp-22862"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose first and last tables are made."""
    root = make_project(tmp_path, only=FOUR)
    for stage in ("ingest", "split"):
        stages.run(stage, root, "serial")
    return root


def of(root: Path, stage: str) -> tuple[int | None, int | None, tuple[str, ...]]:
    """Units wanted, units to compute, reasons."""
    (step,) = (step for step in plan(root) if step.stage == stage)
    return step.wanted, step.compute, step.reasons


def test_what_is_made_is_up_to_date_and_the_rest_says_what_it_waits_for(root: Path) -> None:
    assert of(root, "ingest") == (4, 0, ())
    assert of(root, "split") == (4, 0, ())
    assert of(root, "tensorize") == (4, 4, ("there is no table yet",))
    assert of(root, "embed") == (None, None, ("after descriptions, paraphrases",))


def test_inputs_that_came_went_or_changed(root: Path) -> None:
    shutil.copy(CRYSTALS / "mp-938.cif", root / "data/input")
    (root / "data/input/mp-30.cif").unlink()
    properties = root / "data/input/properties.csv"
    properties.write_text("".join(line for line in properties.read_text().splitlines(True) if "mp-30," not in line))
    shutil.copy(CRYSTALS / "mp-984.cif", root / "data/input/mp-149.cif")
    assert of(root, "ingest") == (4, 2, ("inputs: 1 added, 1 removed, 1 changed",))
    assert of(root, "split") == (4, 0, ("after ingest, whose changes cannot be known before and are not counted here",))


def test_a_parameter_and_the_way_back(root: Path) -> None:
    set_params(root, split={"seed": 3})
    assert of(root, "split") == (4, 4, ("split.seed 0 → 3",))
    stages.run("split", root, "serial")
    set_params(root, split={"seed": 0})
    assert of(root, "split") == (4, 0, ("split.seed 3 → 0",))  # every row is known


def test_an_input_and_the_way_back(root: Path) -> None:
    before = (root / "data/input/mp-149.cif").read_bytes()
    shutil.copy(CRYSTALS / "mp-984.cif", root / "data/input/mp-149.cif")
    stages.run("ingest", root, "serial")
    (root / "data/input/mp-149.cif").write_bytes(before)
    assert of(root, "ingest") == (4, 0, ("inputs are those of an earlier run, whose rows are stored",))


def test_a_row_store_that_was_deleted(root: Path) -> None:
    shutil.rmtree(Paths(root).rowstore("splits"))
    assert of(root, "split") == (4, 4, ("4 finished rows are no longer in data/.rowstore/splits",))


def test_rejects_that_were_deleted_are_no_changed_inputs(root: Path) -> None:
    (root / "data/input/broken.cif").write_text("data_broken\n_cell_length_a oops\n")
    stages.run("ingest", root, "serial")
    for segment in Paths(root).rowstore("materials").glob("*/rejects-*"):
        segment.unlink()
    assert of(root, "ingest") == (5, 1, ("1 finished rows are no longer in data/.rowstore/materials",))


def test_headers_are_told_apart_by_name() -> None:
    view = registry.view_of("tensorize")
    old = view.header(view.params())
    new = {**old, "version": 9, "params": {**old["params"], "reach": 1.0}, "digest": "x",
           "libraries": {**old["libraries"], "numpy": "0.1"}}
    found = list(differences(old, new, "tensorize"))
    assert found[0] == f"version of the view {old['version']} → 9"
    assert f"tensorize.reach {old['params']['reach']} → 1.0" in found
    assert 'library.numpy "2.4.6" → "0.1"' in found
    assert found[-1] == "other weights or arithmetic"
