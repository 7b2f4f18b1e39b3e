"""Promises 1 to 3 of the design, for any view: refresh equals rebuild, nothing is lost, a killed run resumes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import RowError, UserError
from features.paths import Paths
from features.store import tables
from features.store.rowstore import RowStore
from features.view import Rowwise
from pipelines.engine.materialize import Report, materialize
from pipelines.engine.work import survey
from pipelines.executors import Processes, Serial
from tests.pipelines.toy import SCHEMA, ToyParams, toy_view, units

NAMES = st.text("abcdefgh", min_size=1, max_size=3)
KINDS = st.sampled_from(["good", "good", "good", "bad", "bug"])
ROWS = st.dictionaries(NAMES, st.tuples(st.integers(0, 9), KINDS), min_size=1, max_size=30)


def as_units(rows: dict[str, tuple[int, str]]) -> pa.Table:
    return units([("good-one", 1, "good"), *((name, number, kind) for name, (number, kind) in rows.items())])


def run(root: Path, table: pa.Table, params: ToyParams | None = None, retry: bool = False, **view: Any) -> Report:
    return materialize(toy_view(**view), params or ToyParams(), root, table, Serial(), retry)


def contents(root: Path) -> dict[str, bytes]:
    """All published bytes."""
    folder = Paths(root).features
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def _rejecting(error: str) -> Rowwise[ToyParams]:
    """The toy's `compute`, whose bad units are bad for this reason."""
    def compute(unit: dict[str, Any], _params: ToyParams) -> dict[str, Any]:
        if unit["what"] == "bad":
            raise RowError(error, "so it is")
        return {"material_id": unit["material_id"], "copy": 0, "value": 1.0}

    return Rowwise(compute, SCHEMA)


@settings(deadline=None, max_examples=40)
@given(ROWS, ROWS, st.integers(1, 3))
def test_refresh_is_byte_for_byte_the_rebuild(tmp_path_factory: pytest.TempPathFactory, before: dict[str, Any],
                                              after: dict[str, Any], copies: int) -> None:
    old, new = tmp_path_factory.mktemp("old"), tmp_path_factory.mktemp("new")
    params = ToyParams(copies=copies)
    run(old, as_units(before), params)
    run(old, as_units(after), params)
    run(new, as_units(dict(reversed(after.items()))), params)
    assert contents(old) == contents(new)


@settings(deadline=None, max_examples=40)
@given(ROWS, st.integers(1, 3))
def test_rows_and_rejects_are_what_was_wanted(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Any],
                                              copies: int) -> None:
    root = tmp_path_factory.mktemp("root")
    report = run(root, as_units(rows), ToyParams(copies=copies))
    table = tables.read(root, "toys")
    rejects = pq.read_table(Paths(root).rejects("toys"))
    good = {name for name, (_, kind) in rows.items() if kind == "good"} | {"good-one"}
    assert sorted(table["material_id"].to_pylist()) == sorted(list(good) * copies)
    assert set(rejects["material_id"].to_pylist()) == set(rows) - good
    assert report.wanted == len(good) + report.rejected == len(rows) + 1


@settings(deadline=None, max_examples=25)
@given(ROWS, ROWS)
def test_only_what_is_new_is_computed(tmp_path_factory: pytest.TempPathFactory, before: dict[str, Any],
                                      after: dict[str, Any]) -> None:
    root = tmp_path_factory.mktemp("root")
    run(root, as_units(before))
    new = {name for name, row in after.items() if before.get(name) != row}
    planned = survey(toy_view(), ToyParams(), root, as_units(after)).missing(retry_rejected=False)
    report = run(root, as_units(after))
    assert report.tried == len(planned) == len(new)
    assert run(root, as_units(after)).tried == 0


def test_one_changed_crystal_changes_one_part_file(tmp_path: Path) -> None:
    rows = {f"m{k}": k for k in range(100)}
    run(tmp_path, units(rows))
    before = contents(tmp_path)
    run(tmp_path, units({**rows, "m7": 1000}))
    after = contents(tmp_path)
    assert sum(before[name] != after[name] for name in before) == 1
    assert before.keys() == after.keys()


