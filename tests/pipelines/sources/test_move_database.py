"""The pinned version of the database: another one on the server, moving to it, and what the commands say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from features.errors import UserError
from features.paths import Paths
from features.store import tables
from pipelines.__main__ import app
from pipelines.engine import stages
from pipelines.sources import read_units
from pipelines.sources.materials_project.move import Move, move, pin
from tests.pipelines.sources.materials_project_server import (
    ADDED,
    ALWAYS_DEPRECATED,
    KEY,
    NEW,
    OLD,
    QUICK,
    REMOVED,
    RESHAPED,
    REVALUED,
    WITHDRAWN,
    Database,
    params,
    project,
    units,
)


def test_another_version_names_the_command_to_move(tmp_path: Path, server: Database) -> None:
    server.move(NEW)
    with pytest.raises(UserError) as error:
        units(tmp_path, params(server))
    assert str(error.value) == (f"ingest.materials_project.database_version is {OLD}, but the server has {NEW} and no "
                                "other: `python -m pipelines move-database` moves to it")
    with pytest.raises(UserError, match="is not set; `python -m pipelines move-database` pins the version"):
        units(tmp_path, params(server, database_version=None))


def test_a_version_that_comes_in_the_middle_of_a_pull(tmp_path: Path, server: Database) -> None:
    """Nothing of the new version is taken for the old one."""
    def move_at_the_third_chunk(_: Any) -> None:
        if len(server.structure_requests()) == 3:
            server.move(NEW)

    server.on_request = move_at_the_third_chunk
    with pytest.raises(UserError, match=f"the server has {NEW}"):
        units(tmp_path, params(server))
    assert len(list((tmp_path / "data/.downloads/materials_project/structures").iterdir())) == 2


def test_a_move_pulls_what_changed_and_equals_a_clean_pull(tmp_path: Path, server: Database) -> None:
    root = project(tmp_path / "moved", server)
    first = stages.run("ingest", root, "serial")
    server.move(NEW)
    server.asked.clear()
    assert stages.run("ingest", root, "serial").tried == 0  # the pinned version lies here
    assert server.asked == []
    moved = move(root)
    assert (moved.old, moved.new, moved.compared) == (OLD, NEW, True)
    report = stages.run("ingest", root, "serial")
    assert [i for chunk in server.structure_requests() for i in chunk] == sorted([ADDED, RESHAPED])
    # a withdrawn one is a reject that must be made; a removed one is gone
    assert report.tried == len({ADDED, RESHAPED, REVALUED, WITHDRAWN})
    assert report.wanted == first.wanted
    clean = project(tmp_path / "clean", server, database_version=NEW)
    assert stages.run("ingest", clean, "serial").digest == report.digest != first.digest
    for part in Paths(clean).features.rglob("*.parquet"):
        assert part.read_bytes() == (Paths(root).features / part.relative_to(Paths(clean).features)).read_bytes()
    rows = {row["material_id"]: row for row in tables.read(root, "materials").to_pylist()}
    assert rows[REVALUED]["energy_above_hull"] == 0.0125
    assert rows[RESHAPED]["source_version"] == NEW
    assert rows["mp-984"]["source_version"] == OLD  # built for the old version, and not since
    assert {WITHDRAWN, REMOVED, ALWAYS_DEPRECATED}.isdisjoint(rows)


def test_a_move_changes_one_value_and_records_what_it_does(tmp_path: Path, server: Database,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    root = project(tmp_path, server)
    path = root / "params.yaml"
    text = path.read_text().replace(f"database_version: {OLD}", f"database_version: {OLD}   # pinned")
    path.write_text(text)
    assert move(root) == Move(OLD, OLD)
    assert "nothing to move to" in capsys.readouterr().err
    read_units(params(server), root)
    server.move(NEW)
    assert move(root) == Move(OLD, NEW, True, (ADDED,), tuple(sorted([RESHAPED, REVALUED])), (WITHDRAWN,), (REMOVED,))
    assert path.read_text() == text.replace(f"database_version: {OLD} ", f"database_version: '{NEW}' ")
    record = json.loads((root / f"data/.downloads/materials_project/moves/{OLD}-{NEW}.json").read_text())
    assert record == {"from": OLD, "to": NEW, "added": [ADDED], "changed": sorted([RESHAPED, REVALUED]),
                      "deprecated": [WITHDRAWN], "removed": [REMOVED]}
    assert "removed 1: mp-938" in capsys.readouterr().err


def test_a_pin_can_be_put_back_and_changes_nothing_else(tmp_path: Path, server: Database) -> None:
    path = project(tmp_path, server) / "params.yaml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    path.chmod(0o640)
    before = path.read_bytes()
    pin(tmp_path, NEW)
    assert path.read_bytes() == before.replace(f" {OLD}".encode(), f" '{NEW}'".encode())
    pin(tmp_path, None)
    assert path.read_bytes() == before.replace(f" {OLD}".encode(), b" null")
    assert path.stat().st_mode & 0o777 == 0o640
    server.move(NEW)
    assert move(tmp_path) == Move(None, NEW)


def test_a_move_of_the_project_s_own_params(tmp_path: Path, server: Database) -> None:
    text = (Path(__file__).parents[3] / "params.yaml").read_text()
    quick = json.dumps({"endpoint": server.address, **QUICK})[1:-1].replace('"', "").replace(", ", "\n    ")
    text = text.replace("    database_version:", f"    {quick}\n    database_version:")
    (tmp_path / "params.yaml").write_text(text)
    move(tmp_path)
    pinned = text.replace("database_version: null", f"database_version: '{OLD}'")
    assert (tmp_path / "params.yaml").read_text() == pinned


@pytest.mark.parametrize("value", ["null", "''", "", f'"{OLD}"'])
def test_a_move_from_no_version(tmp_path: Path, server: Database, value: str) -> None:
    root = project(tmp_path, server)
    path = root / "params.yaml"
    text = path.read_text().replace(f"database_version: {OLD}", f"database_version: {value}".rstrip())
    path.write_text(text)
    if value == "''":
        with pytest.raises(UserError, match="is no database version"):
            move(root)
        return
    server.move(NEW)
    move(root)
    assert yaml.safe_load(path.read_text())["ingest"]["materials_project"]["database_version"] == NEW
    assert path.read_text().startswith("# as the user wrote it\n")


ODD = [
    f"# database_version: {OLD} is good\ningest:  # é\n    materials_project:\n         database_version:  VALUE # p\n"
    "         filters: {a:   [1,null], }\ndescribe: {  decimals: 2 }\ntrain:\n  - ~\n  - database_version: 1\n",
    "train: >-\n  database_version: 1\n\n\ningest: { materials_project: {x: '}', database_version: VALUE},}   # all\n",
    '{"ingest": {"materials_project": {"database_version": VALUE, "filters": {}}}}',
    "\ufeffingest:\r\n  'materials_project':\r\n    ? database_version\r\n    : VALUE\r\n",
]


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("old", [OLD, f"'{OLD}'", f'"{OLD}"', "null", "~"])
def test_every_other_byte_stays(tmp_path: Path, text: str, old: str) -> None:
    """Whatever the user's way to write; ruamel.yaml finds the one value, not the first that looks like it."""
    path = tmp_path / "params.yaml"
    path.write_bytes(text.replace("VALUE", old).encode())
    for version, value in ((NEW, f"'{NEW}'"), (None, "null")):
        pin(tmp_path, version)
        assert path.read_bytes().decode() == text.replace("VALUE", value)


