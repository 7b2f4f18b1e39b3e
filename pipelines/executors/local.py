"""Executors on this machine: `serial`, and `processes`, which survives what no exception can express.

A worker process that dies (a crash in C code, a kill) or hangs costs the one row that did it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from features.view import Batch
from pipelines.executors.scatter import BatchError, Executor, Job, Pool, attempt, chained

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_starting = threading.Lock()


class Serial(Executor):
    """In this process, one batch after the other. It has no time-out and no protection from crashes."""

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

        with Pebble(max_workers=self.workers, context=_fork_server(job.preload), initializer=_ready,
                    initargs=[job.preload]) as processes:
            try:
                yield ProcessPool(job, self.workers, processes)
            finally:
                processes.stop()


class ProcessPool(Pool):
    """Child processes of this one."""

    width = 0  # set for each pool

    def __init__(self, job: Job, width: int, processes: Any) -> None:
        self.job = job
        self.width = width
        self.processes = processes

    def submit(self, units: pa.Table) -> concurrent.futures.Future[Batch]:
        limit = None if self.job.timeout_s is None else self.job.timeout_s * len(units)
        return chained(self.processes.schedule(attempt, args=[self.job.compute, units], timeout=limit), self._read)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function gives in a worker."""
        return self.processes.schedule(function, args=arguments).result()

    def _read(self, done: concurrent.futures.Future[Batch]) -> Batch:
        from pebble import ProcessExpired

        try:
            return done.result()
        except concurrent.futures.TimeoutError:
            raise BatchError("timeout", f"took longer than {self.job.timeout_s:g} s") from None
        except ProcessExpired as error:
            code = error.exitcode
            how = signal.Signals(-code).name if code and code < 0 else code
            raise BatchError("crash", f"the worker process died ({how})") from None


def _fork_server(preload: Sequence[str]) -> Any:
    """A fork server that has imported what workers need: a new worker after a crash starts in no time.

    Workers inherit one thread for linear algebra from it, since the processes already fill the cores. A process has
    one such server: what a later job wants besides, its workers import themselves.
    """
    context = multiprocessing.get_context("forkserver")
    with _starting:
        before = {name: os.environ.get(name) for name in THREADS}
        context.set_forkserver_preload(list(preload))
        os.environ.update(dict.fromkeys(THREADS, "1"))
        try:
            multiprocessing.forkserver.ensure_running()
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
    return context


def _ready(preload: Sequence[str]) -> None:
    """First thing in a worker. Ctrl-C is the parent's to handle, and a parent that was killed leaves no orphans."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for module in preload:
        with contextlib.suppress(ImportError):  # the row that needs it will say so
            importlib.import_module(module)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