def test_flipping_a_parameter_back_computes_nothing(tmp_path: Path) -> None:
    rows = units({f"m{k}": k for k in range(20)})
    run(tmp_path, rows)
    before = contents(tmp_path)
    assert run(tmp_path, rows, ToyParams(factor=3.0)).tried == 20
    assert contents(tmp_path) != before
    assert run(tmp_path, rows).tried == 0
    assert contents(tmp_path) == before


def test_a_runtime_parameter_changes_nothing(tmp_path: Path) -> None:
    rows = units({"a": 1})
    run(tmp_path, rows)
    before = contents(tmp_path)
    assert run(tmp_path, rows, ToyParams(timeout_s=9.0)).tried == 0
    assert contents(tmp_path) == before


def test_another_version_of_the_view_computes_again(tmp_path: Path) -> None:
    rows = units({"a": 1})
    run(tmp_path, rows)
    assert run(tmp_path, rows, version=2).tried == 1
    assert tables.footer(tables.files(tmp_path, "toys")[0])["version"] == 2


def test_the_row_store_may_be_deleted(tmp_path: Path) -> None:
    rows = units({f"m{k}": k for k in range(20)})
    run(tmp_path, rows)
    before = contents(tmp_path)
    shutil.rmtree(Paths(tmp_path).rowstore("toys"))
    assert run(tmp_path, rows).tried == 20
    assert contents(tmp_path) == before


def test_equal_entries_under_one_id_are_told_apart(tmp_path: Path) -> None:
    """Two units with one id, one of them bad: the row belongs to the good one."""
    report = run(tmp_path, units([("a", 1, "good"), ("a", 1, "bad"), ("b", 2, "good")]))
    assert (report.wanted, report.rejected) == (3, 1)
    assert run(tmp_path, units([("a", 1, "good"), ("a", 1, "bad"), ("b", 2, "good")])).tried == 0


def test_rejects_are_remembered_until_retried(tmp_path: Path) -> None:
    rows = units([("a", 1, "good"), ("b", 2, "bad")])
    run(tmp_path, rows)
    assert run(tmp_path, rows).tried == 0
    assert run(tmp_path, rows, retry=True).tried == 1
    reject = pq.read_table(Paths(tmp_path).rejects("toys")).to_pylist()
    assert reject == [{"view": "toys", "material_id": "b", "error": "bad", "message": "2 is bad"}]


def test_of_several_reasons_the_last_one_counts(tmp_path: Path) -> None:
    """Names of segments follow from their bytes, so that the later one comes first in half of the cases."""
    rows = units([("a", 1, "good"), *((f"b{number}", number, "bad") for number in range(8))])
    for number in range(8):
        folder, few = tmp_path / str(number), rows.take(pa.array([0, number + 1]))
        for error in ("timeout", "no_structure"):
            run(folder, few, compute=_rejecting(error))
        assert run(folder, few, compute=_rejecting("no_structure")).tried == 0
        assert pq.read_table(Paths(folder).rejects("toys"))["error"].to_pylist() == ["no_structure"]


def test_a_summary_balances_whatever_was_done(tmp_path: Path) -> None:
    """Rejects of this run and of earlier ones, rows that are new, that were there, and that two units share."""
    def counts(report: Report) -> tuple[int, ...]:
        assert str(report).startswith(f"toys: {report.wanted} wanted = {report.computed} computed + {report.reused} "
                                      f"reused + {report.rejected} rejected, in ")
        return report.wanted, report.computed, report.reused, report.rejected, report.tried

    few = [("a", 1, "good"), ("b", 2, "bad"), ("c", 3, "good")]
    assert counts(run(tmp_path, units(few))) == (3, 2, 0, 1, 3)
    assert counts(run(tmp_path, units(few))) == (3, 0, 2, 1, 0)
    assert counts(run(tmp_path, units([*few, ("d", 4, "bug"), ("e", 5, "good"), ("e", 5, "good")]))) == (6, 1, 3, 2, 2)
    assert counts(run(tmp_path, units(few), retry=True)) == (3, 0, 2, 1, 1)
    with pytest.raises(AssertionError, match="does not balance"):
        Report("toys", wanted=3, reused=1, computed=1, rejected=0, seconds=0.0, digest="", tried=1)


