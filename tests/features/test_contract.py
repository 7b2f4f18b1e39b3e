"""Contracts: what a table promises, and that one which breaks its promise is never published."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import features
from features import catalog, contract
from features.catalog import validate
from features.contract import SCHEMAS
from features.errors import UserError
from features.other_tables import TABLES
from features.paths import Paths
from features.registry import all_views, view_named
from features.rules import as_many, finite, not_finite, present, same_length, within
from features.store import tables
from features.view import column
from features.views import splits
from pipelines.engine import stages
from pipelines.engine.materialize import Report, materialize
from pipelines.executors import Serial
from tests.conftest import make_project
from tests.pipelines.toy import SCHEMA, ToyParams, compute, toy_view, units


def run(root: Path, rows: dict[str, int], **view: Any) -> Report:
    return materialize(toy_view(contract=(within("value", 0, 100, "toys"),), **view), ToyParams(), root, units(rows),
                       Serial())


def contents(root: Path) -> dict[str, bytes]:
    folder = Paths(root).features
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_violation_stops_the_publish_and_the_old_table_stays(tmp_path: Path) -> None:
    run(tmp_path, {"a": 1, "b": 2})
    before = contents(tmp_path)
    with pytest.raises(UserError) as error:
        run(tmp_path, {"a": 1, "b": 2, "c": 51, "d": 90, "e": -1, "f": 99})
    said, _, ids = str(error.value).partition(", the first are ")
    assert said == ("nothing is published, and what was published stays: toys: 4 rows break the rule that value is "
                    "from 0 to 100 toys")
    assert len(ids.split(", ")) == 3
    assert set(ids.split(", ")) < {"c/0", "d/0", "e/0", "f/0"}
    assert contents(tmp_path) == before
    assert run(tmp_path, {"a": 1, "c": 50}).computed == 1  # what was finished is stored


def test_columns_that_change_without_a_new_version_are_refused(tmp_path: Path) -> None:
    run(tmp_path, {"a": 1})
    before = contents(tmp_path)
    other = pa.schema([SCHEMA.field("material_id"), SCHEMA.field("copy"), column("value", pa.float32(), "less of it")])
    with pytest.raises(UserError, match=r"toys: nothing is published, since columns have changed \(value was double "
                                        r"and is float\) and the view's version has not; raise `version`"):
        run(tmp_path, {"a": 1}, schema=other, compute=_as(other))
    assert contents(tmp_path) == before
    run(tmp_path, {"a": 1}, schema=other, compute=_as(other), version=2)
    assert tables.schema(tmp_path, "toys").field("value").type == pa.float32()


def test_new_columns_that_may_be_missing_are_no_new_version(tmp_path: Path) -> None:
    run(tmp_path, {"a": 1})
    more = SCHEMA.append(column("note", pa.string(), "more of it"))
    run(tmp_path, {"a": 1}, schema=more, compute=_as(more))
    assert tables.read(tmp_path, "toys")["note"].to_pylist() == [None]


def _as(schema: pa.Schema) -> Any:
    """The toys in another schema; columns that they do not have are missing."""
    def computed(batch: pa.Table, params: ToyParams) -> Any:
        made = compute(batch, params)
        rows = [{name: row.get(name) for name in schema.names} for row in made.rows.to_pylist()]
        return type(made)(pa.Table.from_pylist(rows, schema=schema), made.owners, made.rejects)

    return computed


def test_odd_values_of_a_source_are_remarked_on_and_another_unit_stops(capsys: pytest.CaptureFixture[str]) -> None:
    promised = contract.Contract(("material_id",), (within("energy", -20, 20, "eV/atom", said=True),))

    def publish(energies: list[float | None]) -> int:
        rows = pa.table({"material_id": [f"mp-{number}" for number in range(len(energies))], "energy": energies})
        return sum(map(len, contract.checked("crystals", promised, [rows])))

    assert publish([-1.5] * 10 + [-1500.0, None]) == 12
    assert "warning: crystals: 1 row breaks the rule that energy is from -20 to 20 eV/atom: mp-10" in \
        capsys.readouterr().err
    with pytest.raises(UserError, match=r"20 eV/atom \(most of 11 values are beyond, as in another unit"):
        publish([-1500.0] * 10 + [-1.5, None])
    assert publish([-1500.0] * 3) == 3  # too few to tell


def test_what_the_rules_find() -> None:
    nan = float("nan")
    rows = pa.table({
        "material_id": ["a", "b", "c", "c", None],
        "vector": pa.array([[1, 2], None, [1, nan], [1, 2, 3], [3, 4]], pa.list_(pa.float16())),
        "words": [["x", "y"], ["x"], [], ["x", "y", "z"], ["x", "y"]]})
    checker = contract.Checker("t", contract.Contract(("material_id",), (
        *present("material_id"), *finite("vector"), same_length("vector"), as_many(["vector", "words"], least=1))))
    checker.see(rows.slice(0, 1), "one")
    checker.see(rows.slice(1), "two")
    assert [(found.rule, found.count, found.ids, found.part, found.row) for found in checker.violations()] == [
        ("no two rows have the same material_id", 1, ("c",), "two", 2),
        ("material_id is never missing", 1, ("–",), "two", 3),
        ("every number of vector is finite", 1, ("c",), "two", 1),
        ("vector has one length in the whole table", 1, ("c",), "two", 2),
        ("vector, words have as many entries as each other, at least 1", 1, ("c",), "two", 1)]


def test_the_usual_length_of_vectors_is_the_most_frequent() -> None:
    """Not that of the first row, which may be the one that is wrong."""
    def seen(lengths: list[int]) -> list[tuple[int, tuple[str, ...], int]]:
        checker = contract.Checker("t", contract.Contract(("material_id",), (same_length("vector"),)))
        for number, length in enumerate(lengths):
            checker.see(pa.table({"material_id": [f"mp-{number}"], "vector": [[1.0] * length]}), f"part {number}")
        return [(found.count, found.ids, int(found.part[-1])) for found in checker.violations()]

    assert seen([2, 3, 3, 4, 3]) == [(2, ("mp-0", "mp-3"), 0)]
    assert seen([2, 2]) == []


@pytest.mark.parametrize("array", [
    pa.array([1.0, float("inf"), None, 2.0, float("nan")], pa.float32()),
    pa.array([[[1.0], []], [[2.0, None], [float("-inf")]], None, [], [[float("nan")]]],
             pa.list_(pa.list_(pa.float16()))),
    pa.array([[{"a": [1.0]}], [{"a": None}, {"a": [float("nan")]}], None, [None], [{"a": [float("inf")]}]],
             pa.list_(pa.struct([("a", pa.list_(pa.float64()))]))),
    pa.array([[("a", 1.0)], [("b", 2.0), ("c", float("nan"))], None, [], [("d", float("inf"))]],
             pa.map_(pa.string(), pa.float64())),
])
@pytest.mark.parametrize("start", [0, 1])
def test_numbers_that_are_none_are_found_however_deep(array: pa.Array, start: int) -> None:
    assert not_finite(array.slice(start)).tolist() == [False, True, False, False, True][start:]


@pytest.mark.parametrize("view", all_views(), ids=lambda view: view.name)
def test_every_view_has_a_contract_on_its_own_columns(view: Any) -> None:
    assert view_named(view.name) is view
    promised = contract.rules(view.name)
    assert len({rule.rule for rule in promised}) == len(promised) > 3
    for rule in promised:
        assert set(rule.needs) <= set(view.schema.names), rule.rule
        assert rule.column is None or rule.column in view.schema.names


@pytest.mark.parametrize("view", all_views(), ids=lambda view: view.name)
def test_no_column_changes_without_a_new_version(view: Any) -> None:
    recorded = json.loads(SCHEMAS.read_text())[view.name].get(str(view.version))
    now = {field.name: str(field.type) for field in view.schema}
    assert recorded is not None, f"add version {view.version} of {view.name} to {SCHEMAS.name}: {json.dumps(now)}"
    changed = {name for name in recorded if now.get(name) != recorded[name]}
    assert not changed, f"{view.name}: {changed} changed; raise its version"
    new = now.keys() - recorded.keys()
    assert not new & contract.required(view), f"{view.name}: {new} must not be missing; raise its version"
    assert not new, f"add {new} to version {view.version} of {view.name} in {SCHEMAS.name}"


def test_the_rules_of_tables_that_are_no_views_have_plain_words() -> None:
    for name in TABLES:
        assert all(rule.rule and rule.needs for rule in contract.rules(name))
    assert [rule.rule for rule in contract.rules("predictions")][:2] == [
        "no two rows have the same material_id", "material_id is never missing"]
    assert contract.rules("unheard of") == []



def test_parts_from_before_a_new_column_are_read_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In SQL and from Python, as long as the view's version is theirs."""
    project = make_project(tmp_path, only=["mp-149", "mp-30"])
    for stage in ("ingest", "split"):
        stages.run(stage, project, "serial")
    view = splits.VIEW
    more = view.schema.append(column("weights", pa.list_(pa.float16()), "how much it counts"))
    monkeypatch.setattr(splits, "VIEW", dataclasses.replace(view, schema=more))
    recorded = json.loads(SCHEMAS.read_text())
    recorded["splits"]["1"]["weights"] = "list<item: halffloat>"
    monkeypatch.setattr(contract, "_recorded", lambda: recorded)
    query = "select material_id, weights, typeof(weights) as type from splits order by all"
    rows = catalog.query(project, query).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("mp-149", None, "FLOAT[]"), ("mp-30", None, "FLOAT[]")]
    store = features.open(project)
    assert store.arrow("splits", ["weights", "fold"], ids=["mp-30"]).column_names == ["weights", "fold"]
    assert store.arrow("splits").schema.field("weights").type == pa.list_(pa.float16())
    assert list(validate.problems(project, ["splits"])) == []
    monkeypatch.setattr(splits, "VIEW", dataclasses.replace(view, schema=more, version=2))
    assert "weights" not in store.arrow("splits").column_names
    (line,) = map(str, validate.problems(project, ["splits"]))
    assert line.startswith("splits: version 1 on disk, 2 in the code")
