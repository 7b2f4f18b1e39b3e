"""A model's training set beside it, and its metrics once more from these rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import features
from features import __main__ as commands
from features.errors import UserError
from features.paths import Paths
from features.store import documents, sums, tables
from features.store.sums import Damaged
from features.training_sets import TrainingSet
from model import checkpoint, inference, training_rows
from model.evaluation.reproduce import compared, reproduce
from tests.model.small import publish


@pytest.fixture(scope="module")
def chosen(trained: Path) -> TrainingSet:
    return training_rows.read(Paths(trained).model, trained)


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project"))


def test_a_model_says_what_it_was_trained_on(trained: Path, chosen: TrainingSet) -> None:
    model = checkpoint.load(trained)
    views, optional = training_rows.read_by(model.params)
    asked = features.training_set("k_vrh", views, root=trained, optional=optional)
    assert (asked.name, asked.digest, asked.split_of) == (chosen.name, chosen.digest, chosen.split_of)
    assert chosen.sizes == model.config.split_sizes
    assert {name: view.rows for name, view in chosen.views.items()} == {
        "materials": 31, "structures": 31, "text_embeddings": 90}  # a crystal without text, the others with three


def test_the_rows_of_a_set_side_by_side(trained: Path) -> None:
    chosen = features.training_set("k_vrh", ["structures.n_edges", "text_embeddings.pooled", "descriptions.source",
                                             "materials.source"],
                                   root=trained, optional=["text_embeddings", "descriptions"])
    rows = {row["material_id"]: row for row in chosen.table().to_dicts()}
    assert list(rows) == chosen.rows["material_id"].to_pylist()
    assert rows["mp-30"]["pooled"] is None
    assert (rows["mp-149"]["descriptions.source"], rows["mp-149"]["materials.source"]) == ("computed", "folder")
    vectors = {(row["material_id"], row["variant"]): row["pooled"]
               for row in tables.read(trained, "text_embeddings", ["material_id", "variant", "pooled"]).to_pylist()}
    edges = dict(zip(*tables.read(trained, "structures", ["material_id", "n_edges"]).to_pydict().values(), strict=True))
    assert all(row["pooled"] == vectors.get((i, 0)) and row["n_edges"] == edges[i] for i, row in rows.items())
    wordings = chosen.table("test", variants=True).to_dicts()
    assert {(row["material_id"], row["variant"]) for row in wordings} == {
        key for key in vectors if chosen.split_of[key[0]] == "test"}
    assert all(row["pooled"] == vectors[row["material_id"], row["variant"]] for row in wordings)
    tensors = chosen.torch("test")
    assert tensors["pooled"].shape == (chosen.sizes["test"], 384)
    assert tensors["target"].tolist() == [row["target"] for row in rows.values() if row["split"] == "test"]
    ragged = features.training_set("k_vrh", ["structures.edge_distance"], root=trained).torch("test")
    assert np.diff(ragged["edge_distance.starts"]).tolist() == [
        edges[i] for i in rows if chosen.split_of[i] == "test"]


def test_the_same_metrics_from_the_same_rows(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    reproduce(copied, at="work")
    said = capsys.readouterr().err
    assert "structures, text_embeddings are those that it was trained on" in said
    assert "values of metrics.json are the same to the last bit" in said
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before
    path = Paths(copied).results / "metrics.json"
    metrics: dict[str, Any] = documents.read(path) or {}
    metrics["test"]["mae"] += 1e-9
    documents.write(path, metrics)
    with pytest.raises(UserError, match=r"values of metrics\.json 1 are others now"):
        reproduce(copied)
    assert f"test.mae is {metrics['test']['mae'] - 1e-9}"[:20] in capsys.readouterr().err
    reproduce(copied, within=1e-6)
    path.unlink()
    with pytest.raises(UserError, match="nothing to compare with"):
        reproduce(copied)


def test_other_rows_are_named(copied: Path, chosen: TrainingSet, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tables.read(copied, "structures").to_pylist()
    next(row for row in rows if row["material_id"] == "mp-149")["edge_distance"][0] += 1e-3
    publish(copied, "tensorize", [row for row in rows if row["material_id"] != "mp-2700"])
    with pytest.raises(UserError, match=r"the tables do not hold the training set of the model: 3 differences"):
        reproduce(copied)
    said = capsys.readouterr().err
    assert "structures has 30 rows of these crystals, and had 31" in said
    assert "the row of mp-149 in structures is another one" in said
    assert "the row of mp-2700 in structures is another one" in said
    with pytest.raises(UserError, match=f"the tables are not those of {chosen.name}"):
        TrainingSet.load(Paths(copied).model / training_rows.NAME, copied).table()
    shutil.rmtree(Paths(copied).table("structures"))
    with pytest.raises(UserError, match="1 difference;"):
        reproduce(copied)


def test_a_set_of_another_model_is_damaged(copied: Path) -> None:
    path = Paths(copied).model / training_rows.NAME
    path.write_text(path.read_text().replace('"target":"k_vrh"', '"target":"g_vrh"'))
    with pytest.raises(UserError, match="is damaged"):
        reproduce(copied)
    sums.write(path.parent)
    with pytest.raises(UserError, match="does not hold the set that it names"):
        reproduce(copied)
    path.unlink()
    with pytest.raises(Damaged, match="it is missing"):
        reproduce(copied)
    sums.write(path.parent)  # as an earlier version has left it
    with pytest.raises(UserError, match="kept no training set; train again"):
        reproduce(copied)
    checkpoint.load(copied)


def test_metrics_are_compared_leaf_by_leaf() -> None:
    before = {"a": 1.0, "b": {"c": [1.0, None]}, "d": "x"}
    assert compared(before, {"a": 1.0, "b": {"c": [1.0, None]}, "d": "x"}) == (4, [])
    assert compared(before, {"a": 1.5, "b": {"c": [1.25, 2.0]}}) == (4, [
        "b.c.1 is 2.0, and was None", "d is None, and was x", "a is 1.5, and was 1.0, by 0.5",
        "b.c.0 is 1.25, and was 1.0, by 0.25"])
    assert compared(before, {**before, "a": 1.5}, within=0.5) == (4, [])


def test_the_command(trained: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        return CliRunner().invoke(commands.app, ["training-set", "--target", "k_vrh", "--root", str(trained),
                                                 *arguments], catch_exceptions=False).stdout

    name = features.training_set("k_vrh", root=trained).name
    said = run("--out", str(tmp_path / "set.json"))
    assert said.startswith(f"{name}: 30 crystals (train ")
    assert "1 crystal has no row in descriptions" in said
    assert TrainingSet.load(tmp_path / "set.json").name == name
    assert json.loads(run("--format", "json"))["name"] == name
    assert run("--format", "csv").splitlines()[0] == "material_id,group,fold,split,target"
    run("--out", str(tmp_path / "rows.parquet"), "--views", "structures")
    import polars as pl

    assert pl.read_parquet(tmp_path / "rows.parquet").equals(
        features.training_set("k_vrh", ["structures"], root=trained).table())
    with pytest.raises(UserError, match="--out"):
        run("--out", str(tmp_path / "rows.csv"))


def test_a_model_of_a_revision(trained: Path, tmp_path: Path) -> None:
    found = inference.load(Paths(trained).model, at="work")
    assert found.trained.config.weights_sha256 == checkpoint.load(trained).config.weights_sha256
    with pytest.raises(UserError, match="is in no git repository"):
        inference.load(Paths(trained).model, at="v1")
    with pytest.raises(UserError, match="is not the folder data/model of a project"):
        inference.load(tmp_path, at="v1")
