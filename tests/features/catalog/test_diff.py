"""Two versions of the tables, compared."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import ks_2samp

from features.catalog import diff_report
from features.catalog.diff import compare, kolmogorov_smirnov
from features.commands.diff import diff
from features.errors import UserError
from features.paths import Paths
from features.store import revisions, versions
from pipelines.engine.materialize import materialize
from pipelines.executors import Serial
from pipelines.refresh.renew import Renewal
from pipelines.refresh.report import markdown
from tests.features.history import LAST, MATERIALS, git, put
from tests.pipelines.toy import ToyParams, toy_view, units

NUMBERS: dict[str, int] = {f"m{k}": k for k in range(100)}


def made(root: Path, rows: dict[str, Any]) -> Path:
    materialize(toy_view(), ToyParams(), root, units(rows), Serial())
    return root


def test_rows_are_added_changed_and_removed(tmp_path: Path) -> None:
    old = made(tmp_path / "old", NUMBERS)
    new = made(tmp_path / "new", {**{name: k for name, k in NUMBERS.items() if k != 3}, "m7": 1000, "n": 0})
    (change,) = compare(old, new).tables
    assert (change.table, change.rows) == ("toys", (100, 100))
    assert (change.added, change.changed, change.removed) == (["n"], ["m7"], ["m3"])
    assert 1 <= change.parts[0] <= 3 < change.parts[1]
    assert compare(old, made(tmp_path / "same", NUMBERS)).tables == []


def test_more_part_files_change_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = made(tmp_path / "old", NUMBERS)
    monkeypatch.setattr("features.store.placement.ROWS_PER_PART", 8)
    (change,) = compare(old, made(tmp_path / "new", NUMBERS)).tables
    assert (change.parts, change.added, change.changed, change.removed) == ((16, 16), [], [], [])


def test_drift_is_the_distance_of_distributions(tmp_path: Path) -> None:
    old = made(tmp_path / "old", NUMBERS)
    new = made(tmp_path / "new", {name: k + 25 for name, k in NUMBERS.items()})
    (change,) = compare(old, new).tables
    moved = change.drift[0]
    assert moved.column == "value"
    assert moved.distance == pytest.approx(0.25)
    assert moved.mean[1] == pytest.approx(moved.mean[0] + 50)  # value is twice the number
    assert moved.missing == (0.0, 0.0)
    draws = np.random.default_rng(0)
    for one, other in ((draws.normal(size=50), draws.normal(size=70)), (np.arange(9.0) // 3, np.arange(5.0) // 2)):
        assert kolmogorov_smirnov(one, other) == pytest.approx(ks_2samp(one, other).statistic)


def test_rejects_that_were_none_before(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    materialize(toy_view(), ToyParams(), old, units([("a", 1, "good"), ("b", 2, "bad")]), Serial())
    materialize(toy_view(), ToyParams(), new, units([("a", 1, "good"), ("b", 2, "bad"), ("c", 3, "bad")]), Serial())
    changes = compare(old, new)
    assert changes.tables == []
    assert [row["material_id"] for row in changes.newly_rejected] == ["c"]


def test_a_table_that_only_one_has(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (change,) = compare(tmp_path / "empty", made(tmp_path / "new", NUMBERS)).tables
    assert (change.rows, len(change.added), change.drift) == ((0, 100), 100, [])


def test_rows_that_are_not_those_of_crystals(tmp_path: Path) -> None:
    """They are called by their words."""
    for folder, value, tests in (("old", 0.5, ("deletion", "insertion")), ("new", 0.7, ("deletion", "synthetic fact"))):
        rows = pa.table({"method": ["replacement"] * 2, "test": tests, "value": [value, 0.1]})
        path = Paths(tmp_path / folder).table("faithfulness") / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(rows, path)
    (change,) = compare(tmp_path / "old", tmp_path / "new").tables
    assert (change.added, change.changed, change.removed) == (
        ["replacement synthetic fact"], ["replacement deletion"], ["replacement insertion"])


def test_two_revisions_as_text_json_and_a_page(past: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "diff.html"
    diff("v1", "v2", root=past, as_json=True, html=page)
    told = json.loads(capsys.readouterr().out)
    materials = next(table for table in told["tables"] if table["table"] == "materials")
    assert materials["counts"] == {"added": 0, "changed": 2, "removed": 0, "same": 29}
    assert [(column["column"], column["rows"], column["equal"]) for column in materials["columns"]] == [
        ("k_vrh", 31, 30), ("other_properties.hardness", 31, 30), ("formula", 31, 31)]
    assert materials["columns"][0]["moves"] == [{"row": "mp-10695", "before": 68.2531, "after": 78.7531, "by": 10.5,
                                                 "item": None, "words": None}]
    assert "<del>bonded</del><ins>linked</ins>" in page.read_text()
    assert "default-src 'none'" in page.read_text()

    diff("v1", root=past)
    text = capsys.readouterr().out
    assert text.startswith("v1 → published: 2 tables differ; 1 no longer rejected\n")
    assert ("materials: 31 → 30 rows; 1 removed, 2 changed (by material_id); 1 of 8 part files\n"
            f"  removed: {LAST}\n  changed: mp-10695, mp-1135\n") in text
    assert "each of them is [-bonded-]{+linked+} to its neighbours." in text
    assert re.search(r"^vector +96\.67% +mp-127 +\[3\] 1\.04\d* +\[3\] 2\.04\d* +1$", text, re.MULTILINE)

    diff("v3", "published", root=past)
    assert capsys.readouterr().out == "v3 → published: no table differs\n"
    diff("v1", "descriptions", root=past)
    assert capsys.readouterr().out.startswith("v1 → published: 1 table differs\n\ndescriptions: 31 → 30 rows; ")
    with pytest.raises(UserError, match="no table 'nope' in either; there are: descriptions, materials"):
        diff("v1", "v2", "nope", root=past)


def test_the_report_of_a_refresh_tells_the_same(past: Path) -> None:
    changes = compare(revisions.at(past, "v1"), revisions.at(past, "v3"))
    page = markdown(Renewal((None, None), {}, changes, {}, False, 1.0))
    assert "| materials.k_vrh | 96.67% | mp-10695 | 68.2531 | 78.7531 |\n" in page
    assert "| descriptions.text | 96.67% | mp-10695 | … , and each of them is bonded to its neighbours. | … " in page


def test_columns_that_came_or_are_of_another_kind_and_texts_of_strangers(past: Path, tmp_path: Path,
                                                                         capsys: pytest.CaptureFixture[str]) -> None:
    schema = MATERIALS.remove(2).append(pa.field("k_vrh", pa.float32(), metadata={"unit": "MPa"})).append(
        pa.field("<b>", pa.string()))
    rows = [{"material_id": "<script>\x1b[2J", "formula": "Si", "k_vrh": 1.0, "<b>": "new"},
            {"material_id": "mp-127", "formula": "<i>" * 20, "k_vrh": float("nan"), "<b>": "new"}]
    put(past, "materials", schema, rows)
    assert compare(past, past, ["materials"]).tables == []
    page = tmp_path / "diff.html"
    diff("published", "work", "materials", root=past, html=page)
    diff("published", "work", "materials", root=past)
    (change,) = compare(revisions.at(past), past, ["materials"]).tables
    assert [(column.column, column.before, column.after) for column in change.schema] == [
        ("k_vrh", "double [GPa]", "float [MPa]"), ("<b>", None, "string")]
    assert (change.counts.added, change.counts.changed, change.counts.removed) == (1, 1, 29)
    k_vrh = next(column for column in change.columns if column.column == "k_vrh")
    assert [(move.before, move.after, move.by) for move in k_vrh.moves] == [(pytest.approx(7.5122), "nan", None)]
    text, html = capsys.readouterr().out, page.read_text()
    assert "\x1b" not in text
    assert not any(tag in html for tag in ("<script>", "<b>", "<i>"))
    assert "&lt;script&gt;" in html


def test_rows_that_nothing_tells_apart(tmp_path: Path) -> None:
    """They are numbered, so that none counts for another."""
    for folder, values in (("old", [1.0, 2.0, 2.0]), ("new", [1.0, 2.0, 3.0, 4.0])):
        path = Paths(tmp_path / folder).table("twins") / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"kind": ["a"] * len(values), "value": values}), path)
    (change,) = compare(tmp_path / "old", tmp_path / "new").tables
    assert change.key == ("kind", "occurrence")
    assert (change.counts.added, change.counts.changed, change.counts.same) == (1, 1, 2)


def of_columns(root: Path, **columns: pa.Array) -> Path:
    """A project with one table, of two parts."""
    rows = pa.table({"material_id": ["m1", "m2", "m3", "m4"], **columns})
    for number in range(2):
        path = Paths(root).table("toys") / f"part-0000{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a published version has the same file
        pq.write_table(rows.slice(2 * number, 2), path)
    return root


@pytest.mark.parametrize(("one", "other", "equal"), [
    (pa.array([1.5, 2, None, 4]), pa.array([1, 2, None, 4]), 3),
    (pa.array([0.1, 2, None, 4], pa.float32()), pa.array([0.1, 2, None, 4]), 3),
    (pa.array(["1.0", "2", None, "4"]), pa.array([1.0, 2, None, 4]), 1),
    (pa.array([[1.0], [2], None, [4]]), pa.array([1.0, 2, None, 4]), 1)], ids=["int", "float", "text", "list"])
def test_values_of_another_type_are_equal_or_not_whichever_comes_first(one: pa.Array, other: pa.Array, equal: int,
                                                                       tmp_path: Path) -> None:
    """Text that reads as a number in one part file and not in the other is no number."""
    projects = of_columns(tmp_path / "one", value=one), of_columns(tmp_path / "other", value=other)
    for before, after in (projects, projects[::-1]):
        (change,) = compare(before, after).tables
        (column,) = change.columns
        assert (column.rows, column.equal, column.is_comparable) == (4, equal, equal == 3)
        assert (change.counts.changed, change.counts.same) == (4 - equal, equal)
        assert diff_report.share(column) == ("75.00%" if equal == 3 else "not comparable")


def test_what_differs_is_seen_however_late_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = ([{**{f"length_of_item_{k}": 1.0 for k in range(9)}, "last": last}] * 4 for last in (1.0, "x"))
    urls = [["x" * 200 + end] * 4 for end in "ab"]
    before = of_columns(tmp_path / "old", value=pa.array(old), url=urls[0])
    diff_report.show(compare(before, of_columns(tmp_path / "new", value=pa.array(new), url=urls[1])), "old", "new")
    said = capsys.readouterr().out
    assert re.search(r"^value  +….*last: double>  +….*last: string>$", said, re.MULTILINE)
    assert re.search(r"^url  +0\.00%  +m1  +…x+a  +…x+b", said, re.MULTILINE)


def test_infinity_is_a_word_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = of_columns(tmp_path, value=pa.array([1.0, 2, 3, 4]), vector=pa.array([[math.inf, 1.0]] * 4))
    versions.publish(root)
    of_columns(root, value=pa.array([math.inf, 2, 3, 4]), vector=pa.array([[math.inf, -math.inf]] * 4))
    diff("published", "work", root=root, as_json=True)
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert {column["column"]: column["moves"][0]["by"] for column in told["tables"][0]["columns"]} == {
        "value": "inf", "vector": "inf"}


def test_tables_that_only_the_newer_version_has_or_that_are_not_here(past: Path, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    git(tmp_path, "clone", "-q", str(past), "clone")
    with pytest.raises(UserError, match=r"there are no tables under .*clone/data/features yet; run `dvc repro`"):
        diff("work", root=tmp_path / "clone")
    root = of_columns(tmp_path / "new", value=pa.array([1, 2, 3, 4]))
    versions.publish(root)
    shutil.move(Paths(root).table("toys"), Paths(root).table("others"))
    diff("work", "toys", root=root)
    assert capsys.readouterr().out.startswith("work → published: 1 table differs\n\ntoys: 0 → 4 rows; 4 added (by ")
