"""A worker that dies or hangs costs one row, not the run."""

import functools

import pytest

from pipelines.executors import Executor, Job, Processes, Serial
from tests.pipelines import toy
from tests.pipelines.toy import ToyParams, units


def call(params: ToyParams, table: object) -> object:
    return toy.compute(table, params)  # type: ignore[arg-type]


def outcome(executor: Executor, kinds: list[str], batch: int, timeout: float = 20.0) -> dict[str, str]:
    """What became of each row: its value or its error."""
    table = units([(f"m{k}", k, kind) for k, kind in enumerate(kinds)])
    batches = [table.slice(first, batch) for first in range(0, len(table), batch)]
    function = functools.partial(call, ToyParams())
    found: dict[str, str] = {}
    for index, result in executor.map(Job(compute=function, timeout_s=timeout), batches):  # type: ignore[arg-type]
        for owner, row in zip(result.owners, result.rows.to_pylist(), strict=True):
            assert batches[index]["material_id"][owner].as_py() == row["material_id"]
            found[row["material_id"]] = f"{row['value']:g}"
        for position, reject in result.rejects.items():
            assert batches[index]["material_id"][position].as_py() == reject.material_id
            found[reject.material_id] = reject.error
    return found


def test_serial() -> None:
    assert outcome(Serial(), ["good", "bad", "bug", "good"], batch=3) == {
        "m0": "0", "m1": "bad", "m2": "ZeroDivisionError", "m3": "6"}


@pytest.mark.slow
def test_a_crash_and_a_hang_cost_one_row_each() -> None:
    kinds = ["good", "crash", "good", "good", "hang", "good", "bad", "good", "good"]
    found = outcome(Processes(2), kinds, batch=3, timeout=5.0)
    assert found == {"m0": "0", "m1": "crash", "m2": "4", "m3": "6", "m4": "timeout", "m5": "10", "m6": "bad",
                     "m7": "14", "m8": "16"}
