"""Each ingredient of a model's identity, changed, is refused by everything that uses the model or goes on with it."""

import importlib.metadata
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import UserError
from features.paths import Paths
from features.registry import view_of
from features.store import tables
from model import checkpoint, identity
from model.checkpoint import Trained
from model.evaluation import stage as evaluation
from model.explain import explain_stage
from model.identity import Identity
from model.training import fit, train
from pipelines.engine import stages
from tests.conftest import CRYSTALS, set_params
from tests.damage import republish
from tests.model.small import described, no_text, predicted, small_project

STAGES = ("ingest", "split", "tensorize", "describe", "embed")
FILE = CRYSTALS / "mp-149.cif"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small_project(tmp_path_factory.mktemp("trained"), train={"epochs": 1})
    train.train(root)
    return root


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project"))


class AboutToTrainError(Exception):
    """Raised in place of training."""


def state_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a training run of this project would keep its state, and look for one to go on from."""
    paths = []

    def loop(_run: Any, resume: Any) -> None:
        paths.append(resume.path)
        raise AboutToTrainError

    with monkeypatch.context() as patch:
        patch.setattr(fit, "_loop", loop)
        with pytest.raises(AboutToTrainError):
            train.train(root)
    return Path(paths[0])


def change_footers(root: Path, table: str, **changes: Any) -> None:
    for path in tables.files(root, table):
        rows = pq.read_table(path)
        footer = json.dumps({**tables.footer(path), **changes})
        republish(rows.replace_schema_metadata({tables.FOOTER: footer.encode()}), path)


OTHER = {"version": 99, "params": {"reach": 10.0}, "libraries": {"spglib": "0.0"}, "digest": "other",
         "inputs_digest": "other"}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("ingredient", OTHER)
def test_what_a_footer_says(project: Path, monkeypatch: pytest.MonkeyPatch, stage: str, ingredient: str) -> None:
    before = state_of(project, monkeypatch)
    table = view_of(stage).name
    change_footers(project, table, **{ingredient: OTHER[ingredient]})
    for consumer in (evaluation.evaluate, explain_stage):
        with pytest.raises(UserError, match=f"the model was trained on other tables .{table}: "):
            consumer(project)
    if ingredient == "version" and stage in ("tensorize", "embed"):
        with pytest.raises(UserError, match="has version 99"):
            train.train(project)
    else:
        assert state_of(project, monkeypatch) != before


def another_crystal(root: Path) -> None:
    """Another CIF under the same id."""
    shutil.copy(CRYSTALS / "mp-48.cif", root / "data/input/mp-149.cif")
    for stage in ("ingest", "tensorize", "split"):
        stages.run(stage, root, "serial")


def another_label(root: Path) -> None:
    path = root / "data/input/properties.csv"
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("k_vrh")
    cells = lines[1].split(",")
    cells[column] = "1234.5"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    stages.run("ingest", root, "serial")


def more_texts(root: Path) -> None:
    set_params(root, paraphrase={"variants": 1})
    for stage in ("paraphrase", "embed"):
        stages.run(stage, root, "serial")


def another_reach(root: Path) -> None:
    set_params(root, tensorize={"reach": 10.0})
    stages.run("tensorize", root, "serial")


def served_texts(root: Path) -> None:
    for path in tables.files(root, "descriptions"):
        rows = pq.read_table(path)
        place = rows.schema.get_field_index("source")
        writer = pa.array(["materials_project"] * len(rows), pa.string())
        republish(rows.set_column(place, rows.schema.field(place), writer), path)


@pytest.mark.parametrize(("change", "why"), [
    (another_crystal, "materials: other inputs; splits: other inputs; structures: other inputs"),
    (another_label, "materials: other inputs"),
    (more_texts, "text_embeddings: other inputs"),
    (another_reach, r"structures: tensorize\.reach 60\.0 → 10\.0"),
    (served_texts, "descriptions: written by computed → materials_project"),
])
def test_what_a_user_does(project: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None],
                          why: str) -> None:
    before = state_of(project, monkeypatch)
    change(project)
    assert state_of(project, monkeypatch) != before
    for consumer in (evaluation.evaluate, explain_stage):
        with pytest.raises(UserError, match=f"trained on other tables .{why}.; train again"):
            consumer(project)


def test_other_code_begins_a_run_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state_of(project, monkeypatch)
    monkeypatch.setattr(train, "code_digest", lambda *_packages: "other")
    assert state_of(project, monkeypatch) != before


def test_the_same_again_is_the_same(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state_of(project, monkeypatch)
    for stage in ("ingest", "tensorize", "split", "embed"):
        stages.run(stage, project, "serial")
    assert state_of(project, monkeypatch) == before
    evaluation.evaluate(project)
    explain_stage(project)


def test_parts_that_do_not_agree(project: Path) -> None:
    path = tables.files(project, "structures")[3]
    rows = pq.read_table(path)
    footer = json.dumps({**tables.footer(path), "version": 1})
    republish(rows.replace_schema_metadata({tables.FOOTER: footer.encode()}), path)
    with pytest.raises(UserError, match="parts of table 'structures' were made in different ways"):
        evaluation.evaluate(project)


# From here on: what a prediction needs, which reads no table.


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "split"])
def test_a_prediction_with_another_version_of_a_view(trained: Path, monkeypatch: pytest.MonkeyPatch,
                                                     stage: str) -> None:
    view = replace(view_of(stage), version=98)
    monkeypatch.setattr(identity, "view_of", lambda name: view if name == stage else view_of(name))
    with pytest.raises(UserError, match=f"of '{view.name}', this code makes version 98"):
        predicted(checkpoint.load(trained), [FILE])


@pytest.mark.parametrize(("library", "table"), [("spglib", "descriptions"), ("robocrys", "descriptions"),
                                                ("tokenizers", "text_embeddings")])
def test_a_prediction_with_another_library(trained: Path, monkeypatch: pytest.MonkeyPatch, library: str,
                                           table: str) -> None:
    model = checkpoint.load(trained)
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0" if name == library else real(name))
    with pytest.raises(UserError, match=rf"'{table}' .* cannot be made here \(library.{library} .* → \"0.0\"\)"):
        predicted(model, [FILE])


def test_a_prediction_with_other_weights(trained: Path) -> None:
    model = with_header(checkpoint.load(trained), "embed", digest="0000 float32")
    with pytest.raises(UserError, match=r"'text_embeddings' .* \(other weights or arithmetic\)"):
        predicted(model, [FILE])


def test_a_prediction_from_a_model_of_served_texts(trained: Path) -> None:
    model = checkpoint.load(trained)
    made_from = replace(model.identity, text_writers=("computed", "materials_project"))
    with pytest.raises(UserError, match=r"served by materials_project.*describe\.source: computed"):
        predicted(replace(model, identity=made_from), [FILE])


def test_a_prediction_uses_the_parameters_of_the_training(trained: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of `params.yaml` by now."""
    described(monkeypatch, no_text)
    shutil.copytree(Paths(trained).model, Paths(tmp_path).model)
    (tmp_path / "params.yaml").write_text("tensorize: {reach: 10.0}\n")
    one, other = (predicted(checkpoint.load(root), [FILE])[0] for root in (trained, tmp_path))
    assert one.value == other.value
    short = with_header(checkpoint.load(trained), "tensorize",
                        params=checkpoint.load(trained).identity.tables["tensorize"].header["params"] | {"reach": 10.0})
    assert not np.isclose(predicted(short, [FILE])[0].structure_only or 0, one.structure_only or 0)


def with_header(model: Trained, stage: str, **changes: Any) -> Trained:
    """A model whose features were made in another way."""
    table = model.identity.tables[stage]
    changed = replace(table, header={**table.header, **changes})
    return replace(model, identity=replace(model.identity, tables={**model.identity.tables, stage: changed}))


def test_an_identity_is_read_as_it_was_written(trained: Path) -> None:
    model = checkpoint.load(trained)
    assert Identity.from_dict(json.loads(json.dumps(model.identity.to_dict()))) == model.identity
    assert Identity.of(trained, model.params) == model.identity
