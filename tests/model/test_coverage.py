"""What a model has seen, and what `predict` says of crystals beyond it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save

from features.errors import UserError
from features.paths import Paths
from features.store import tables
from features.view import Batch
from model import checkpoint, coverage
from model import predict as command
from model.coverage import Coverage
from model.explain import explain_stage
from model.input import loader
from model.input.batch import IMAGES
from model.prediction.predictor import Predictor
from model.training import train
from tests.conftest import CRYSTALS, set_params
from tests.model.small import answers, cards_of, described, no_text, predicted

HELIUM = """data_He
_cell_length_a 3.57
_cell_length_b 3.57
_cell_length_c 5.83
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
He1 He 0.333333 0.666667 0.25
He2 He 0.666667 0.333333 0.75
"""
"""Solid helium under pressure, hexagonal close packed."""


@pytest.fixture(scope="module")
def trained(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(project, tmp_path_factory.mktemp("coverage") / "project"))
    set_params(root, train={"epochs": 1})
    train.train(root)
    return root


@pytest.fixture
def helium(tmp_path: Path) -> Path:
    path = tmp_path / "He.cif"
    path.write_text(HELIUM)
    return path


@pytest.fixture(autouse=True)
def without_describing(monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, no_text)


def rows(root: Path, split: str) -> list[dict[str, Any]]:
    ids = loader.load(root, "k_vrh", "log10", IMAGES)[split].ids
    return tables.read(root, "materials", ids=ids).to_pylist()


def test_what_was_seen_is_that_of_the_training_split(trained: Path) -> None:
    training = rows(trained, "train")
    known = checkpoint.load(trained).coverage
    assert known.elements == {element: sum(element in row["elements"] for row in training)
                              for element in sorted({element for row in training for element in row["elements"]})}
    assert known.elements["Si"] == 4
    assert "Zn" not in known.elements  # of the validation split
    assert known.ranges["nsites"] == (1, 8)
    assert known.ranges["density"] == (min(row["density"] for row in training), max(row["density"] for row in training))
    per_atom = [row["volume"] / row["nsites"] for row in training]
    assert known.ranges["volume_per_atom"] == pytest.approx((min(per_atom), max(per_atom)), rel=1e-12)


def test_no_training_crystal_is_outside(trained: Path) -> None:
    known = checkpoint.load(trained).coverage
    assert [known.outside(row) for row in rows(trained, "train")] == [[]] * 20
    assert any(known.outside(row) for row in rows(trained, "validation"))


KNOWN = Coverage({"O": 812, "Si": 5}, {"nsites": (1, 120), "density": (0.8993, 19.31), "volume_per_atom": (5.7, 40.0)})
INSIDE = {"elements": ["O", "Si"], "nsites": 3, "density": 2.65, "volume": 37.7 * 3}


@pytest.mark.parametrize(("change", "message"), [
    ({}, ""),
    ({"elements": ["He", "Og", "Si"]}, "elements never seen: He, Og"),
    ({"nsites": 120, "volume": 120 * 20.0}, ""),
    ({"nsites": 121, "volume": 121 * 20.0}, "121 atoms in the primitive cell, seen 1 to 120"),
    ({"nsites": 1234, "volume": 1234 * 20.0}, "1234 atoms in the primitive cell, seen 1 to 120"),
    ({"density": 22.06}, "density 22.1 g/cm³, seen 0.899 to 19.3"),
    ({"density": 19.34}, ""),  # in what is said, 19.3 is 19.3
    ({"density": 19.36}, "density 19.4 g/cm³, seen 0.899 to 19.3"),
    ({"density": 0.8}, "density 0.8 g/cm³, seen 0.899 to 19.3"),
    ({"volume": 3e6}, "1000000 Å³ per atom, seen 5.7 to 40"),
    ({"elements": ["He"], "nsites": 412, "volume": 412.0, "density": 22.1},
     "elements never seen: He; 412 atoms in the primitive cell, seen 1 to 120; density 22.1 g/cm³, seen 0.899 to 19.3; "
     "1 Å³ per atom, seen 5.7 to 40"),
])
def test_what_lies_outside_is_said_in_words(change: dict[str, Any], message: str) -> None:
    assert coverage.in_words(KNOWN.outside(INSIDE | change)) == message


def test_each_thing_outside_has_its_value_and_what_was_seen() -> None:
    found = KNOWN.outside(INSIDE | {"elements": ["He"], "density": 22.06})
    assert [(one.quantity, one.value, one.seen) for one in found] == [
        ("elements", ["He"], None), ("density", 22.06, (0.8993, 19.31))]


def test_coverage_as_json_types_and_back() -> None:
    assert Coverage.from_dict(json.loads(json.dumps(KNOWN.to_dict()))) == KNOWN


def test_warnings_say_what_is_outside(trained: Path, helium: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, no_text)
    solid, silicon = predicted(checkpoint.load(trained), [helium, CRYSTALS / "mp-149.cif"])
    beyond = "outside the training data: "
    assert [one.removeprefix(beyond) for one in solid.warnings if one.startswith(beyond)] == [
        "elements never seen: He", "density 0.207 g/cm³, seen 1.89 to 19.9", "32.2 Å³ per atom, seen 5.7 to 28.1"]
    assert not any(one.startswith(beyond) for one in silicon.warnings)
    assert silicon.trained_on is None or silicon.trained_on == "mp-149"


def test_explanations_say_it_too(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ruthenium = Batch(tables.read(trained, "descriptions", ids=["mp-20928"]), [0], {})
    described(monkeypatch, lambda *_: ruthenium)
    page = tmp_path / "why.html"
    model = checkpoint.load(trained)
    written = command._Page(Predictor.of(model), page)
    for answer in answers(model, [CRYSTALS / "mp-20928.cif"]):
        written.add(answer)
    written.write()
    assert [outside(one) for one in cards_of(page)] == [["elements never seen: Ru"]]
    set_params(trained, explain={"crystals": 3, "tested": 0, "aggregated": 0})
    explain_stage(trained)
    said = {one["predicted"]["name"]: outside(one) for one in cards_of(Paths(trained).results / "explanations.html")}
    assert said == {"mp-20928": ["elements never seen: Ru"], "mp-952": [],
                    "mp-127": ["density 1.03 g/cm³, seen 1.89 to 19.9", "36.9 Å³ per atom, seen 5.7 to 28.1"]}


def outside(card: dict[str, Any]) -> list[str]:
    """What a page warns of."""
    beyond = "outside the training data: "
    return [one.removeprefix(beyond) for one in card["predicted"]["warnings"] if one.startswith(beyond)]


def test_a_model_without_coverage_is_refused(trained: Path, tmp_path: Path) -> None:
    """One of format 2, which said nothing of what it had seen."""
    with safe_open(checkpoint.path_of(trained), framework="pt") as file:
        config = json.loads(file.metadata()[checkpoint.CONFIG])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    del config["coverage"]
    Paths(tmp_path).model.mkdir(parents=True)
    checkpoint.path_of(tmp_path).write_bytes(save(weights, {checkpoint.CONFIG: json.dumps(config | {"format": 2})}))
    with pytest.raises(UserError, match="has format 2, this version reads 5; train again"):
        checkpoint.load(tmp_path)