@pytest.mark.parametrize("lines", [
    "ingest: {materials_project: {}}", "ingest:", "ingest: {materials_project: {database_version}}",
    f"split: &v {OLD}\ningest: {{materials_project: {{database_version: *v}}}}",
    f"ingest: {{materials_project: {{database_version: &v {OLD}}}}}\nsplit: *v",
    f"ingest: {{materials_project: {{database_version: {OLD}, database_version: {OLD}}}}}",
    f"ingest:\n  materials_project:\n    database_version: |\n      {OLD}\n    filters: {{}}"])
def test_what_cannot_be_changed_safely_is_not_changed(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(lines)
    with pytest.raises(UserError, match=f"write `database_version: '{NEW}'` below ingest.materials_project yourself"):
        pin(tmp_path, NEW)
    assert path.read_text() == lines


def test_a_move_that_cannot_be_written_safely_lists_nothing(tmp_path: Path, server: Database) -> None:
    root = project(tmp_path, server)
    path = root / "params.yaml"
    before = path.read_text().replace(f"version: {OLD}", f"version: &v {OLD}") + "split: {group_by: *v}\n"
    path.write_text(before)
    server.move(NEW)
    with pytest.raises(UserError, match="cannot be changed safely"):
        move(root)
    assert path.read_text() == before
    assert server.searches() == []


def test_commands_end_with_one_line_and_no_secret(tmp_path: Path, server: Database,
                                                  capfd: pytest.CaptureFixture[str]) -> None:
    server.move(NEW)
    root = project(tmp_path, server)
    done = subprocess.run([sys.executable, "-m", "pipelines", "ingest", "--root", str(root)], capture_output=True,
                          text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"error: ingest.materials_project.database_version is {OLD}, but the server has {NEW} and "
                           "no other: `python -m pipelines move-database` moves to it\n")
    app(["move-database", "--root", str(root)], standalone_mode=False)
    read_units(params(server, database_version=NEW), root)
    printed = "".join(capfd.readouterr())
    assert "database_version is now" in printed
    assert KEY not in printed
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