def test_all_rejected_is_an_error_with_the_reasons_and_publishes_nothing(tmp_path: Path) -> None:
    message = (r"^toys: nothing is published, since all 3 rows were rejected \(2 × bad, 1 × ZeroDivisionError\), the "
               r"first, .*, for: .+")
    allbad = units([("b", 2, "bad"), ("c", 3, "bug"), ("d", 4, "bad")])
    with pytest.raises(UserError, match=message):
        run(tmp_path, allbad)
    assert contents(tmp_path) == {}
    run(tmp_path, units([("a", 1, "good"), ("z", 1, "bad")]))
    before = contents(tmp_path)
    with pytest.raises(UserError, match=message):
        run(tmp_path, allbad)
    assert contents(tmp_path) == before


def test_an_error_of_the_machine_stops_the_run_and_keeps_the_table(tmp_path: Path) -> None:
    run(tmp_path, units({"a": 1}))
    before = contents(tmp_path)
    for failure in (OSError(28, "No space left on device"), UserError("no weights"), MemoryError()):
        def fails(table: pa.Table, params: ToyParams, failure: BaseException = failure) -> Any:
            raise failure

        with pytest.raises(type(failure)):
            run(tmp_path, units({"a": 1, "b": 2}), compute=fails)
    assert contents(tmp_path) == before
    assert run(tmp_path, units({"a": 1, "b": 2})).tried == 1


@pytest.mark.slow
def test_a_timeout_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    rows = units([("a", 1, "good"), ("b", 2, "hang")])
    reports = [materialize(toy_view(), ToyParams(timeout_s=0.5), tmp_path, rows, Processes(1)) for _ in range(2)]
    assert [(r.tried, r.rejected) for r in reports] == [(2, 1), (1, 1)]


def test_a_damaged_segment_costs_its_rows(tmp_path: Path) -> None:
    rows = units({"a": 1, "b": 2})
    run(tmp_path, rows)
    before = contents(tmp_path)
    (segment,) = Paths(tmp_path).rowstore("toys").rglob("rows-*.parquet")
    segment.write_bytes(segment.read_bytes()[:100])
    assert run(tmp_path, rows).tried == 2
    assert contents(tmp_path) == before


