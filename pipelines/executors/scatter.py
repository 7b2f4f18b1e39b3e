"""The one loop behind every executor: batches go out to a pool, rows come back in any order, no row is lost."""

from __future__ import annotations

import concurrent.futures
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from features.errors import RowError
from features.progress import detail
from features.view import ENVIRONMENT, Batch, Reject, reject, row_errors

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
    """Longest time for one unit, where `compute` calls `features.view.begins` or `one_by_one` is set; else for a batch.
    Only worker processes can be ended when it is over."""
    memory_bytes: int | None = None
    """Most memory of a worker process; a unit that needs more fails."""
    one_by_one: bool = False
    """Whether a worker process gives `compute` its units one at a time: for one that does not say when it begins one,
    and gains nothing from having several."""
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

    def __init__(self, kind: str, message: str, unit: int | None = None) -> None:
        super().__init__(kind, message, unit)
        self.kind = kind
        self.message = message
        self.unit = unit
        """Index of the unit that was being computed; None if nobody can tell."""


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
    """A batch, or a part of a batch that failed."""

    index: int
    first: int
    units: pa.Table

    def part(self, first: int, last: int) -> _Task:
        """The units from `first` to before `last`."""
        return _Task(self.index, self.first + first, self.units.slice(first, last - first))


def scatter(pool: Pool, batches: Iterable[pa.Table]) -> Iterator[tuple[int, Batch]]:
    """Yield (index of the batch, its rows and rejects) as they are finished, in any order.

    A batch that failed as a whole is tried again in parts, so that only the row that did it becomes a reject. Raises
    the errors of `ENVIRONMENT`: they belong to the machine or the set-up and stop the run. `batches` are taken as they
    are needed.
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
                result = _result(future, waiting.pop(future))
                again += result.again
                if result.batch is None:
                    continue
                index = result.task.index
                finished.setdefault(index, []).append((result.task.first, result.batch))
                open_units[index] -= len(result.task.units)
                if not open_units[index]:
                    del open_units[index]
                    yield index, join(finished.pop(index))
    finally:
        for future in waiting:
            future.cancel()


@dataclass(frozen=True)
class _Result:
    """What a worker made of a task."""

    task: _Task
    """The task, or the part of it that is settled."""
    batch: Batch | None
    """Its rows and rejects; None if it is to be tried again."""
    again: list[_Task] = field(default_factory=list)


def _result(future: concurrent.futures.Future[Batch], task: _Task) -> _Result:
    try:
        return _Result(task, future.result())
    except BatchError as error:
        failure = error
    except (*ENVIRONMENT, concurrent.futures.CancelledError, concurrent.futures.BrokenExecutor):
        raise
    except Exception as error:  # a result that cannot be sent belongs to its row, not to the run
        failure = batch_error(error)
    count, unit = len(task.units), failure.unit
    if count == 1:
        return _Result(task, rejected(task.units, failure))
    whose = None if unit is None else task.units["material_id"][unit].as_py()
    detail(f"a batch of {count} failed ({failure.kind}: {failure.message}); what it leaves is tried again", whose)
    if unit is None:
        return _Result(task, None, [task.part(row, row + 1) for row in range(count)])
    culprit = task.part(unit, unit + 1)
    others = [part for part in (task.part(0, unit), task.part(unit + 1, count)) if len(part.units)]
    if failure.kind == "timeout":  # it has had its time
        return _Result(culprit, rejected(culprit.units, failure), others)
    return _Result(task, None, [*others, culprit])  # a crash may be the doing of those before


def attempt(compute: Compute, units: pa.Table) -> Batch:
    """Compute a batch where its worker is. Whatever `compute` raises becomes a `BatchError`, which can travel."""
    try:
        with row_errors():
            return compute(units)
    except RowError as error:
        raise batch_error(error) from None


def batch_error(error: BaseException) -> BatchError:
    """The failure of a batch with an exception's own words."""
    why = reject("", error)
    return BatchError(why.error, why.message)


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


def rejected(unit: pa.Table, failure: BatchError) -> Batch:
    """The result for a single unit that cannot be computed."""
    why = Reject(unit["material_id"][0].as_py(), failure.kind, failure.message)
    return Batch(unit.schema.empty_table(), [], {0: why})


def join(parts: list[tuple[int, Batch]]) -> Batch:
    """Put the results of a batch's parts together, each with the index of its first unit."""
    tables = [part.rows for _, part in parts if len(part.rows)]
    return Batch(
        pa.concat_tables(tables) if tables else parts[0][1].rows,
        [first + owner for first, part in parts if len(part.rows) for owner in part.owners],
        {first + index: why for first, part in parts for index, why in part.rejects.items()},
    )
