"""Executors on this machine: `serial`, and `processes`, which survives what no exception can express.

A worker process that dies (a crash in C code, a kill) or hangs costs the one row that did it. Its time-out is a timer
of the system, set anew when a unit begins (`features.view.begins`): when it rings, the system ends the process, even
one that hangs in C code. The process also notes the unit in shared memory, where the parent reads which one it was.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import pickle
import resource
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from features.processes import fork_server, ready
from features.view import ENVIRONMENT, Batch, begins
from pipelines.executors.scatter import (
    BatchError,
    Compute,
    Executor,
    Job,
    Pool,
    attempt,
    batch_error,
    chained,
    join,
    rejected,
)

GB = 1_000_000_000
NO_UNIT = -1
NOTES = 1024
"""Batches for each worker that may be out at once; a pool's `in_flight`, for each thread that uses it, is far below."""


class Serial(Executor):
    """In this process, one batch after the other. It has no time-out and no protection from crashes: a process cannot
    end what hangs in its own C code and go on."""

    @contextlib.contextmanager
    def pool(self, job: Job) -> Iterator[Pool]:
        yield _SerialPool(job)


class _SerialPool(Pool):
    width = 1
    in_flight = 1

    def __init__(self, job: Job) -> None:
        self.job = job
        self.turn = threading.Lock()

    def submit(self, units: pa.Table) -> concurrent.futures.Future[Batch]:
        future: concurrent.futures.Future[Batch] = concurrent.futures.Future()
        with self.turn:
            try:
                future.set_result(attempt(self.job.compute, units))
            except Exception as error:  # it is raised where the result is asked for
                future.set_exception(error)
        return future


class Processes(Executor):
    """Worker processes with a time-out for each unit."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @contextlib.contextmanager
    def pool(self, job: Job) -> Iterator[ProcessPool]:
        from pebble import ProcessPool as Pebble

        context = fork_server(job.preload)
        notes = context.RawArray("q", NOTES * self.workers)
        with Pebble(max_workers=self.workers, context=context, initializer=_ready,
                    initargs=[job.preload, notes, job.memory_bytes]) as processes:
            try:
                yield ProcessPool(job, self.workers, processes, notes)
            finally:
                processes.stop()


class ProcessPool(Pool):
    """Child processes of this one."""

    width = 0  # set for each pool

    def __init__(self, job: Job, width: int, processes: Any, notes: Any) -> None:
        self.job = job
        self.width = width
        self.processes = processes
        self.notes = notes
        """Integers that workers write and this process reads: for each batch, the index of the unit in work."""
        self.free = deque(range(len(notes)))

    def submit(self, units: pa.Table) -> concurrent.futures.Future[Batch]:
        place = self.free.popleft()
        self.notes[place] = NO_UNIT
        inner = self.processes.schedule(_work, args=[self.job, units, place])
        outer = chained(inner, functools.partial(self._read, place))
        inner.add_done_callback(lambda _: self.free.append(place))  # after `_read`
        return outer

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function gives in a worker."""
        return self.processes.schedule(function, args=arguments).result()

    def _read(self, place: int, done: concurrent.futures.Future[Batch]) -> Batch:
        from pebble import ProcessExpired

        try:
            return done.result()
        except ProcessExpired as error:
            code = error.exitcode
            unit = None if self.notes[place] == NO_UNIT else self.notes[place]
            if code == -signal.SIGALRM:
                raise BatchError("timeout", f"took longer than {self.job.timeout_s:g} s", unit) from None
            how = signal.Signals(-code).name if code and code < 0 else code
            raise BatchError("crash", f"the worker process died ({how})", unit) from None


# From here on, what runs in a worker process.

_notes: Any = None
"""The parent's notes."""


def _ready(preload: Sequence[str], notes: Any, memory_bytes: int | None) -> None:
    """First thing in a worker."""
    global _notes
    _notes = notes
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it ends the process; a parent may have had it ignored or blocked
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    ready(preload)
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _work(job: Job, units: pa.Table, place: int) -> Batch:
    """Compute a batch with the timer set, and let out only errors that can travel."""
    limit = job.timeout_s or 0.0  # a timer of 0 s is none

    def begin(index: int) -> None:
        _notes[place] = index
        signal.setitimer(signal.ITIMER_REAL, limit)

    token = begins.set(begin)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return _one_by_one(job.compute, units, begin) if job.one_by_one else attempt(job.compute, units)
    except BatchError:
        raise
    except MemoryError as error:
        if job.memory_bytes is None:
            raise _portable(error) from None
        raise BatchError("memory", f"needs more than {job.memory_bytes / GB:g} GB of memory", _unit(place)) from None
    except ENVIRONMENT as error:
        raise _portable(error) from None
    except BaseException as error:  # the end of an interpreter, a panic in Rust: a row's doing as well
        raise batch_error(error) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _notes[place] = NO_UNIT  # what happens from now on, while the result travels, is no unit's doing
        begins.reset(token)


def _unit(place: int) -> int | None:
    """Index of the unit in work; None before the first."""
    return None if _notes[place] == NO_UNIT else int(_notes[place])


def _one_by_one(compute: Compute, units: pa.Table, begin: Callable[[int], None]) -> Batch:
    parts = []
    for index in range(len(units)):
        begin(index)
        unit = units.slice(index, 1)
        try:
            parts.append((index, attempt(compute, unit)))
        except BatchError as error:
            parts.append((index, rejected(unit, error)))
    return join(parts)


def _portable(error: Exception) -> Exception:
    """An error of the machine or the set-up that the parent can read: some subclasses do not survive pickle."""
    with contextlib.suppress(Exception):  # whatever a class does that was not made to travel
        if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301 (made here)
            return error
    base = next(kind for kind in ENVIRONMENT if isinstance(error, kind))
    return base(f"{type(error).__name__}: {' '.join(str(error).split())}")
