"""The real mp-api client against a stand-in server that speaks its protocol, with faults and a second version."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import UserError
from features.paths import Paths
from features.store import tables
from pipelines.engine import stages
from pipelines.engine.plan import Step, plan
from pipelines.params import MaterialsProjectParams
from pipelines.sources import moment, read_units
from pipelines.sources.materials_project import client as client_module
from pipelines.sources.materials_project import documents
from pipelines.sources.materials_project.client import id_chunks
from pipelines.sources.materials_project.pull import Pull
from tests.conftest import CRYSTALS, make_project, set_params
from tests.pipelines.sources.materials_project_server import (
    ADDED,
    ALWAYS_DEPRECATED,
    KEY,
    NEW,
    NON_COMMERCIAL,
    OLD,
    Database,
    Fault,
    params,
    project,
    units,
)

ALL = {path.stem for path in CRYSTALS.glob("*.cif")}


def test_a_pull_has_structures_properties_and_provenance(tmp_path: Path, server: Database) -> None:
    found = units(tmp_path, params(server))
    assert {i for i, unit in found.items() if unit["error"] is None} == ALL - {ADDED}
    silicon = found["mp-149"]
    assert json.loads(silicon["properties"]) == {
        "band_gap": 0.0, "energy_above_hull": 0.0, "k_voigt": 84.0113, "k_reuss": 82.0113, "k_vrh": 83.0113,
        "g_voigt": 62.161, "g_reuss": 60.161, "g_vrh": 61.161}
    assert silicon["last_updated"] == "2024-11-13T08:30:00.123000+00:00"
    assert (silicon["source"], silicon["source_version"]) == ("materials_project", OLD)
    assert silicon["license"] == "CC-BY-4.0"
    assert silicon["citation"] == "10.1038/sdata.2015.9 10.1063/1.4812323"
    content = json.loads(silicon["structure"])
    assert content.keys() == {"lattice", "sites"}
    assert [site["species"] for site in content["sites"]] == [[{"element": "Si", "occu": 1}]] * 8
    assert all(request.key == KEY for request in server.asked)  # none past our session, which has the time-outs
    assert {request.path for request in server.asked} == {"/heartbeat", "/materials/summary/"}


def test_the_table_has_the_columns(tmp_path: Path, server: Database) -> None:
    root = project(tmp_path, server, filters={"elements": ["Si"]})
    stages.run("ingest", root, "serial")
    rows = {row["material_id"]: row for row in tables.read(root, "materials").to_pylist()}
    assert rows["mp-149"]["last_updated"].isoformat() == "2024-11-13T08:30:00.123000"
    assert rows["mp-149"]["reduced_formula"] == "Si"
    assert rows["mp-149"]["k_vrh"] == 83.0113
    assert rows["mp-149"]["license"] == "CC-BY-4.0"
    assert all("Si" in row["elements"] for row in rows.values())
    # the same crystal as from its CIF
    other = make_project(tmp_path / "cif", only=sorted(rows))
    stages.run("ingest", other, "serial")
    assert {row["material_id"]: row["structure_hash"] for row in tables.read(other, "materials").to_pylist()} == \
        {material_id: row["structure_hash"] for material_id, row in rows.items()}


def test_non_commercial_rows_only_if_asked_for(tmp_path: Path, server: Database) -> None:
    assert NON_COMMERCIAL not in units(tmp_path, params(server))
    assert {search["batch_id_not_eq"] for search in server.searches()} == {"gnome_r2scan_statics"}
    asked_for = units(tmp_path, params(server, include_gnome=True))[NON_COMMERCIAL]
    assert asked_for["license"] == "CC-BY-NC-4.0"
    assert "10.1038/s41586-023-06735-9" in asked_for["citation"]
    assert asked_for["error"] is None


def test_a_server_that_gives_no_non_commercial_rows_although_asked(tmp_path: Path, server: Database,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    units(tmp_path, params(server, include_gnome=True))
    assert "accepted the terms" not in capsys.readouterr().err
    units(tmp_path, params(server, include_gnome=True, filters={"elements": ["Si"]}))
    assert "accepted the terms" in capsys.readouterr().err


def test_ids_are_the_same_in_numbers_and_in_letters(tmp_path: Path, server: Database) -> None:
    clean = units(tmp_path / "numbers", params(server))
    server.letters = True
    assert units(tmp_path / "letters", params(server)) == clean
    assert {i for chunk in server.structure_requests() for i in chunk} <= ALL


def test_a_batch_that_the_server_does_not_hold_back_is_dropped_here(tmp_path: Path, server: Database,
                                                                    versions: dict[str, Any]) -> None:
    leaky = [{**made, "builder_meta": {**made["builder_meta"], "batch_id": None}} for made in versions[OLD]]
    server.versions = {OLD: leaky}
    assert NON_COMMERCIAL not in units(tmp_path, params(server))


def test_what_was_withdrawn_is_a_reject_with_the_reason(tmp_path: Path, server: Database) -> None:
    root = project(tmp_path, server)
    report = stages.run("ingest", root, "serial")
    assert (report.wanted, report.rejected) == (len(ALL), 1)
    assert pq.read_table(Paths(root).rejects("materials")).to_pylist() == [
        {"view": "materials", "material_id": ALWAYS_DEPRECATED, "error": "deprecated",
         "message": "the Materials Project has withdrawn it: no valid calculation"}]


def test_filters_and_fields(tmp_path: Path, server: Database) -> None:
    found = units(tmp_path, params(server, fields=["k_vrh", "is_metal"],
                                   filters={"k_vrh": [100, None], "num_sites": [1, 4], "has_props": ["elasticity"]}))
    assert found
    for unit in found.values():
        values = json.loads(unit["properties"])
        assert values.keys() == {"k_vrh", "is_metal"}
        assert values["k_vrh"] >= 100
        assert values["is_metal"] == 1.0
    search = server.searches()[0]
    assert (search["k_vrh_min"], search["nsites_min"], search["nsites_max"]) == ("100", "1", "4")
    assert "k_vrh_max" not in search


def test_a_list_of_space_groups_is_several_searches(tmp_path: Path, server: Database) -> None:
    found = units(tmp_path, params(server, filters={"spacegroup_number": [225, 12]}))
    assert len(found) == len(ALL)
    assert {search["spacegroup_number"] for search in server.searches() if "spacegroup_number" in search} == \
        {"225", "12"}


@pytest.mark.parametrize(("changes", "message"), [
    ({"filters": {"k_vhr": [1, 2]}}, "filters.k_vhr is no filter; did you mean 'k_vrh'?"),
    ({"filters": {"k_vrh": "much"}}, "filters.k_vrh: 'much' is not what the search takes, a number or [lowest, highe"),
    ({"filters": {"crystal_system": "round"}}, "filters.crystal_system: 'round' is not what the search takes"),
    ({"filters": {"has_props": ["beauty"]}}, "'beauty' is not a valid property"),
    ({"filters": {"deprecated": True}}, "filters.deprecated is no filter"),
    ({"filters": {"theoretical": True}}, "refuses the request (400): unknown parameter theoretical"),
    ({"material_ids": ["mp-149", "mp-aaaaaaft"]}, "material_ids: write mp-149 for mp-aaaaaaft"),
    ({"fields": ["symmetry"]}, "'symmetry' is no numeric field"),
    ({"fields": ["bandgap"]}, "did you mean 'band_gap'?"),
])
def test_a_bad_query_is_one_clear_line(tmp_path: Path, server: Database, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        units(tmp_path, params(server, **changes))
    assert message in str(error.value)


@pytest.mark.parametrize(("changes", "message"), [
    ({"endpoint": "http://api.example.org/"}, "not encrypted"),
    ({"endpoint": "https://me:secret@api.example.org/"}, "without user"),
    ({"endpoint": "ftp://x"}, "no web address"),
    ({"database_version": "../../x"}, "no database version"),
    ({"material_ids": ["../x"]}, "no id"),
])
def test_unsafe_parameters(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaterialsProjectParams.model_validate(changes)


@pytest.mark.parametrize("kind", ["429", "500", "503", "truncated", "dropped", "closed", "short"])
def test_a_fault_that_passes_changes_nothing(tmp_path: Path, server: Database, kind: str) -> None:
    clean = units(tmp_path / "clean", params(server))
    for after in (0, 3, 9):
        server.faults.append(Fault(kind, times=2, after=after))
    assert units(tmp_path / "faulty", params(server)) == clean
    assert not [fault for fault in server.faults if fault.times]


def test_slow_answers_are_asked_for_again(tmp_path: Path, server: Database) -> None:
    clean = units(tmp_path / "clean", params(server))
    server.slow_s = 1.5
    server.faults += [Fault("slow"), Fault("slow", after=5)]
    assert units(tmp_path / "faulty", params(server, timeout_s=0.5)) == clean


@pytest.mark.parametrize("kind", ["500", "dropped", "truncated"])
def test_a_heartbeat_with_a_hiccup(tmp_path: Path, server: Database, kind: str) -> None:
    server.faults += [Fault(kind, path="/heartbeat"), Fault(kind, after=1, path="/heartbeat")]
    assert len(units(tmp_path, params(server))) == len(ALL)


@pytest.mark.parametrize(("kind", "message"), [
    ("429", "answers 429, asked 3 times"), ("truncated", "gives broken JSON"), ("dropped", "breaks off"),
    ("short", "gives 9 documents where it counts 10, asked 3 times"),
    ("other", "gives something else than documents"), ("403", "refuses the request (403): upstream request failed"),
    ("401", "does not accept the key in MP_API_KEY"), ("302", "sends us elsewhere"), ("404", "(404): upstream"),
])
def test_a_fault_that_stays_is_one_clear_line(tmp_path: Path, server: Database, kind: str, message: str) -> None:
    server.faults.append(Fault(kind, times=1000))
    with pytest.raises(UserError) as error:
        units(tmp_path, params(server))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_pull_goes_on_at_the_chunk_where_it_broke(tmp_path: Path, server: Database) -> None:
    clean = units(tmp_path / "clean", params(server, chunk_size=1))
    chunks = server.structure_requests()
    assert chunks == [[i] for i in sorted(ALL - {ADDED})]
    listing = len(server.searches()) - len(chunks)
    server.asked.clear()
    server.faults.append(Fault("500", times=1000, after=listing + 26))
    with pytest.raises(UserError, match="what was pulled is stored, run the command again to go on"):
        units(tmp_path / "broken", params(server, chunk_size=1))
    assert server.structure_requests()[:27] == chunks[:27]
    server.faults.clear()
    server.asked.clear()
    assert units(tmp_path / "broken", params(server, chunk_size=1)) == clean
    assert server.structure_requests() == chunks[26:]
    assert len(server.searches()) == len(chunks[26:])  # the listing is not asked for again


def test_a_broken_listing_goes_on_at_its_page(tmp_path: Path, server: Database) -> None:
    server.faults.append(Fault("500", times=3, after=2))
    with pytest.raises(UserError, match="answers 500"):
        units(tmp_path, params(server))
    server.asked.clear()
    assert len(units(tmp_path, params(server))) == len(ALL)
    assert [search["_page"] for search in server.searches() if "_page" in search and search["deprecated"] == "False"] \
        == ["3"]


def test_a_finished_pull_needs_neither_key_nor_server(tmp_path: Path, server: Database,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    first = units(tmp_path, params(server))
    server.asked.clear()
    monkeypatch.delenv("MP_API_KEY")
    assert units(tmp_path, params(server)) == first
    assert server.asked == []


def test_a_limit_fetches_no_more_structures_and_a_larger_one_only_adds(tmp_path: Path, server: Database) -> None:
    few = units(tmp_path, params(server, limit=5))
    assert sum(map(len, server.structure_requests())) == 5
    more = units(tmp_path, params(server, limit=12))
    assert sum(map(len, server.structure_requests())) == 12
    assert set(few) < set(more)
    assert len([unit for unit in more.values() if unit["error"] is None]) == 12


def test_many_ids_fit_into_addresses(tmp_path: Path, server: Database) -> None:
    ids = [f"mp-{number}" for number in range(2_000_000, 2_004_000)] + ["mp-149", "mp-19", "mp-.x"]
    found = units(tmp_path, params(server, material_ids=ids, chunk_size=1000))
    assert max(request.length for request in server.asked) < 4000
    assert found["mp-149"]["error"] is None
    assert found["mp-19"]["error"].startswith("deprecated: ")
    assert len(found) == len(ids)
    for unknown in ("mp-2000000", "mp-.x"):
        assert found[unknown]["error"].startswith(f"unknown_id: database version {OLD} has no material")


def test_the_card_names_every_work() -> None:
    card = (Path(documents.__file__).parents[1] / "cards" / "materials_project.md").read_text()
    for doi in (documents.MP_DOI, documents.GNOME_DOI, *(doi for doi, _ in documents.DOIS.values())):
        assert doi in card
    for name in documents.LICENSES.values():
        assert name in card


def test_chunks_of_ids() -> None:
    ids = [f"mp-{number}" for number in range(10_000)]
    chunks = list(id_chunks(ids, 1000))
    assert [material_id for chunk in chunks for material_id in chunk] == ids
    assert max(len("%2C".join(chunk)) for chunk in chunks) <= client_module.LONGEST_IDS
    assert [len(chunk) for chunk in id_chunks(ids, 200)] == [200] * 50
    assert list(id_chunks([], 10)) == []


def test_a_damaged_checkpoint_is_pulled_again(tmp_path: Path, server: Database) -> None:
    clean = units(tmp_path, params(server))
    for path in (tmp_path / "data/.downloads/materials_project").rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:40])
    assert units(tmp_path, params(server)) == clean
    assert not list((tmp_path / "data").rglob("*.tmp"))


def test_a_damage_inside_the_structures_is_mended_in_one_run(tmp_path: Path, server: Database,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    clean = units(tmp_path, params(server))
    folder = tmp_path / "data/.downloads/materials_project/structures"
    path = max(folder.iterdir(), key=lambda path: path.stat().st_size)

    def damage() -> None:
        content = bytearray(path.read_bytes())
        column = pq.ParquetFile(path).metadata.row_group(0).column(2)  # the structures, which are read last
        content[column.dictionary_page_offset + 20] ^= 1
        path.write_bytes(content)

    damage()
    assert units(tmp_path, params(server)) == clean
    read = Pull.with_structures
    with monkeypatch.context() as patch:
        patch.setattr(Pull, "with_structures", lambda *arguments: (damage(), read(*arguments))[1])
        with pytest.raises(UserError, match="was damaged or removed; run again"):  # not a table without these crystals
            units(tmp_path, params(server))
    assert units(tmp_path, params(server)) == clean


def test_an_answer_about_chosen_ids_that_lacks_one_is_asked_for_again(tmp_path: Path, server: Database) -> None:
    chosen = params(server, material_ids=["mp-149", "mp-22862"])
    server.faults.append(Fault("short"))
    assert [unit["error"] for unit in units(tmp_path, chosen).values()] == [None, None]


def test_one_crystal_without_a_structure_stops_nobody(tmp_path: Path, server: Database,
                                                      versions: dict[str, Any]) -> None:
    server.versions = {OLD: [made | {"structure": None} if made["material_id"] == "mp-149" else made
                             for made in versions[OLD]]}
    root = project(tmp_path, server)
    assert stages.run("ingest", root, "serial").rejected == 2
    assert "mp-149" not in tables.read(root, "materials")["material_id"].to_pylist()


def test_a_document_changed_in_secret_is_noticed(tmp_path: Path, server: Database, versions: dict[str, Any]) -> None:
    units(tmp_path, params(server, limit=3))
    server.versions = {OLD: [made | {"last_updated": "2025-01-01T00:00:00Z"} for made in versions[OLD]]}
    with pytest.raises(UserError, match="without a new database version; delete"):
        units(tmp_path, params(server))


def test_two_pulls_at_once_are_told_so(tmp_path: Path, server: Database) -> None:
    pull = Pull(tmp_path, params(server).materials_project, OLD)
    with pull.locked(), pytest.raises(UserError, match="another run is pulling from the Materials Project"):
        units(tmp_path, params(server))


def test_plan_asks_no_server(tmp_path: Path, server: Database) -> None:
    root = project(tmp_path, server)
    assert plan(root)[0] == Step("ingest", None, None, None, ("after it has pulled from the server",))
    assert server.asked == []
    stages.run("ingest", root, "serial")
    assert plan(root)[0].reused == len(ALL)


def test_moments() -> None:
    for value in ("2024-11-13T08:30:00Z", "2024-11-13T09:30:00+01:00", "2024-11-13T08:30:00",
                  {"$date": "2024-11-13T08:30:00Z"}, {"@module": "datetime", "string": "2024-11-13 08:30:00+00:00"}):
        assert moment(value) == "2024-11-13T08:30:00+00:00"
    assert moment(None) is None
    assert moment("yesterday") is None


def test_marks_follow_the_calculation(versions: dict[str, Any]) -> None:
    made = versions[OLD][0]
    mark = documents.mark(made)
    rebuilt = {**made, "builder_meta": {**made["builder_meta"], "database_version": NEW}}
    assert documents.mark(rebuilt) == mark
    assert documents.mark({**made, "volume": made["volume"] + 1e-9}) != mark
    # without the calculation's id, a new build counts as a change
    assert documents.mark({**rebuilt, "origins": None}) != documents.mark({**made, "origins": None})


@pytest.mark.parametrize(("key", "message"), [
    (None, "MP_API_KEY is not set"), ("short", "MP_API_KEY holds 5 characters that are no key"),
    (KEY[:-1] + "X", "does not accept the key in MP_API_KEY"),
])
def test_a_key_that_is_none(tmp_path: Path, server: Database, monkeypatch: pytest.MonkeyPatch, key: str | None,
                            message: str) -> None:
    monkeypatch.delenv("MP_API_KEY")
    if key is not None:
        monkeypatch.setenv("MP_API_KEY", key)
    with pytest.raises(UserError, match=message) as error:
        units(tmp_path, params(server))
    assert key is None or key not in str(error.value)


def test_a_server_that_is_not_there(tmp_path: Path, server: Database) -> None:
    gone = params(server, endpoint="http://127.0.0.1:9/", timeout_s=2.0)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 breaks off or cannot be reached"):
        units(tmp_path, gone)


def test_a_listing_is_a_file_of_its_query(tmp_path: Path, server: Database) -> None:
    one, other = (Pull(tmp_path, params(server, **changes).materials_project, OLD).folder
                  for changes in ({}, {"filters": {"elements": ["Si"]}}))
    assert one != other
    assert one == Pull(tmp_path, params(server, attempts=9, chunk_size=7).materials_project, OLD).folder
    assert isinstance(read_units(params(server, limit=1), tmp_path), pa.Table)
    assert [path.name for path in one.iterdir()] == ["listing.parquet"]


def test_set_params_keeps_working(tmp_path: Path, server: Database) -> None:
    root = project(tmp_path, server)
    set_params(root, ingest={"materials_project": {"databse_version": OLD}})
    with pytest.raises(UserError, match="did you mean 'database_version'"):
        stages.run("ingest", root, "serial")
