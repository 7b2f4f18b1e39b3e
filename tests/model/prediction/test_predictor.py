"""What is said of a crystal: value, interval, neighbours, warnings, and what another description would change."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pymatgen.core import Lattice, Structure

from features.errors import UserError
from features.paths import Paths
from features.store import documents, tables
from features.view import Batch
from model import checkpoint, inference, neighbours
from model.input import loader
from model.input.batch import IMAGES
from model.neighbours import Neighbourhood
from model.uncertainty import Calibration
from tests.conftest import CRYSTALS
from tests.model.small import described, no_text, predicted

SILICON = CRYSTALS / "mp-149.cif"


@pytest.fixture
def silicons(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, in which every crystal is described as silicon."""
    row = tables.read(trained, "descriptions", ids=["mp-149"])
    described(monkeypatch, lambda *_: Batch(row, [0], {}))
    return trained


def test_from_python(silicons: Path) -> None:
    structure = Structure.from_file(SILICON)
    predictor = inference.load(str(Paths(silicons).model))
    frame = predictor.predict([structure, SILICON.read_text(), str(SILICON)])
    assert frame["name"].to_list() == ["structure 1", "text 2", str(SILICON)]
    assert frame["error"].null_count() == 3
    assert frame["value"].n_unique() == 1
    assert set(frame["unit"]) == {"GPa"}
    assert set(frame["learned_unit"]) == {"log10(GPa)"}
    assert frame["value"].to_list() == pytest.approx([10 ** value for value in frame["learned_value"]])


def test_intervals(silicons: Path) -> None:
    """None that a handful of crystals made, whatever the confidence; else wider with it."""
    predictor = inference.load(Paths(silicons).model)
    assert len(predictor.trained.calibration.scores) < 10
    assert predictor.predict(SILICON, confidence=0.5)["low"].to_list() == [None]
    enough = Calibration(0.1, [0.1 * number for number in range(1, 13)])
    predictor = replace(predictor, trained=replace(predictor.trained, calibration=enough))
    (row,) = predictor.predict(SILICON, confidence=0.5).to_dicts()
    assert row["learned_low"] < row["learned_value"] < row["learned_high"]
    assert row["low"] < row["value"] < row["high"]
    assert row["confidence"] == 0.5
    wider = predictor.predict(SILICON, confidence=0.8).to_dicts()[0]
    assert wider["low"] < row["low"] < row["high"] < wider["high"]
    assert predictor.predict(SILICON, confidence=0.99)["low"].to_list() == [None]


def test_errors_are_rows(silicons: Path) -> None:
    predictor = inference.load(Paths(silicons).model)
    frame = predictor.predict(["nowhere.cif", SILICON])
    assert frame["error"].to_list() == ["missing: nowhere.cif: there is no such file", None]
    assert frame.schema["near_by_text"] == pl.List
    with pytest.raises(UserError, match="crystal 2 is a int"):
        predictor.predict([SILICON, 3])
    with pytest.raises(UserError, match="confidence 1: a number between 0 and 1"):
        predictor.predict(SILICON, confidence=1)
    with pytest.raises(UserError, match=r"there is no trained model yet"):
        inference.load(Paths(silicons).features)


def test_a_table_and_a_folder(silicons: Path, tmp_path: Path) -> None:
    folder = tmp_path / "crystals"
    folder.mkdir()
    shutil.copy(SILICON, folder / "b.cif")
    shutil.copy(CRYSTALS / "mp-30.cif", folder / "a.cif")
    (folder / "notes.txt").write_text("nothing")
    pl.DataFrame({"material_id": ["x", "y"], "cif": [SILICON.read_text(), ""]}).write_parquet(tmp_path / "t.parquet")
    model = checkpoint.load(silicons)
    found = predicted(model, [folder, str(folder / "a.cif"), tmp_path / "t.parquet", tmp_path / "none.csv"])
    assert [Path(one.name).name for one in found] == ["a.cif", "b.cif", "x", "y", "none.csv"]
    assert found[1].value == found[2].value
    assert [(one.error or "").split(":")[0] for one in found] == ["", "", "", "empty", "missing"]
    (tmp_path / "t.csv").write_text("name,value\nx,1\n")
    (broken,) = predicted(model, tmp_path / "t.csv")
    assert "has no column cif, structure or poscar" in (broken.error or "")
    (tmp_path / "none").mkdir()
    (empty,) = predicted(model, [tmp_path / "none"])
    assert (empty.error or "").startswith("empty_folder: none is a folder without crystal files")