def test_damage_inside_a_segment_is_not_taken_for_rows(tmp_path: Path) -> None:
    rows = units({f"m{k}": k for k in range(200)})
    run(tmp_path, rows)
    before = contents(tmp_path)
    (segment,) = Paths(tmp_path).rowstore("toys").rglob("rows-*.parquet")
    column = pq.read_metadata(segment).row_group(0).column(2)  # the value; fingerprints are whole
    damaged = bytearray(segment.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    damaged[start + 20:start + column.total_compressed_size] = b"x" * (column.total_compressed_size - 20)
    segment.write_bytes(damaged)
    assert run(tmp_path, rows).tried == 200
    assert contents(tmp_path) == before


@settings(deadline=None, max_examples=12)
@given(st.lists(ROWS, min_size=1, max_size=8), st.integers(1, 3))
def test_merging_segments_changes_no_byte(tmp_path_factory: pytest.TempPathFactory, runs: list[dict[str, Any]],
                                          copies: int) -> None:
    """Many small runs, whose segments are merged again and again, against one."""
    many, one = tmp_path_factory.mktemp("many"), tmp_path_factory.mktemp("one")
    params = ToyParams(copies=copies)
    everything: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.engine.materialize.SEGMENT_ROWS", 3)
        patch.setattr("features.store.rowstore.MERGED", 3)
        patch.setattr("features.store.rowstore.WINDOW_ROWS", 4)
        patch.setattr("features.store.rowstore.GROUP_ROWS", 2)
        for rows in runs:
            everything |= rows
            run(many, as_units(everything), params)
        assert len(list(Paths(many).rowstore("toys").rglob("rows-*.parquet"))) <= 3 * 6
        assert run(many, as_units(everything), params).tried == 0
    run(one, as_units(everything), params)
    assert contents(many) == contents(one)


def test_a_kill_while_merging_leaves_rows_twice_and_changes_nothing(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.materialize.SEGMENT_ROWS", 4)
    monkeypatch.setattr("features.store.rowstore.MERGED", 4)
    rows = units({f"m{k}": k for k in range(100)})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr(RowStore, "compact", lambda store: store._merge(store._segments("rows")))
        run(tmp_path, rows)
    before = contents(tmp_path)
    assert run(tmp_path, rows).tried == 0
    assert contents(tmp_path) == before
    run(tmp_path / "other", rows)
    assert contents(tmp_path / "other") == before


def test_damage_is_met_while_merging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    rows = {f"m{k}": k for k in range(40)}
    monkeypatch.setattr("pipelines.engine.materialize.SEGMENT_ROWS", 4)
    run(tmp_path, units(rows))
    before = contents(tmp_path)
    segment = next(Paths(tmp_path).rowstore("toys").rglob("rows-*.parquet"))
    monkeypatch.setattr("features.store.rowstore.MERGED", 4)
    merge = RowStore._merge

    def met(store: RowStore, segments: list[Path]) -> None:
        if segment.exists():
            segment.write_bytes(segment.read_bytes()[:4] + b"x" * 40 + segment.read_bytes()[44:])
        merge(store, segments)

    monkeypatch.setattr(RowStore, "_merge", met)
    assert run(tmp_path, units(rows)).tried == 4
    assert "1 damaged segment is dropped" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_a_kill_between_the_renames_restores_the_old_table(tmp_path: Path) -> None:
    rows = units({"a": 1})
    run(tmp_path, rows)
    folder = Paths(tmp_path).table("toys")
    folder.rename(folder.with_name(".toys.old"))
    with pytest.raises(UserError):
        run(tmp_path, units([("b", 2, "bad")]))
    run(tmp_path, rows)
    assert tables.read(tmp_path, "toys")["material_id"].to_pylist() == ["a"]


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.materialize.SEGMENT_ROWS", 4)

    class Dying(Serial):
        def map(self, *arguments: Any) -> Iterator[Any]:
            for count, result in enumerate(super().map(*arguments)):
                if count == 3:
                    raise KeyboardInterrupt
                yield result

    rows = units({f"m{k}": k for k in range(40)})
    with pytest.raises(KeyboardInterrupt):
        materialize(toy_view(), ToyParams(), tmp_path, rows, Dying())
    assert not tables.exists(tmp_path, "toys")
    assert run(tmp_path, rows).tried == 40 - 3 * 4


def test_a_second_run_at_once_is_told_so(tmp_path: Path) -> None:
    view = toy_view()
    with RowStore(Paths(tmp_path).rowstore("toys"), view.schema, 1).locked(), \
            pytest.raises(UserError, match="another run is computing 'toys'"):
        run(tmp_path, units({"a": 1}))


@pytest.mark.slow
def test_worker_processes_make_the_same_bytes(tmp_path: Path) -> None:
    rows = units([(f"m{k}", k, "bad" if k % 7 == 0 else "good") for k in range(60)])
    run(tmp_path / "serial", rows)
    materialize(toy_view(), ToyParams(), tmp_path / "processes", rows, Processes(2))
    assert contents(tmp_path / "serial") == contents(tmp_path / "processes")


def test_growing_beyond_a_part_splits_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.store.placement.ROWS_PER_PART", 8)
    rows = {f"m{k}": k for k in range(200)}
    run(tmp_path, units(rows))
    files = tables.files(tmp_path, "toys")
    assert len(files) == 32
    assert sorted(tables.read(tmp_path, "toys")["material_id"].to_pylist()) == sorted(rows)
