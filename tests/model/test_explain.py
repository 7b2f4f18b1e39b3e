"""The stage explain: its tables, their join with the descriptions, and nothing else in the folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from features import catalog
from features.paths import Paths
from features.store import documents, tables
from model import checkpoint
from model.evaluation import stage as evaluation
from model.explain import PAGE, _made_property, explain_stage
from model.explanation.verdicts import FEWEST
from model.forward import load_splits
from model.records import ATTENTION, ATTRIBUTIONS, FACT_EFFECTS, FAITHFULNESS
from model.training import train
from tests.conftest import set_params
from tests.model.small import SMALL_WORDS

TABLES = {"attributions": (ATTRIBUTIONS, ("material_id", "method", "kind", "index")),
          "attention": (ATTENTION, ("material_id", "network", "layer", "head", "sentence")),
          "faithfulness": (FAITHFULNESS, ("method", "test")),
          "fact_effects": (FACT_EFFECTS, ("method", "fact", "label"))}
JOIN = """select a.material_id, a.label, a.effect from attributions a join descriptions d using (material_id)
          where substr(d.text, a.start + 1, a."end" - a.start) = a.label"""


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_their_schemas_and_unique_keys(told: Path, name: str) -> None:
    schema, key = TABLES[name]
    table = tables.read(told, name)
    assert table.schema.remove_metadata() == schema.remove_metadata()
    rows = table.to_pylist()
    assert len(rows) == len({tuple(row[part] for part in key) for row in rows}) > 1
    for path in tables.files(told, name):
        assert tables.footer(path)["view"] == name
    counted = catalog.query(told, f"select count(*) as n from {name}").to_pylist()  # noqa: S608 (a name of ours)
    assert counted == [{"n": len(rows)}]


def test_as_many_crystals_as_asked_for(told: Path) -> None:
    """Of the test split: two with cards, five that test, six over which effects are averaged."""
    test = set(load_splits(told, checkpoint.load(told).params)["test"].ids)
    explained = {row["material_id"] for row in tables.read(told, "attributions").to_pylist()}
    assert len(explained) == 2
    assert explained < test
    assert explained == {row["material_id"] for row in tables.read(told, "attention").to_pylist()}
    of = {(row["method"], row["test"]): row for row in tables.read(told, "faithfulness").to_pylist()}
    assert len(of) == 8
    assert of["replacement", "deletion"]["crystals"] == 5 < FEWEST
    assert {(row["passed"], row["low"]) for row in of.values()} == {(None, None)}
    assert {row["faithful"] for row in tables.read(told, "attributions").to_pylist()} == {None}


def test_attributions_add_up(told: Path) -> None:
    """In SQL, against what evaluation predicts by itself."""
    evaluation.evaluate(told)
    rows = catalog.query(told, """
        select a.material_id, a.method, sum(a.effect) + any_value(a.reference) as together, any_value(p.y_fused) as y
        from attributions a join predictions p using (material_id)
        where (a.method = 'shapley' and (a.kind = 'region' or a.label = 'structure'))
           or (a.method = 'gradients' and a.kind in ('fact', 'atom'))
        group by all""").to_pylist()
    assert len(rows) == 4
    for row in rows:
        # a sum over points of the path is no integral
        assert row["together"] == pytest.approx(row["y"], abs=1e-4 if row["method"] == "shapley" else 0.05)


def test_attributions_join_their_descriptions(told: Path) -> None:
    found = catalog.query(told, JOIN).to_pylist()
    placed = catalog.query(told, "select count(*) as n from attributions where start is not null").to_pylist()
    assert len(found) == placed[0]["n"] > 20
    assert all(np.isfinite(row["effect"]) for row in found)


def test_nothing_else_is_in_the_folder(told: Path) -> None:
    """The file of the methods is of this model, and names those that passed."""
    names = {path.name for path in Paths(told).results.iterdir()}
    assert names - {"metrics.json", "report.html", "parity.csv", "experiments.json"} == {PAGE, "methods.json"}
    content = json.loads((Paths(told).results / "methods.json").read_text())
    assert content["weights_sha256"] == checkpoint.load(told).config.weights_sha256
    assert [one["name"] for one in content["methods"]] == ["shapley", "replacement", "gradients"]
    faithful = {row["method"]: row["faithful"] for row in tables.read(told, "attributions").to_pylist()}
    assert faithful == {one["name"]: one["faithful"] for one in content["methods"]}
    page = (Paths(told).results / PAGE).read_text()
    for row in tables.read(told, "attributions").to_pylist():
        assert row["material_id"] in page


def test_again_is_the_same(told: Path, tmp_path: Path) -> None:
    """Of fewer crystals, the first of them; without tests no method is believed."""
    root = Path(shutil.copytree(told, tmp_path / "project"))
    before = tables.read(told, "attributions").to_pylist()
    set_params(root, explain={"crystals": 1, "tested": 0, "aggregated": 0})
    explain_stage(root)
    after = tables.read(root, "attributions").to_pylist()
    (one,) = {row["material_id"] for row in after}
    same = [{**row, "faithful": None} for row in before if row["material_id"] == one]
    assert [{**row, "faithful": None} for row in after] == same
    assert len(tables.read(root, "fact_effects")) == 0
    assert all((row["crystals"], row["passed"]) == (0, None) for row in tables.read(root, "faithfulness").to_pylist())


@pytest.mark.parametrize("params", [
    {**SMALL_WORDS, "fusion": "structure_only", "loss": {"structure": 0.0, "text": 0.0}}, SMALL_WORDS])
def test_without_text_there_is_nothing_to_explain(told: Path, tmp_path: Path, params: dict[str, object]) -> None:
    """By a model that reads none, or where no test crystal has one: the tables of an earlier run are emptied."""
    root = Path(shutil.copytree(told, tmp_path / "project"))
    if "fusion" in params:
        set_params(root, train={**params, "epochs": 1})
        train.train(root)
        explain_stage(root)
    else:
        with pytest.MonkeyPatch.context() as patch:
            splits = load_splits(root, checkpoint.load(root).params)
            splits["test"].n_texts[:] = 0
            patch.setattr("model.explain.load_splits", lambda *_: splits)
            explain_stage(root)
    for name, (schema, _) in TABLES.items():
        assert len(tables.read(root, name)) == 0
        assert tables.read(root, name).schema.remove_metadata() == schema.remove_metadata()
    content = documents.read(Paths(root).results / "methods.json")
    assert content == {"weights_sha256": checkpoint.load(root).config.weights_sha256, "methods": []}
    assert (Paths(root).results / PAGE).stat().st_size > 0


def test_another_process_makes_the_same_of_the_made_property(worded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.explanation.verdicts.FEWEST", 2)
    trained = checkpoint.load(worded)
    splits = load_splits(worded, trained.params)
    ids = [one for one, texts in zip(splits["test"].ids, splits["test"].n_texts, strict=True) if texts]
    made = []
    for beside in (False, True):
        with _made_property(worded, trained, splits, ids, beside) as recovered:
            made.append(recovered())
    here, there = made
    assert here is not None
    assert there is not None
    assert (there.error, there.chance, there.found.keys()) == (here.error, here.chance, here.found.keys())
    for method, found in here.found.items():
        assert (there.found[method] == found).all()
