"""Units of the user's own properties reach every label, and decide no row."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from features.__main__ import app
from features.errors import UserError
from features.params import load_section
from features.paths import Paths
from features.registry import view_of
from features.store import tables
from model import checkpoint
from model.evaluation import stage as evaluation
from model.input.targets import unit_of
from model.training import train
from pipelines.engine import stages
from pipelines.params import IngestParams
from tests.conftest import CRYSTALS, set_params
from tests.model.small import described, no_text, predicted, small_project


def test_from_the_parameters_to_every_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_project(tmp_path, train={"epochs": 1})
    head, *rows = (Paths(root).data / "input" / "properties.csv").read_text().splitlines()
    values = "\n".join([f"{head},hardness", *(f"{row},{row.split(',')[1]}" for row in rows)])
    (Paths(root).data / "input" / "properties.csv").write_text(values + "\n")
    set_params(root, train={"target": "hardness"})
    stages.run("ingest", root, "serial")
    footer = tables.footer(tables.files(root, "materials")[0])
    assert "units" not in footer
    set_params(root, ingest={"units": {"hardness": "GPa (HV10)"}})
    stages.run("ingest", root, "serial")
    assert tables.footer(tables.files(root, "materials")[0]) == footer | {"units": {"hardness": "GPa (HV10)"}}
    assert (unit_of(root, "hardness"), unit_of(root, "k_vrh"), unit_of(root, "other")) == ("GPa (HV10)", "GPa", "")
    train.train(root)
    evaluation.evaluate(root)
    metrics = json.loads((Paths(root).results / "metrics.json").read_text())
    assert (metrics["natural_unit"], metrics["unit"]) == ("GPa (HV10)", "log10(GPa (HV10))")
    assert "GPa (HV10)" in (Paths(root).results / "report.html").read_text()
    columns = CliRunner().invoke(app, ["describe", "materials", "--root", str(root)]).stdout
    assert "hardness: GPa (HV10)" in columns
    described(monkeypatch, no_text)
    model = checkpoint.load(root)
    (result,) = predicted(model, CRYSTALS / "mp-149.cif")
    assert model.config.unit == "GPa (HV10)"
    assert result.value is not None


def test_all_that_decides_a_row_reaches_it(tmp_path: Path) -> None:
    bounds = {"max_sites": 4000, "max_operations": 100, "memory_mb": 1000}
    written = {"contradictions": "keep", "timeout_s": 7.0, "units": {"hardness": "GPa"}, **bounds}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"ingest": written}))
    assert stages.params_of("ingest", tmp_path).model_dump() == written


def test_a_unit_decides_no_row() -> None:
    view = view_of("ingest")
    assert view.header(view.params(units={"hardness": "GPa"})) == view.header(view.params())


@pytest.mark.parametrize(("units", "message"), [
    ({"k_vrh": "kbar"}, "k_vrh is a property of the Materials Project and in GPa"),
    ({"hardness": ""}, "the unit of hardness is a short text"),
    ({"hardness": "G" * 30}, "the unit of hardness is a short text"),
    ({"hardness": "G\nPa"}, "the unit of hardness is a short text"),
])
def test_units_that_are_none(tmp_path: Path, units: dict[str, str], message: str) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps({"ingest": {"units": units}}))
    with pytest.raises(UserError, match=message):
        load_section(tmp_path, "ingest", IngestParams)