def test_training_crystals_are_known_and_near(silicons: Path) -> None:
    training = loader.load(silicons, "k_vrh", "log10", IMAGES)["train"]
    model = checkpoint.load(silicons)
    around = Neighbourhood.of(model)
    trained_one = next(one for one in training.ids if (CRYSTALS / f"{one}.cif").exists())
    original = Structure.from_file(CRYSTALS / f"{trained_one}.cif")
    (known,) = predicted(model, CRYSTALS / f"{trained_one}.cif")
    assert known.trained_on == trained_one
    assert known.near_by_structure[0].material_id == trained_one
    assert known.near_by_structure[0].distance < 1e-4
    distances = [near.distance for near in known.near_by_structure]
    assert len(distances) == 5
    assert distances == sorted(distances)
    rows = {row["material_id"]: row for row in tables.read(silicons, "materials").to_pylist()}
    for near in known.near_by_structure:
        assert near.value == pytest.approx(rows[near.material_id]["k_vrh"])
        assert near.formula == rows[near.material_id]["reduced_formula"]
    for strain, expected in ((1.0, trained_one), (1.02, None)):  # rounding to four decimals; another cell
        (again,) = predicted(model, Structure(
            Lattice.from_parameters(*np.round(np.array(original.lattice.parameters) * ([strain] * 3 + [1] * 3), 4)),
            original.species, np.round(original.frac_coords, 4)))
        assert again.trained_on == expected
    tested = loader.load(silicons, "k_vrh", "log10", IMAGES)["test"].ids[0]
    (new,) = predicted(model, CRYSTALS / f"{tested}.cif")
    assert new.trained_on is None
    assert around.rows["material_id"].to_pylist() == training.ids
    matrix = np.array(around.rows["structure"].to_pylist())
    one, other = np.triu_indices(len(matrix), 1)
    assert np.linalg.norm(matrix[one] - matrix[other], axis=1).std() == pytest.approx(1.0, abs=0.02)


def test_a_text_far_from_all_others_is_said(trained: Path) -> None:
    around = Neighbourhood.of(checkpoint.load(trained))
    row = around.rows["text"].drop_null()[0].as_py()
    scale = around._scales["text"]
    near = around.near("text", np.array(row) * scale, 3)
    assert near[0].distance < 1e-5
    assert around.unlike("text", near) is None
    far = around.near("text", (np.array(row) + 50.0) * scale, 3)
    assert "the description is unlike those trained on" in str(around.unlike("text", far))
    assert around.limits["text"] < math.inf
    assert around.near("text", None, 3) == ()


def test_what_if(silicons: Path) -> None:
    model = checkpoint.load(silicons)
    (own,) = predicted(model, SILICON)
    assert own.what_if is None
    (same,) = predicted(model, SILICON, text=own.text)
    assert same.what_if is not None
    assert same.what_if["difference"] == {"value": 0.0, "learned": 0.0}
    (cut,) = predicted(model, SILICON, without=("local",))
    assert cut.what_if is not None
    assert cut.text == str(own.text).split(" Si(1) is bonded")[0].split(" The Si(1)")[0]
    assert cut.what_if["change"] == "without local"
    assert cut.what_if["value"] == own.value
    assert cut.what_if["difference"]["learned"] == pytest.approx(cut.learned["value"] - own.learned["value"])
    assert cut.what_if["difference"]["learned"] != 0
    (none,) = predicted(model, SILICON, without=("text",))
    assert none.text is None
    assert "nothing of the text is left" in none.warnings[-1]
    with pytest.raises(UserError, match="belongs to one crystal"):
        predicted(model, [SILICON, CRYSTALS / "mp-30.cif"], text="Si is diamond.")
    with pytest.raises(UserError, match="without 'sites': there are global, semi-global, local and text"):
        predicted(model, SILICON, without=("sites",))


def test_cautions_of_another_models_test_are_not_repeated(trained: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, no_text)
    shutil.copytree(Paths(trained).model, Paths(tmp_path).model)
    metrics = documents.read(Paths(trained).results / "metrics.json")
    assert metrics is not None
    Paths(tmp_path).results.mkdir()
    place = Paths(tmp_path).results / "metrics.json"
    documents.write(place, metrics)
    tested = [one for one in metrics["cautions"] if "tested the model" in one]
    assert set(tested) <= set(inference.load(Paths(tmp_path).model).cautions)
    documents.write(place, metrics | {"weights_sha256": "of another"})
    assert not set(tested) & set(inference.load(Paths(tmp_path).model).cautions)
    place.write_text(place.read_text().replace("test", "tests", 1))
    said = inference.load(Paths(tmp_path).model).cautions
    assert "metrics.json is damaged" in said[-1]


def test_a_damaged_companion_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(Paths(trained).model, Paths(tmp_path).model)
    (Paths(tmp_path).model / f"{neighbours.NAME}.parquet").unlink()
    with pytest.raises(UserError, match="it is missing"):
        inference.load(Paths(tmp_path).model).predict(SILICON)
