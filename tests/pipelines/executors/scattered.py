"""What every executor must do, for the tests of each."""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import re
import signal
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pytest

from features.errors import UserError
from features.paths import Paths
from features.view import Batch, Reject
from pipelines.engine.materialize import job_of, materialize
from pipelines.executors import Executor, Job, Pool, Serial
from tests.pipelines.toy import ToyParams, toy_view, units

KINDS = ["good", "crash", "hang", "good", "good", "good", "bad", "bug"]
BECOMES = {"m0": "0", "m1": "crash", "m2": "timeout", "m3": "6", "m4": "8", "m5": "10", "m6": "bad",
           "m7": "ZeroDivisionError"}
TIMEOUT_S = 1.0


def toy_job(timeout_s: float = 20.0, **changes: object) -> Job:
    return dataclasses.replace(job_of(toy_view(), ToyParams(timeout_s=timeout_s)), **changes)  # type: ignore[arg-type]


def outcome(executor: Executor, kinds: list[str], batch: int = 2, job: Job | None = None) -> dict[str, str]:
    """What became of each row: its value or its error."""
    table = units([(f"m{k}", k, kind) for k, kind in enumerate(kinds)])
    batches = [table.slice(first, batch) for first in range(0, len(table), batch)]
    outcomes: dict[str, str] = {}
    for index, result in executor.map(job or toy_job(), batches):
        outcomes |= named(batches[index], result)
    assert len(outcomes) == len(kinds)
    return outcomes


def named(batch: pa.Table, result: Batch) -> dict[str, str]:
    """What became of each row of a batch; every row and reject must lie under its own unit."""
    outcomes = {}
    for owner, row in zip(result.owners, result.rows.to_pylist(), strict=True):
        assert batch["material_id"][owner].as_py() == row["material_id"]
        outcomes[row["material_id"]] = f"{row['value']:g}"
    for position, reject in result.rejects.items():
        assert batch["material_id"][position].as_py() == reject.material_id
        outcomes[reject.material_id] = reject.error
    return outcomes


def contents(root: Path) -> dict[str, bytes]:
    """All published bytes."""
    folder = Paths(root).features
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def logged(table: pa.Table) -> Batch:
    """For a `one_by_one` job: each row tells a file that it was begun; then it may hang, crash or do other harm."""
    for unit in table.to_pylist():
        act(unit)
    return Batch(table, list(range(len(table))), {})


def act(unit: dict[str, object]) -> None:
    """What `what` says, after a line into the file that it names."""
    what, file = str(unit["what"]).split(":", 1)
    with open(file, "a") as log:
        log.write(f"{unit['material_id']}\n")
    if what == "hang":
        ctypes.PyDLL(None).sleep(600)  # in C, with the interpreter's lock held
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "slow":
        time.sleep(0.8)


def log_units(file: Path, kinds: list[str]) -> pa.Table:
    """Units for `act`."""
    return units([(f"m{k}", k, f"{kind}:{file}") for k, kind in enumerate(kinds)])


def times_begun(file: Path) -> Counter[str]:
    """How often each row was begun."""
    return Counter(file.read_text().split())


STOPS = {
    "UserError": (UserError("there is no such encoder"), UserError, "there is no such encoder"),
    "MemoryError": (MemoryError("no room for 9 TiB"), MemoryError, "no room for 9 TiB"),
    "ENOSPC": (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space left on device"),
    "TimeoutError": (TimeoutError("the disk does not answer"), OSError, "the disk does not answer"),
    # an OSError whose class pickle cannot bring back
    "HTTPError": (urllib.error.HTTPError("http://h/", 503, "too busy", {}, None), OSError, "too busy"),  # type: ignore[arg-type]
}
"""Errors of the machine or the set-up, by name: what is raised, what arrives, its words."""


def raise_by_name(table: pa.Table) -> Batch:
    """Raise what the second row names."""
    raise STOPS[table["what"][1].as_py()][0]


def stops(executor: Executor, name: str) -> None:
    """An error of the machine or the set-up stops the run, and makes no reject."""
    _, kind, words = STOPS[name]
    table = units([("m0", 0, "good"), ("m1", 1, name)])
    with pytest.raises(kind, match=re.escape(words)):
        list(executor.map(Job(compute=raise_by_name), [table]))


class Unsendable(Reject):
    """A reject that pickle refuses."""

    def __reduce__(self) -> str:
        raise TypeError("this cannot travel")


def unsendable(table: pa.Table) -> Batch:
    """Row `odd` has a result that cannot be sent."""
    odd = [index for index, what in enumerate(table["what"].to_pylist()) if what == "odd"]
    good = [index for index in range(len(table)) if index not in odd]
    return Batch(table.take(pa.array(good, pa.int64())), good,
                 {index: Unsendable(f"m{index}", "odd", "odd") for index in odd})


def keeps_what_cannot_be_sent_to_its_row(executor: Executor) -> None:
    """A result that does not pickle costs its row, and not the run."""
    table = units([("m0", 0, "good"), ("m1", 1, "odd"), ("m2", 2, "good")])
    ((_, result),) = executor.map(Job(compute=unsendable), [table])
    assert (sorted(result.owners), list(result.rejects)) == ([0, 2], [1])
    assert result.rejects[1] == Reject("m1", "TypeError", "this cannot travel")


class Disturbed(Executor):
    """Another executor to which something happens in the middle of a run."""

    def __init__(self, inner: Executor, disturb: Callable[[], None]) -> None:
        self.inner = inner
        self.disturb = disturb

    def pool(self, job: Job) -> AbstractContextManager[Pool]:
        return self.inner.pool(job)

    def map(self, job: Job, batches: Iterable[pa.Table]) -> Iterator[tuple[int, Batch]]:
        for count, result in enumerate(super().map(job, batches)):
            if count == 2:
                self.disturb()
            yield result


def survives(executor: Executor, disturb: Callable[[], None], root: Path) -> None:
    """A run that is disturbed loses nothing and writes the bytes of one that is not."""
    table = units([(f"m{k}", k, "bad" if k % 9 == 0 else "slow") for k in range(72)])
    report = materialize(toy_view(), ToyParams(), root / "disturbed", table, Disturbed(executor, disturb))
    assert (report.wanted, report.tried, report.rejected) == (72, 72, 8)
    materialize(toy_view(), ToyParams(), root / "serial", table, Serial())
    assert contents(root / "disturbed") == contents(root / "serial")


def same_bytes(executor: Executor, root: Path) -> None:
    """A clean build and an incremental one are byte for byte those of `serial`."""
    before = units([(f"m{k}", k, "bad" if k % 7 == 0 else "good") for k in range(40)])
    after = units([(f"m{k}", k + 10 * (k == 8), "bug" if k % 5 == 0 else "good") for k in range(5, 60)])
    params = ToyParams(copies=2)
    view = toy_view(batch_size=8)
    materialize(view, params, root / "serial", after, Serial())
    for table in (before, after):
        materialize(view, params, root / "incremental", table, executor)
    materialize(view, params, root / "clean", after, executor)
    assert contents(root / "clean") == contents(root / "serial")
    assert contents(root / "incremental") == contents(root / "serial")
