"""`python -m benchmarks.cluster`: what the executors cost, and Dask on this machine against its own processes.

First batches that are nothing to compute, of one short text each, through every executor: the core-milliseconds that
one costs all processes together, once the workers are there, and its share of a batch of descriptions. Then
descriptions of `--crystals` real crystals, of `--table FILE` (Parquet with `cif`) or of the embedded elastic set, by
two processes and by Dask with two and with four workers: seconds from when all workers have described something, and
whether the rows are the same bytes. On two cores, four workers share what two have.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.figures import Figure, show
from benchmarks.refresh import crystals
from features import registry
from features.view import Batch
from pipelines import executors
from pipelines.engine.materialize import job_of
from pipelines.executors import Executor, Job, Pool
from pipelines.executors.remote import to_bytes

WORKERS = 2
SHARE = 2.0
"""Most percent of a batch of descriptions that an executor may cost."""
TEXT = pa.table({"material_id": ["mp-1"], "text": ["A" * 2000]})


def main() -> int:
    """Print all figures; 1 if a bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=160)
    parser.add_argument("--batches", type=int, default=400, help="Batches that are nothing to compute.")
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    return show(f"cluster: {arguments.crystals} crystals of {arguments.table or 'the elastic set'}, {WORKERS} workers",
                figures(arguments.table, arguments.crystals, arguments.batches))


def figures(source: Path | None, count: int, batches: int) -> Iterator[Figure]:
    """All of them, as they are measured."""
    view = registry.view_of("describe")
    params: Any = view.params()
    job = job_of(view, params)
    units = crystals.units(crystals.table(source, count))
    described = [units.slice(first, view.batch_size) for first in range(0, len(units), view.batch_size)]
    expected, seconds, core_s = run(executors.make("processes", WORKERS), job, described)
    batch_ms = 1000 * core_s / len(described)
    yield Figure(f"a batch of {view.batch_size} descriptions", batch_ms, "ms", note="core-milliseconds",
                 key="cluster.describe_batch")
    for name in executors.EXECUTORS:
        each = [TEXT] * batches
        _, wall, core_s = run(executors.make(name, None if name == "serial" else WORKERS), Job(compute=nothing), each)
        cost = 1000 * core_s / batches
        yield Figure(f"{name}: an empty batch", cost, "ms", key=f"cluster.{name}.batch",
                     note=f"core-milliseconds of all processes; one comes every {1000 * wall / batches:.1f} ms")
        yield Figure(f"{name}: of a batch of descriptions", 100 * cost / batch_ms, "%", most=SHARE,
                     key=f"cluster.{name}.share")
    yield Figure(f"processes: {count} descriptions", seconds, "s", key="cluster.processes.seconds")
    for workers in (2, 4):
        rows, took, _ = run(executors.make("dask", workers), job, described)
        yield Figure(f"dask, {workers} workers: to processes", took / seconds, "times", note=f"{took:.1f} s",
                     key=f"cluster.dask_{workers}.ratio")
        yield Figure(f"dask, {workers} workers: rows of equal bytes", float(rows == expected), "", least=1)


def run(executor: Executor, job: Job, batches: list[pa.Table]) -> tuple[bytes, float, float]:
    """The rows of all batches in their order, and the seconds and core-seconds they take workers that are warm."""
    with executor.pool(job) as pool:
        scattered(pool, batches[:4 * pool.width])
        began, used = time.perf_counter(), core_seconds()
        made = scattered(pool, batches)
        return made, time.perf_counter() - began, core_seconds() - used


def scattered(pool: Pool, batches: list[pa.Table]) -> bytes:
    """The rows of all batches in their order."""
    made = dict(executors.scatter(pool, batches))
    return to_bytes(pa.concat_tables([made[number].rows for number in range(len(batches))]))


def core_seconds() -> float:
    """What this process and all that it has started and that still run have used."""
    everyone = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return float(np.sum([one.cpu_times()[:2] for one in everyone if one.is_running()]))


def nothing(units: pa.Table) -> Batch:
    """The units as they are."""
    return Batch(units, list(range(len(units))), {})


if __name__ == "__main__":
    from benchmarks import cluster  # workers find `nothing` by the name of its module

    sys.exit(cluster.main())
