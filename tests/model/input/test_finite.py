"""A target or feature that is no number stops a run with the row's name; in `predict` it costs the crystal alone."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from features.errors import UserError
from features.paths import Paths
from features.store import sums, tables
from model import checkpoint
from model.evaluation import stage as evaluation
from model.input import loader, targets
from model.input.batch import IMAGES, NEIGHBOURS, Crystals
from model.prediction.predictor import Predictor
from model.training import trees
from tests.conftest import CRYSTALS
from tests.model.small import described, no_text, predicted

Change = Callable[[Any], Any]


def spoiled(project: Path, to: Path, table: str, column: str, crystal: str, change: Change) -> Path:
    """A copy of a project in which a cell of a table holds what `change` makes of it."""
    root = Path(shutil.copytree(project, to))
    for path in tables.files(root, table):
        content = pq.read_table(path)
        cells = [change(cell) if one == crystal else cell for one, cell in zip(
            content["material_id"].to_pylist(), content[column].to_pylist(), strict=True)]
        at = content.schema.get_field_index(column)
        pq.write_table(content.set_column(at, content.schema.field(at), pa.array(cells, content.schema.field(at).type)),
                       path)
    sums.write(Paths(root).table(table))  # damage would be told by them; this is what a view may have made
    return root


def first_of(value: float) -> Change:
    """The first number of a list, of lists perhaps, replaced."""
    def change(cell: list[Any]) -> list[Any]:
        return [change(cell[0]) if isinstance(cell[0], list) else value, *cell[1:]]

    return change


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_target_that_is_no_number(project: Path, tmp_path: Path, value: float, said: str) -> None:
    root = spoiled(project, tmp_path / "p", "materials", "k_vrh", "mp-149", lambda _: value)
    with pytest.raises(UserError, match=f"k_vrh of mp-149 in the table materials is {said}, which is no number"):
        targets.read_targets(root, "k_vrh", "log10")
    assert targets.read_targets(root, "g_vrh", "log10")["mp-149"] > 0


@pytest.mark.parametrize(("table", "column", "value", "said"), [
    ("structures", "edge_distance", np.nan, "edge_distance of mp-149 in the table structures holds nan"),
    ("structures", "near_vector", np.inf, "near_vector of mp-149 in the table structures holds inf"),
    ("structures", "axis_weight", -np.inf, "axis_weight of mp-149 in the table structures holds -inf"),
    ("text_embeddings", "sentence_vectors", np.nan,
     "sentence_vectors of mp-149, variant 0, in the table text_embeddings holds nan"),
])
def test_a_feature_that_is_no_number(project: Path, tmp_path: Path, table: str, column: str, value: float,
                                     said: str) -> None:
    root = spoiled(project, tmp_path / "p", table, column, "mp-149", first_of(value))

    def read() -> None:
        for split in loader.load(root, "k_vrh", "log10", (*IMAGES, *NEIGHBOURS)).values():
            list(split.batches(split.plan(4)))

    with pytest.raises(UserError, match=said):
        read()


def test_a_number_of_a_text_that_is_infinite(worded: Path, tmp_path: Path) -> None:
    """A token without a number holds NaN."""
    root = spoiled(worded, tmp_path / "p", "text_tokens", "token_values", "mp-149", first_of(np.inf))
    with pytest.raises(UserError, match="token_values of mp-149, variant 0, in the table text_tokens holds inf"):
        loader._words(root, pa.array(["mp-30", "mp-22862", "mp-149"]))
    assert np.isnan(loader._words(root, pa.array(["mp-22862"])).values).any()


def test_vectors_of_atoms_are_named_by_their_table() -> None:
    crystals = Crystals.of([{"atomic_numbers": [1, 1], "orbit": [0, 1], "atom_vectors": np.ones((2, 4)).ravel()}
                            for _ in range(3)])
    crystals.values["atom_vectors"][9] = np.inf
    from model.input.finite import require_rows

    with pytest.raises(UserError, match=r"atom_vectors of b in the table chgnet_atoms holds inf.*pipelines chgnet"):
        require_rows("chgnet", crystals.values, crystals.starts, lambda row: "abc"[row])


def test_a_loss_that_is_no_number_names_its_crystal(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.model.training.test_train import a_net, a_run, batches

    run = a_run(project, a_net(project))
    (batch, *_) = batches(run, 4)
    forward = run.net.forward

    def overflows(*arguments: Any) -> Any:
        made = forward(*arguments)
        return made._replace(structure=made.structure * torch.tensor([1.0, torch.inf, 1.0, 1.0]))

    monkeypatch.setattr(run.net, "forward", overflows)
    before = {name: value.clone() for name, value in run.net.state_dict().items()}
    with pytest.raises(UserError, match=f"epoch 3: the loss of {run.training.ids[batch.row[1]]} is not a number"):
        run._step([batch], 2)
    assert all(torch.equal(value, before[name]) for name, value in run.net.state_dict().items())


def test_weights_that_are_no_numbers_are_said_to_be(project: Path) -> None:
    from tests.model.training.test_train import a_net, a_run, batches

    run = a_run(project, a_net(project))
    with torch.no_grad():
        run.net.head_fused[0].weight[0, 0] = torch.nan
    with pytest.raises(UserError, match="every other crystal, since weights of the network are no numbers"):
        run._step(batches(run, 4)[:1])


def test_what_trees_are_told(worded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = loader.load(worded, "k_vrh", "log10", IMAGES, words=True)["train"]
    facts = trees.TextFacts.__call__

    def overflows(self: Any, batch: Any) -> Any:
        made = facts(self, batch)
        made[2, 0] = torch.inf
        return made

    monkeypatch.setattr(trees.TextFacts, "__call__", overflows)
    with pytest.raises(UserError, match=f"the text of {split.ids[2]} is no number"):
        trees.read(split)


def test_a_model_that_predicts_no_numbers_is_not_evaluated(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = evaluation.predict_all

    def overflows(*arguments: Any) -> Any:
        values = made(*arguments)
        values["fused"][1] = np.inf
        return values

    metrics = trained / "data" / "results" / "metrics.json"
    before = metrics.read_bytes()
    monkeypatch.setattr(evaluation, "predict_all", overflows)
    with pytest.raises(UserError, match=r"the prediction for mp-\d+ is not a number \(1 such crystals of the split"):
        evaluation.evaluate(trained)
    assert metrics.read_bytes() == before


def test_predict_costs_the_crystal_alone(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, no_text)
    model = checkpoint.load(trained)
    read, calibrated = Predictor._read, Crystals.from_table
    count = 0

    def spoils(table: Any) -> Crystals:
        nonlocal count
        crystals, count = calibrated(table), count + 1
        if count == 2:
            crystals.values["edge_distance"] = np.full_like(crystals.values["edge_distance"], np.nan)
        return crystals

    monkeypatch.setattr(Crystals, "from_table", staticmethod(spoils))
    files = [str(CRYSTALS / f"{name}.cif") for name in ("mp-149", "mp-30", "mp-22862")]
    assert [one.error for one in predicted(model, files)] == [
        None, "number: its edge_distance holds nan, which is no number", None]

    def overflows(self: Predictor, made: Any) -> Any:
        made, structure, text = read(self, made)
        return made, replace(structure, images_read=replace(
            structure.images, nearest=structure.images.nearest * torch.nan, distance=structure.images.distance)), text

    monkeypatch.undo()
    described(monkeypatch, no_text)
    monkeypatch.setattr(Predictor, "_read", overflows)
    (one,) = predicted(model, files[:1])
    assert one.error == "number: what the model predicts for it is not a number"


