"""A model of each kind, from its tables through every stage; what it is trained on, and its file on disk."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.errors import UserError
from features.paths import Paths
from features.store import tables
from features.store.sums import Damaged
from features.view import Batch
from model import cards, checkpoint
from model.evaluation import stage as evaluation
from model.explain import explain_stage
from model.explanation.game import Game
from model.explanation.methods import Explainer
from model.input import loader, targets
from model.input.batch import IMAGES
from model.input.loader import Dataset
from model.training import fit, train
from pipelines.engine import stages
from tests.conftest import CRYSTALS, set_params
from tests.model.small import SMALL, answers, cards_of, described, no_text, predicted, small_project


def weights(root: Path) -> str:
    return checkpoint.load(root).config.weights_sha256


def test_the_same_seed_gives_the_same_model(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "project"))
    train.train(root)
    assert weights(root) == weights(trained)


def test_another_encoder(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "project"))
    set_params(root, train={**SMALL, "encoder": "cgcnn", "cgcnn": {"dim": 16, "layers": 1}})
    train.train(root)
    before = weights(root)
    train.train(root)
    assert weights(root) == before
    evaluation.evaluate(root)
    result = predicted(checkpoint.load(root), [CRYSTALS / "mp-149.cif"])
    assert result[0].value is not None
    assert np.isfinite(result[0].value)


def test_a_model_that_reads_words(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "project"))
    set_params(root, train={**SMALL, "text": "words", "words": {"dim": 16, "heads": 2}})
    with pytest.raises(UserError, match="text_tokens"):
        train.train(root)
    stages.run("tokenize", root, "serial")
    shutil.rmtree(Paths(root).table("text_embeddings"))
    train.train(root)
    before = weights(root)
    train.train(root)
    assert weights(root) == before
    evaluation.evaluate(root)
    explain_stage(root)
    rows = tables.read(root, "attributions").to_pylist()
    texts = {row["material_id"]: row["text"] for row in tables.read(root, "descriptions").to_pylist()}
    predicted = {row["material_id"]: row["y_fused"] for row in tables.read(root, "predictions").to_pylist()}
    drawn = {one["predicted"]["name"]: one for one in cards_of(Paths(root).results / "explanations.html")}
    assert set(drawn) == {row["material_id"] for row in rows}
    for material_id in {row["material_id"] for row in rows}:
        mine = [row for row in rows if row["material_id"] == material_id]
        assert {row["kind"] for row in mine} == {"modality", "region", "sentence", "fact", "token", "atom"}
        assert all(texts[material_id][row["start"]:row["end"]] == row["label"] for row in mine if row["end"])
        shares = [row for row in mine if row["kind"] == "region" or row["label"] == "structure"]
        assert shares[0]["reference"] + sum(row["effect"] for row in shares) == pytest.approx(predicted[material_id],
                                                                                            abs=1e-4)
        assert drawn[material_id]["predicted"]["learned"]["value"] == pytest.approx(predicted[material_id], abs=1e-5)
    attention = [row for row in tables.read(root, "attention").to_pylist() if row["layer"] == row["head"] == 0]
    assert sum(row["weight"] for row in attention) == pytest.approx(1.0, abs=1e-5)
    assert "six equivalent" in {" ".join(row["label"].split()[:2]) for row in rows if row["kind"] == "token"}
    assert "mae_shuffled_text" in json.loads((Paths(root).results / "metrics.json").read_text())["test"]
    assert set(checkpoint.load(root).identity.tables) == {"ingest", "split", "tensorize", "describe", "tokenize"}


def test_words_of_a_file_are_those_of_the_table(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "project"))
    set_params(root, train={**SMALL, "text": "words", "words": {"dim": 16, "heads": 2}})
    stages.run("tokenize", root, "serial")
    train.train(root)
    evaluation.evaluate(root)
    model = checkpoint.load(root)
    row = next(row for row in tables.read(root, "predictions").to_pylist() if row["material_id"] == "mp-149")
    described(monkeypatch, lambda _units, _: Batch(
        tables.read(root, "descriptions", ids=["mp-149"]), [0], {}))
    (answer,) = answers(model, [CRYSTALS / "mp-149.cif"])
    result = answer.predicted
    assert result.value == pytest.approx(10 ** row["y_fused"], rel=1e-5)
    assert result.text_only == pytest.approx(10 ** row["y_text_only"], rel=1e-5)
    assert answer.structure is not None
    assert answer.made.description is not None
    card = cards.card(Explainer(Game(model)), answer, {})
    shares = [one for one in card.effects if one["kind"] == "region" or one["label"] == "structure"]
    assert shares[0]["reference"] + sum(one["effect"] for one in shares) == pytest.approx(row["y_fused"], rel=1e-4)
    assert "six equivalent Si(1)" in {one["label"] for one in card.effects}
    described(monkeypatch, no_text)
    assert "no text" in predicted(model, [CRYSTALS / "mp-149.cif"])[0].warnings[-1]


def test_a_pretrained_encoder_is_marked_wherever_it_reports(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "project"))
    set_params(root, train={**SMALL, "encoder": "chgnet", "chgnet": {"dim": 16}})
    stages.run("chgnet", root, "serial")
    with pytest.raises(UserError, match=r"set chgnet\.model"):
        train.train(root)
    set_params(root, chgnet={"model": "0.3.0"})
    stages.run("chgnet", root, "serial")
    train.train(root)
    evaluation.evaluate(root)
    mark = "CHGNet 0.3.0: energies"
    assert json.loads((Paths(root).results / "metrics.json").read_text())["pretrained_on"].startswith(mark)
    assert all(v.startswith(mark) for v in tables.read(root, "predictions")["pretrained_on"].to_pylist())
    assert mark in (Paths(root).results / "report.html").read_text()
    table = {row["material_id"]: row["y_structure_only"] for row in tables.read(root, "predictions").to_pylist()}
    for name in ("mp-149", "mp-22862"):
        result = predicted(checkpoint.load(root), [CRYSTALS / f"{name}.cif"])[0]
        assert result.structure_only == pytest.approx(10 ** table[name], rel=1e-4)


def test_a_model_without_text(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "project"))
    set_params(root, train={**SMALL, "fusion": "structure_only", "loss": {"structure": 0.0, "text": 0.0}})
    shutil.rmtree(Paths(root).table("text_embeddings"))
    train.train(root)
    evaluation.evaluate(root)
    explain_stage(root)
    assert len(tables.read(root, "attributions")) == 0
    test = json.loads((Paths(root).results / "metrics.json").read_text())["test"]
    assert set(test) == {"mae", "mae_low", "mae_high"}
    assert tables.read(root, "predictions")["y_text_only"].null_count == 31
    result = predicted(checkpoint.load(root), [CRYSTALS / "mp-149.cif"])[0]
    assert result.value is not None
    assert (result.text, result.text_only, result.structure_only, result.near_by_text) == (None, None, None, ())


def test_more_neighbours_than_there_are(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "project"))
    set_params(root, train={**SMALL, "encoder": "cgcnn", "cgcnn": {"neighbours": 40}})
    with pytest.raises(UserError, match=r"holds 25: raise tensorize\.neighbours"):
        train.train(root)


def test_a_table_of_another_version(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "footer", lambda _path: {"version": 1})
    with pytest.raises(UserError, match="table 'structures' has version 1, this code reads version 2"):
        loader.load(trained, "k_vrh", "log10", IMAGES)


def test_statistics_come_from_the_training_split_alone(trained: Path) -> None:
    splits = loader.load(trained, "k_vrh", "log10", IMAGES)
    config = checkpoint.load(trained).config
    assert config.target_mean == pytest.approx(splits["train"].targets.mean())
    assert config.target_std == pytest.approx(splits["train"].targets.std())
    assert not set(splits["train"].ids) & set(splits["test"].ids)


def test_a_crystal_without_text_is_kept(trained: Path) -> None:
    splits = loader.load(trained, "k_vrh", "log10", IMAGES)
    everyone = {i: int(n) for split in splits.values() for i, n in zip(split.ids, split.n_texts, strict=True)}
    assert everyone["mp-30"] == 0
    assert len(everyone) == 31
    assert everyone["mp-149"] == 3


def test_the_best_checkpoint_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a validation error that is lowest in epoch 2, the saved weights are those of a run of 2 epochs."""
    root = small_project(tmp_path / "long", train={"epochs": 5, "patience": 2})
    real = fit.predict
    calls = {"n": 0}

    def staged(net: Any, dataset: Dataset, device: Any, **how: Any) -> Any:
        calls["n"] += 1
        result = real(net, dataset, device, **how)
        offset = {1: 5.0, 2: 0.0}.get(calls["n"], 9.0)
        return {name: values * 0 + offset for name, values in result.items()}

    monkeypatch.setattr(fit, "predict", staged)
    train.train(root)
    stopped_after = calls["n"]
    best = weights(root)
    monkeypatch.setattr(fit, "predict", real)
    set_params(root, train={"epochs": 2, "patience": 5})
    monkeypatch.setattr(fit, "_loop", _last_instead_of_best(fit._loop))
    train.train(root)
    assert stopped_after == 4
    assert weights(root) == best


