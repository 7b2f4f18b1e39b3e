"""A run that reads its units window by window makes the bytes of one that has them all at once."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features.errors import RowError, UserError
from features.paths import Paths
from features.store import placement, sums, tables
from features.view import rowwise
from pipelines.engine.materialize import Report, materialize
from pipelines.engine.units import read_units
from pipelines.engine.work import survey
from pipelines.executors import Serial
from pipelines.sources.spool import Spool
from tests.damage import seeded
from tests.pipelines.engine.test_materialize import contents
from tests.pipelines.toy import SCHEMA, UNITS, ToyParams, toy_view, units


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], _: ToyParams) -> dict[str, Any]:
    if unit["what"] != "good":
        raise RowError(unit["what"], "as it was to be")
    return {"material_id": unit["material_id"], "copy": int(unit["number"] < 0), "value": float(unit["number"])}


VIEW = toy_view(compute=compute, inputs=dict.fromkeys(("first", "second"), ("material_id", "number", "what")),
                units=lambda tables: pa.concat_tables(tables.values()))
"""Two units a crystal, from tables of 32 and of 16 parts."""


def publish(root: Path, name: str, rows: list[tuple[str, int, str]]) -> None:
    table = units(rows)
    parts = placement.number_of_parts(len(table))
    owners = placement.part_of(table["material_id"].to_pylist(), parts)
    split = (table.filter(pa.array(owners == part)) for part in range(parts))
    tables.publish(Paths(root).table(name), UNITS, ("material_id",), split, ({"parts": parts} for _ in range(parts)))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(placement, "ROWS_PER_PART", 8)
    kinds = ["good", "good", "good", "bad", "bug"]
    publish(tmp_path, "first", [(f"m{k}", k, kinds[k % 5]) for k in range(200)])
    publish(tmp_path, "second", [(f"m{k}", -k, kinds[k % 4]) for k in range(100)])
    return tmp_path


def run(root: Path, **options: Any) -> Report:
    return materialize(VIEW, ToyParams(), root, read_units(VIEW, root), options.get("executor", Serial()))


def test_windows_change_no_byte_and_no_count(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.units.PARTS", 32)
    assert read_units(VIEW, root).windows == 1
    whole = run(root)
    before = contents(root)
    assert run(root).tried == 0
    monkeypatch.setattr("pipelines.engine.units.PARTS", 2)
    found = read_units(VIEW, root)
    assert found.windows == 16
    assert sorted(map(len, found))[-1] < 60  # none of them holds much of the 300
    windowed = run(root)
    assert (windowed.tried, contents(root)) == (0, before)  # the fingerprints are the same
    for store in Paths(root).rowstore("toys").rglob("r*.parquet"):
        store.unlink()
    again = run(root)
    assert contents(root) == before
    assert (again.wanted, again.computed, again.rejected, again.tried, again.digest) == (
        whole.wanted, whole.computed, whole.rejected, whole.tried, whole.digest)


def test_inputs_that_change_under_a_run_stop_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.units.PARTS", 2)
    planned = survey(VIEW, ToyParams(), root, read_units(VIEW, root))
    chosen = planned.missing(retry_rejected=False)
    assert sum(len(group) for group, _ in planned.batches(chosen, 7)) == len(chosen) == 299  # m0 is the same in both

    class Meddling(Serial):
        def map(self, *arguments: Any) -> Any:
            publish(root, "first", [(f"m{k}", k + 1, "good") for k in range(200)])
            return super().map(*arguments)

    with pytest.raises(UserError, match="toys: its inputs were changed while this run read them"):
        run(root, executor=Meddling())
    assert not tables.exists(root, "toys")


def test_a_row_in_the_wrong_part_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.units.PARTS", 2)
    first, last = (root / f"data/features/first/part-{part:05d}.parquet" for part in (0, 31))
    content = first.read_bytes()
    first.write_bytes(last.read_bytes())
    last.write_bytes(content)
    sums.write(first.parent)
    with pytest.raises(UserError, match=r"m[0-9]+ lies in a part file of another range of ids"):
        run(root)


def test_a_spool_gives_what_its_source_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sources.spool.WINDOW_ROWS", 10)
    ids = [f"m{k}" for k in range(100)] + ["m5", "m7"]
    seeded(0).shuffle(ids)
    table = units([(name, k, "good") for k, name in enumerate(ids)])
    spool = Spool(iter(table.to_batches(max_chunksize=9)), UNITS, tmp_path)
    assert spool.windows == 16
    assert spool.table().equals(table)
    windows = [spool.window(number) for number in range(16)]
    assert sorted((row for window in windows for row in window.to_pylist()), key=lambda row: row["number"]) \
        == table.to_pylist()
    assert all(set(placement.part_of(window["material_id"].to_pylist(), 16)) <= {number}
               for number, window in enumerate(windows))
    spool.choose(3, lambda name: "" if name == "m5" else name.rjust(5))
    assert spool.table()["material_id"].to_pylist() == [name for name in ids if name in ("m5", "m0")]
    assert sum(spool.window(number).num_rows for number in range(16)) == 3
    assert list(tmp_path.iterdir()) == []
