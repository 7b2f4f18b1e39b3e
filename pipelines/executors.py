"""Where `compute` runs. An executor maps it over batches; a batch that fails is tried again row by row.

Every executor gives the same rows. `processes` also survives what no exception can express: a worker that dies (a
crash in C code, a killed process) or hangs costs the one row that did it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from features.view import ENVIRONMENT, Batch, Reject, reject

Compute = Callable[[pa.Table], Batch]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Executor(Protocol):
    """Maps a pure function over batches of units."""

    def map(self, compute: Compute, batches: Sequence[pa.Table], timeout_s: float | None,
            preload: Sequence[str]) -> Iterator[tuple[int, Batch]]:
        """Yield (index of the batch, its rows and rejects) as they are finished, in any order."""


class Serial:
    """In this process, one batch after the other. It has no time-out and no protection from crashes."""

    def map(self, compute: Compute, batches: Sequence[pa.Table], timeout_s: float | None,  # noqa: ARG002
            preload: Sequence[str]) -> Iterator[tuple[int, Batch]]:  # noqa: ARG002
        for index, batch in enumerate(batches):
            yield index, _rows_one_by_one(compute, batch)


class Processes:
    """Worker processes with a time-out for each unit."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, compute: Compute, batches: Sequence[pa.Table], timeout_s: float | None,
            preload: Sequence[str]) -> Iterator[tuple[int, Batch]]:
        from pebble import ProcessPool

        # A task is a batch or one row of a batch that failed: (index of the batch, first row, units).
        todo = [(index, 0, batch) for index, batch in enumerate(batches)][::-1]
        waiting: dict[concurrent.futures.Future[Batch], tuple[int, int, pa.Table]] = {}
        finished: dict[int, list[tuple[int, Batch]]] = {}
        open_units = [len(batch) for batch in batches]
        with _workers_ready(preload) as context, \
                ProcessPool(max_workers=self.workers, context=context, initializer=_ignore_interrupts) as pool:
            try:
                while todo or waiting:
                    # only a few batches wait in the pool, so that memory does not grow with their number
                    while todo and len(waiting) < 4 * self.workers:
                        task = todo.pop()
                        limit = None if timeout_s is None else timeout_s * len(task[2])
                        waiting[pool.schedule(compute, args=[task[2]], timeout=limit)] = task
                    done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        index, first, batch = waiting.pop(future)
                        result = _result(future, batch, timeout_s)
                        if result is None:  # the batch failed as a whole: find the row that did it
                            todo += [(index, row, batch.slice(row, 1)) for row in range(len(batch))]
                            continue
                        finished.setdefault(index, []).append((first, result))
                        open_units[index] -= len(batch)
                        if not open_units[index]:
                            yield index, join(finished.pop(index))
            finally:
                pool.stop()


def _result(future: concurrent.futures.Future[Batch], batch: pa.Table, timeout_s: float | None) -> Batch | None:
    """What a worker gave back; a reject if the one row made it fail, None if one of several did."""
    from pebble import ProcessExpired

    try:
        return future.result()
    except (concurrent.futures.TimeoutError, ProcessExpired) as error:
        why = _lost_worker(error, timeout_s)
    except ENVIRONMENT:
        raise
    except Exception as error:  # whatever compute raised belongs to the row, not to the run
        why = reject("", error)
    if len(batch) > 1:
        return None
    return rejected(batch, why)


def _lost_worker(error: BaseException, timeout_s: float | None) -> Reject:
    """Why a worker did not come back."""
    if isinstance(error, concurrent.futures.TimeoutError):
        return Reject("", "timeout", f"took longer than {timeout_s:g} s")
    code = getattr(error, "exitcode", None)
    how = signal.Signals(-code).name if code and code < 0 else code
    return Reject("", "crash", f"the worker process died ({how})")


def rejected(unit: pa.Table, why: Reject) -> Batch:
    """The result for a single unit that cannot be computed."""
    return Batch(unit.schema.empty_table(), [], {0: Reject(unit["material_id"][0].as_py(), why.error, why.message)})


def _rows_one_by_one(compute: Compute, batch: pa.Table) -> Batch:
    try:
        return compute(batch)
    except ENVIRONMENT:
        raise
    except Exception as error:  # see `_result`
        if len(batch) == 1:
            return rejected(batch, reject("", error))
        return join([(row, _rows_one_by_one(compute, batch.slice(row, 1))) for row in range(len(batch))])


def join(parts: list[tuple[int, Batch]]) -> Batch:
    """Put the results of a batch's parts together, each with the index of its first unit."""
    tables = [part.rows for _, part in parts if len(part.rows)]
    return Batch(
        pa.concat_tables(tables) if tables else parts[0][1].rows,
        [first + owner for first, part in parts if len(part.rows) for owner in part.owners],
        {first + index: why for first, part in parts for index, why in part.rejects.items()},
    )


@contextlib.contextmanager
def _workers_ready(preload: Sequence[str]) -> Iterator[Any]:
    """A fork server that has imported what workers need: a new worker after a crash starts in no time.

    Each worker gets one thread for linear algebra, since the processes already fill the cores.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        multiprocessing.forkserver.ensure_running()
        yield context
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _ignore_interrupts() -> None:
    """Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make(name: str, workers: int | None) -> Executor:
    """The executor of a name. `workers` defaults to the cores this process may use."""
    if name == "serial":
        return Serial()
    return Processes(available_cores() if workers is None else workers)


def available_cores() -> int:
    """Cores that this process may use; all of them where the system does not say (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


EXECUTORS = ("serial", "processes")
