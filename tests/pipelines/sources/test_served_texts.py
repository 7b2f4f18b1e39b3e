"""Descriptions that the Materials Project has computed, with what it has none of computed here."""

import json
from pathlib import Path

import pytest

from features.errors import UserError
from features.store import tables
from features.views.descriptions import VIEW, DescribeParams
from pipelines.engine import stages
from pipelines.engine.plan import plan
from pipelines.engine.units import read_units
from pipelines.sources.materials_project.texts import served_by
from tests.conftest import set_params
from tests.pipelines.sources.materials_project_server import NEW, Database, Fault, project

SILICON = ("Si is diamond structured and crystallizes in the cubic Fd-3m space group. Si(1) is bonded to four "
           "equivalent Si(1) atoms to form corner-sharing SiSi4 tetrahedra. All Si(1)-Si(1) bond lengths are 2.36 Å.")


@pytest.fixture
def root(tmp_path: Path, server: Database) -> Path:
    """A project with silicon and rock salt, of which the server describes silicon."""
    server.descriptions = {"mp-149": SILICON, "mp-30": "Copper, which nobody asked for."}
    made = project(tmp_path, server, material_ids=["mp-149", "mp-22862"])
    stages.run("ingest", made, "serial")
    set_params(made, describe={"source": "materials_project"})
    server.asked.clear()
    return made


def texts_asked_for(server: Database) -> list[str]:
    return [request.params["material_ids"] for request in server.asked if request.path == "/materials/robocrys/"]


def test_served_texts_keep_their_provenance_and_missing_ones_are_computed(root: Path, server: Database) -> None:
    assert plan(root)[1].reasons == ("after it has pulled from the server",)
    report = stages.run("describe", root, "serial")
    assert (report.wanted, report.rejected) == (2, 0)
    rows = {row["material_id"]: row for row in tables.read(root, "descriptions").to_pylist()}
    silicon, salt = rows["mp-149"], rows["mp-22862"]
    assert silicon["text"] == SILICON
    assert (silicon["source"], silicon["engine_version"]) == ("materials_project", "emmet-core 0.86.3")
    assert (silicon["mineral"], silicon["dimensionality"], silicon["sites"]) == ("diamond", 3, None)
    assert silicon["sentences"][0]["region"] == "global"
    assert salt["source"] == "computed"
    assert salt["text"].startswith("NaCl is Halite")
    assert len(salt["sites"]) == 2
    assert texts_asked_for(server) == ["mp-149,mp-22862"]
    server.asked.clear()
    assert stages.run("describe", root, "serial").tried == 0  # also what it does not describe is known
    assert server.asked == []


def test_a_broken_pull_of_texts_goes_on(root: Path, server: Database) -> None:
    set_params(root, ingest={"materials_project": {
        "endpoint": server.address, "database_version": server.version, "attempts": 2, "backoff_s": 0.0,
        "material_ids": ["mp-149", "mp-22862"], "chunk_size": 1}})
    units = read_units(VIEW, root).window(0)
    server.faults.append(Fault("503", times=2, after=1, path="/materials/robocrys/"))
    with pytest.raises(UserError, match="answers 503, asked 2 times"):
        served_by(root)(units)
    server.asked.clear()
    served = {row["material_id"]: row["served"] for row in served_by(root)(units).to_pylist()}
    assert texts_asked_for(server) == ["mp-22862"]
    assert served["mp-22862"] is None
    assert json.loads(served["mp-149"])["text"] == SILICON


def test_texts_of_another_version_are_not_taken(root: Path, server: Database) -> None:
    server.move(NEW)
    with pytest.raises(UserError, match="python -m pipelines move-database"):
        served_by(root)


def test_the_choice_alone_recomputes_nothing() -> None:
    assert DescribeParams(source="materials_project").deciding() == DescribeParams().deciding()
