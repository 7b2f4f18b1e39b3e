"""The one loop behind every executor: batches go out to a pool, rows come back in any order, no row is lost."""

from __future__ import annotations

import concurrent.futures
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from features.view import ENVIRONMENT, Batch, Reject, reject

Compute = Callable[[pa.Table], Batch]
Result = TypeVar("Result")

LOOK_S = 5.0
"""When nothing has come back for this long, the pool is asked whether its work can still go on."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done to every batch of a run. It must pickle, since workers get it as it is."""

    compute: Compute
    """Units in, rows and rejects out."""
    timeout_s: float | None = None
    """Longest time for one unit."""
    preload: tuple[str, ...] = ()
    """Modules that a worker imports before its first unit."""
    gpu: bool = False
    """Whether only workers with a GPU may do it. Where there is one machine, this says nothing."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Distributions that decide a value, with the versions that the fingerprints say: other machines must have them."""
    digest: str = ""
    """Of anything else that decides a value."""
    find_digest: Callable[[], str] | None = None
    """Gives the digest of the machine that it runs on."""


class BatchError(Exception):
    """A batch failed as a whole: `compute` raised something, or the worker did not come back (timeout, crash)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


class Pool(ABC):
    """Workers that are ready for one job. Several threads may use one pool at once."""

    @property
    @abstractmethod
    def width(self) -> int:
        """How many batches it works on at once."""

    @property
    def in_flight(self) -> int:
        """How many batches are out at once: enough that no worker waits, few enough to bound the memory."""
        return 4 * self.width

    @abstractmethod
    def submit(self, units: pa.Table) -> concurrent.futures.Future[Batch]:
        """Compute a batch. The future raises `BatchError` if it failed as a whole, or an error of `ENVIRONMENT`."""

    def check(self) -> None:  # noqa: B027 (pools of this machine can always go on)
        """Raise `UserError` if what was submitted can never be finished."""


class Executor(ABC):
    """Where jobs run. Every executor gives the same rows."""

    @abstractmethod
    def pool(self, job: Job) -> AbstractContextManager[Pool]:
        """Workers for a job. Leaving the context ends them, whatever they are doing."""

    def map(self, job: Job, batches: Iterable[pa.Table]) -> Iterator[tuple[int, Batch]]:
        """Yield (index of the batch, its rows and rejects) as they are finished, in any order."""
        with self.pool(job) as pool:
            yield from scatter(pool, batches)


@dataclass(frozen=True)
class _Task:
    """A batch, or one row of a batch that failed."""

    index: int
    first: int
    units: pa.Table


def scatter(pool: Pool, batches: Iterable[pa.Table]) -> Iterator[tuple[int, Batch]]:
    """Yield (index of the batch, its rows and rejects) as they are finished, in any order.

    A batch that failed as a whole is tried again row by row, so that only the row that did it becomes a reject.
    Raises the errors of `ENVIRONMENT`: they belong to the machine or the set-up and stop the run. `batches` are taken
    as they are needed.
    """
    fresh = enumerate(batches)
    again: list[_Task] = []
    waiting: dict[concurrent.futures.Future[Batch], _Task] = {}
    finished: dict[int, list[tuple[int, Batch]]] = {}
    open_units: dict[int, int] = {}
    try:
        while True:
            while len(waiting) < pool.in_flight:
                if again:
                    task = again.pop()
                elif (batch := next(fresh, None)) is not None:
                    task = _Task(batch[0], 0, batch[1])
                    open_units[task.index] = len(task.units)
                else:
                    break
                waiting[pool.submit(task.units)] = task
            if not waiting:
                return
            done, _ = concurrent.futures.wait(waiting, LOOK_S, return_when=concurrent.futures.FIRST_COMPLETED)
            if not done:
                pool.check()
            for future in done:
                task = waiting.pop(future)
                result = _result(future, task.units)
                if result is None:
                    again += [_Task(task.index, row, task.units.slice(row, 1)) for row in range(len(task.units))]
                    continue
                finished.setdefault(task.index, []).append((task.first, result))
                open_units[task.index] -= len(task.units)
                if not open_units[task.index]:
                    del open_units[task.index]
                    yield task.index, join(finished.pop(task.index))
    finally:
        for future in waiting:
            future.cancel()


def _result(future: concurrent.futures.Future[Batch], units: pa.Table) -> Batch | None:
    """What a worker gave back; a reject if the one row made it fail, None if one of several did."""
    try:
        return future.result()
    except BatchError as error:
        why = Reject("", error.kind, error.message)
    except (*ENVIRONMENT, concurrent.futures.CancelledError, concurrent.futures.BrokenExecutor):
        raise
    except Exception as error:  # a result that cannot be sent belongs to its row, not to the run
        why = reject("", error)
    return None if len(units) > 1 else rejected(units, why)


def attempt(compute: Compute, units: pa.Table) -> Batch:
    """Compute a batch where its worker is. Whatever `compute` raises becomes a `BatchError`, which can travel."""
    try:
        return compute(units)
    except ENVIRONMENT:
        raise
    except Exception as error:  # it belongs to a row, not to the run
        why = reject("", error)
        raise BatchError(why.error, why.message) from None


def chained(inner: concurrent.futures.Future[Result],
            read: Callable[[concurrent.futures.Future[Result]], Batch]) -> concurrent.futures.Future[Batch]:
    """A future of what `read` makes of another one, once that is done. Cancelling it cancels the other."""
    outer: concurrent.futures.Future[Batch] = concurrent.futures.Future()

    def finish(done: concurrent.futures.Future[Result]) -> None:
        if not outer.set_running_or_notify_cancel():
            return
        try:
            outer.set_result(read(done))
        except BaseException as error:  # it is raised where the result is asked for
            outer.set_exception(error)

    inner.add_done_callback(finish)
    outer.add_done_callback(lambda future: inner.cancel() if future.cancelled() else None)
    return outer


def rejected(unit: pa.Table, why: Reject) -> Batch:
    """The result for a single unit that cannot be computed."""
    return Batch(unit.schema.empty_table(), [], {0: Reject(unit["material_id"][0].as_py(), why.error, why.message)})


def join(parts: list[tuple[int, Batch]]) -> Batch:
    """Put the results of a batch's parts together, each with the index of its first unit."""
    tables = [part.rows for _, part in parts if len(part.rows)]
    return Batch(
        pa.concat_tables(tables) if tables else parts[0][1].rows,
        [first + owner for first, part in parts if len(part.rows) for owner in part.owners],
        {first + index: why for first, part in parts for index, why in part.rejects.items()},
    )