def _last_instead_of_best(loop: Any) -> Any:
    """The loop, with a validation error that falls in every epoch."""
    def wrapped(*arguments: Any) -> Any:
        real, falling = train.predict, iter(range(100, 0, -1))
        train.predict = lambda *a, **how: {k: v * 0 + next(falling) for k, v in real(*a, **how).items()}
        try:
            return loop(*arguments)
        finally:
            train.predict = real
    return wrapped


@pytest.mark.parametrize(("section", "message"), [
    ({"target": "k_vhr"}, "no crystal has 'k_vhr'; there is k_vrh, g_vrh"),
    ({"target": "band_gap"}, "no crystal has 'band_gap'"),
])
def test_a_target_that_is_not_there(trained: Path, section: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        loader.load(trained, section["target"], "none", IMAGES)


def test_log_of_zero_is_refused_and_zero_is_a_value(tmp_path: Path) -> None:
    root = small_project(tmp_path / "p")
    path = root / "data" / "input" / "properties.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",tc", *(line + f",{k % 3}" for k, line in enumerate(lines[1:]))]) + "\n")
    stages.run("ingest", root, "serial")
    assert sum(value == 0 for value in targets.read_targets(root, "tc", "none").values()) == 11
    with pytest.raises(UserError, match="log10 needs positive values, but tc of"):
        targets.read_targets(root, "tc", "log10")


def test_no_model_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no trained model yet"):
        checkpoint.load(tmp_path)


def test_the_model_remembers_how_its_tables_were_made(tmp_path: Path) -> None:
    """Not what params.yaml says by now."""
    root = small_project(tmp_path / "p", train={"epochs": 1}, tensorize={"reach": 30.0})
    set_params(root, tensorize={"reach": 60.0})
    train.train(root)
    assert checkpoint.load(root).identity.params("tensorize").reach == 30.0


def test_training_that_diverges_is_one_line(tmp_path: Path) -> None:
    root = small_project(tmp_path / "p", train={"learning_rate": 100.0, "weight_decay": 1.0, "epochs": 12,
                                                "warmup_steps": 0})  # each step makes the weights some 99 times larger
    with pytest.raises(UserError, match=r"training diverged in epoch \d+: .*lower train\.learning_rate \(100\)"):
        train.train(root)


@pytest.mark.parametrize("damage", [
    lambda content: bytes(len(content)),
    lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    lambda content: content[:len(content) // 2],
    lambda content: re.sub(rb'(target_mean\\": -?)(\d)', lambda m: m[1] + bytes([m[2][0] ^ 1]), content),
])
def test_a_damaged_model(trained: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = checkpoint.path_of(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(damage(checkpoint.path_of(trained).read_bytes()))
    with pytest.raises(UserError, match=r"damaged.*train again"):
        checkpoint.load(tmp_path)
    shutil.copy(checkpoint.path_of(trained).with_name("sums.json"), path.parent)  # a whole folder says it first
    with pytest.raises(Damaged, match=rf"{path} is damaged .*repair"):
        checkpoint.load(tmp_path)
    path.unlink()
    with pytest.raises(Damaged, match="it is missing"):
        checkpoint.load(tmp_path)


def test_a_model_is_written_whole(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks off in the middle of saving leaves the old model, weights and all that belongs to them."""
    shutil.copytree(Paths(trained).model, Paths(tmp_path).model)
    old = checkpoint.load(tmp_path)
    before = checkpoint.path_of(tmp_path).read_bytes()

    def breaks_off(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:1000])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, old.net, replace(old.config, unit="eV"))
    assert checkpoint.path_of(tmp_path).read_bytes() == before
    assert sorted(path.name for path in Paths(tmp_path).model.iterdir()) == [
        "background.parquet", "crystals.parquet", "learning_curve.csv", checkpoint.MODEL, "sums.json",
        "training_set.json"]
    assert not list(Paths(tmp_path).data.glob(".model.*"))
