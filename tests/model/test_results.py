"""What evaluate, explain and predict say with a trained model: errors and controls, effects, files of crystals."""

import copy
import errno
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import Poscar

from features import catalog, sentences
from features.errors import UserError
from features.paths import Paths
from features.store import tables
from features.view import Batch
from model import checkpoint
from model.background import Background
from model.checkpoint import Trained
from model.evaluation import metrics
from model.explanation.replacement import DONORS, DONORS_ENCODED
from model.explanation.texts import VectorPiece, VectorReading
from model.forward import load_encoder
from model.input import loader
from model.input.batch import IMAGES, Text, collate_texts
from model.nets import fusion
from model.params import EvaluateParams
from tests.conftest import CRYSTALS
from tests.features.formats.test_formats import extxyz
from tests.model.small import described, no_text, predicted


def test_metrics_hold_what_the_design_says(trained: Path) -> None:
    """Each figure again from the predictions table, another way, and its interval from the spread of the errors."""
    written = json.loads((Paths(trained).results / "metrics.json").read_text())
    rows = [row for row in tables.read(trained, "predictions").to_pylist() if row["split"] == "test"]
    true = np.array([row["y_true"] for row in rows])
    errors = {branch: np.abs(np.array([row[f"y_{branch}"] for row in rows]) - true)
              for branch in ("fused", "structure_only", "text_only")}
    training = [np.log10(row["k_vrh"]) for row in tables.read(trained, "materials").to_pylist()
                if row["material_id"] in set(loader.load(trained, "k_vrh", "log10", IMAGES)["train"].ids)]
    expected = {"mae": errors["fused"], "mae_own_structure_branch": errors["structure_only"],
                "mae_own_text_branch": errors["text_only"],
                "fused_minus_own_structure_branch": errors["fused"] - errors["structure_only"]}
    for key, values in expected.items():
        low, middle, high = (written["test"][f"{key}{end}"] for end in ("_low", "", "_high"))
        assert middle == pytest.approx(values.mean())
        assert (low, high) == (None, None)  # too few crystals
    assert written["baseline"]["mean_mae"] == pytest.approx(np.abs(true - np.mean(training)).mean())
    assert sum(written["split"].values()) == 31
    assert (written["unit"], written["natural_unit"]) == ("log10(GPa)", "GPa")
    assert written["weights_sha256"] == checkpoint.load(trained).config.weights_sha256


def test_a_run_on_few_crystals_says_so(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = json.loads((Paths(trained).results / "metrics.json").read_text())
    said = written["cautions"]
    assert said[0].startswith("The model was trained on 20 crystals only")
    assert any(one.startswith(f"Only {written['split']['test']} crystals tested the model") for one in said)
    page = (Paths(trained).results / "report.html").read_text()
    assert all(one in page for one in said)
    assert "too few crystals" in page
    described(monkeypatch, no_text)
    (result,) = predicted(checkpoint.load(trained), [CRYSTALS / "mp-149.cif"])
    assert set(said) <= set(result.warnings)
    assert (result.low, result.high) == (None, None)


def test_an_interval_covers_as_often_as_it_says() -> None:
    """Of samples whose true mean is known, the interval of 90 % misses about one in ten."""
    rng = np.random.default_rng(0)
    params = EvaluateParams(bootstrap=400, confidence=0.9)
    intervals = [metrics.bootstrap(rng.normal(3.0, 1.0, 60), params) for _ in range(300)]
    assert 0.84 < np.mean([low < 3.0 < high for low, high in intervals]) < 0.94


def test_the_shuffled_control_gives_each_crystal_anothers_text(trained: Path) -> None:
    """With a fused branch that only reads text, its predictions are those of the crystals whose text was taken."""
    model = checkpoint.load(trained)
    splits = loader.load(trained, "k_vrh", "log10", IMAGES)
    net = copy.deepcopy(model.net)
    (one,) = net.networks()
    one.fusion, one.head_fused = fusion.TextOnly(), one.head_text
    blind = replace(model, net=net)
    test, params = splits["test"], EvaluateParams(shuffles=3, seed=5)
    rng = np.random.default_rng(params.seed)
    own = metrics.predict_all(blind, test)
    expected = np.mean([np.abs(own["fused"][metrics.anothers(test, rng)] - test.targets) for _ in range(3)])
    measured = metrics.measure(blind, test, own, params)["test"]
    assert measured["mae_shuffled_text"] == pytest.approx(expected)
    assert measured["mae_shuffled_text"] != pytest.approx(measured["mae"])


def test_metrics_follow_from_the_predictions_table(trained: Path) -> None:
    metrics = json.loads((Paths(trained).results / "metrics.json").read_text())
    query = ("select avg(abs(y_fused - y_true)) as mae, avg(abs(value_fused - value_true)) as gpa "
             "from predictions where split = 'test'")
    errors = catalog.query(trained, query).to_pylist()[0]
    assert errors["mae"] == pytest.approx(metrics["test"]["mae"])
    assert errors["gpa"] == pytest.approx(metrics["test_natural"]["mae"])


def test_shuffling_leaves_nobody_his_own_text() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 3, 10, 57):
        order = metrics.derangement(count, rng)
        assert sorted(order) == list(range(count))
        assert all(index != given for index, given in enumerate(order))


def test_an_effect_is_what_the_prediction_loses(trained: Path) -> None:
    """Every row of an explanation again, by the whole network on texts that were written and encoded."""
    model = checkpoint.load(trained)
    rows = tables.read(trained, "attributions").to_pylist()
    (material_id,) = {row["material_id"] for row in rows}
    again = Again(trained, model, material_id)
    full, large = again.value(again.own), set()
    assert {row["kind"] for row in rows} == {"modality", "region", "sentence", "fact", "token", "atom"}
    for row in rows:
        if row["start"] is not None:
            assert again.own.text[row["start"]:row["end"]] == row["label"]
        if row["method"] == "replacement":
            lost = full - np.mean(again.replaced(row))
            # which texts share a batch of the encoder changes its last digits
            assert row["effect"] == pytest.approx(lost, abs=2e-5 if row["kind"] == "sentence" else 5e-4), row
            large |= {row["kind"]} if abs(lost) > 1e-3 else set()
    # what is compared is more than what rounding can do
    assert large == {"sentence", "fact", "token"}
    for method, kinds in (("shapley", {"region", "structure"}), ("gradients", {"sentence", "atom"})):
        mine = [row for row in rows if row["method"] == method and {row["kind"], row["label"]} & kinds]
        assert mine[0]["reference"] + sum(row["effect"] for row in mine) == pytest.approx(full, abs=1e-4)
        assert max(abs(row["effect"]) for row in mine) > 1e-3


class Again:
    """One crystal, its text and those of the half of the background that explains, encoded one at a time."""

    def __init__(self, root: Path, model: Trained, material_id: str) -> None:
        self.model, self.encoder = model, load_encoder(model)
        (row,) = tables.read(root, "descriptions", ids=[material_id]).to_pylist()
        texts = Background.of(model).texts
        self.own, *self.others = (VectorReading.read(one, self.encoder) for one in [row, *texts[:len(texts) // 2]])
        self.crystal = loader.read_crystals(root, [material_id], IMAGES).batch()

    def value(self, reading: VectorReading) -> float:
        """The prediction with a text."""
        return self.of_vectors([piece.vector for piece in pieces_of(reading)],
                               [piece.region for piece in reading.pieces])

    def of_vectors(self, vectors: list[Any], regions: list[int]) -> float:
        with torch.no_grad():
            fused = self.model.net(self.crystal, collate_texts(
                [Text(np.stack(vectors), np.array(regions))], self.model.config.text_dim)).fused
        return float(self.model.natural(fused)[0])

    def replaced(self, row: dict[str, Any]) -> list[float]:
        """The predictions with another's sentence, fact or mention in its place; two others' of the latter."""
        number, regions = row["index"], [piece.region for piece in self.own.pieces]
        if row["kind"] == "sentence":
            same = [[piece for piece in pieces_of(other) if piece.region == regions[number]] for other in self.others]
            vectors = [piece.vector for piece in pieces_of(self.own)]
            donors = [some[number % len(some)].vector for some in same if some][:DONORS]
            return [self.of_vectors([*vectors[:number], donor, *vectors[number + 1:]], regions) for donor in donors]
        name = "facts" if row["kind"] == "fact" else "mentions"
        unit = getattr(self.own.parsed, name)[number]
        values = []
        for other in self.others:
            alike = [one for one in getattr(other.parsed, name) if one.kind == unit.kind]
            if alike and len(values) < DONORS_ENCODED:
                donor = alike[number % len(alike)]
                words = other.text[donor.start:donor.end]
                text = self.own.text[:unit.start] + words + self.own.text[unit.end:]
                tagged = sentences.to_rows(sentences.tag(text))
                values.append(self.value(VectorReading.read(
                    {"text": text, "sentences": tagged, "mineral": None}, self.encoder)))
        return values


def pieces_of(reading: VectorReading) -> list[VectorPiece]:
    return [piece for piece in reading.pieces if isinstance(piece, VectorPiece)]


def test_a_prediction_from_a_file_is_the_one_of_the_pipeline(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row["material_id"]: row for row in tables.read(trained, "predictions").to_pylist()}
    described(monkeypatch, lambda *_: Batch(tables.read(trained, "descriptions", ids=["mp-149"]), [0], {}))
    (result,) = predicted(checkpoint.load(trained), [CRYSTALS / "mp-149.cif"])
    row = rows["mp-149"]
    assert result.value == pytest.approx(row["value_fused"], rel=1e-5)
    assert result.structure_only == pytest.approx(10 ** row["y_structure_only"], rel=1e-5)
    assert result.text_only == pytest.approx(10 ** row["y_text_only"], rel=1e-5)
    assert (result.formula, result.space_group) == ("Si", "Fd-3m")


def test_bad_files_do_not_stop_good_ones(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, no_text)
    (tmp_path / "bad.cif").write_text("data_")
    good = CRYSTALS / "mp-30.cif"
    (tmp_path / "nan.cif").write_text(re.sub(r"_cell_length_a\s+\S+", "_cell_length_a nan", good.read_text()))
    results = predicted(checkpoint.load(trained),
                        [tmp_path / "none.cif", good, tmp_path / "bad.cif", tmp_path / "nan.cif"])
    assert [bool(result.error) for result in results] == [True, False, True, True]
    assert results[0].error == "missing: none.cif: there is no such file"
    assert results[1].warnings[-1] == "no text (ValueError: robocrys: no): predicted from the structure alone"
    assert results[1].text_only is None
    assert results[1].value is not None


def test_a_prediction_from_any_format_and_block(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, no_text)
    structure = Structure.from_file(CRYSTALS / "mp-30.cif")
    (tmp_path / "CONTCAR").write_text(Poscar(structure).get_str(significant_figures=12))
    (tmp_path / "a.json").write_text(structure.to_json())
    (tmp_path / "a.xyz").write_text(extxyz(structure))
    blocks = [re.sub("(?m)^data_.*", f"data_{name}", (CRYSTALS / f"{name}.cif").read_text())
              for name in ("mp-30", "mp-149")]
    (tmp_path / "two.cif").write_text("\n".join(blocks))
    (tmp_path / "notes.txt").write_text("nothing")
    names = ("CONTCAR", "a.json", "a.xyz", "two.cif", "notes.txt")
    asked = [CRYSTALS / "mp-30.cif", *(tmp_path / name for name in names)]
    *results, one, other, none = predicted(checkpoint.load(trained), asked, every_block=True)
    assert {result.value for result in (*results[1:], one)} == {results[0].value}
    assert other.value != one.value
    assert (Path(one.name).name, Path(other.name).name) == ("two.cif#mp-30", "two.cif#mp-149")
    assert (none.error or "").startswith("unknown_format: this is none of the formats that are read: CIF, POSCAR")


@pytest.mark.parametrize("error", [MemoryError("no memory"), OSError(errno.ENOSPC, "no space"), UserError("no GPU")])
def test_what_belongs_to_the_machine_is_not_a_files_fault(trained: Path, monkeypatch: pytest.MonkeyPatch,
                                                          error: Exception) -> None:
    def fails(*_: Any) -> Batch:
        raise error

    described(monkeypatch, fails)
    with pytest.raises(type(error)):
        predicted(checkpoint.load(trained), [CRYSTALS / "mp-30.cif"])
