"""What executors on other machines share: how a batch travels, what a worker does with it, how long it is waited for.

Batches travel as Arrow, and the rows come back to the one process that writes. A worker computes in child processes of
its own (as `processes` does), so that a crash or a hang costs one row there too and not the worker.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import importlib.metadata
import multiprocessing
import multiprocessing.util
import pickle
import socket
import threading
import time
import urllib.parse
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from features.code import code_digest
from features.errors import UserError
from features.view import Batch, Reject
from pipelines.executors.local import Processes, ProcessPool
from pipelines.executors.scatter import BatchError, Job, Pool, chained

T = TypeVar("T")
PATIENCE_S = 30.0
"""Seconds to wait for a first worker, or for another one when all are gone: one that died is soon replaced."""
REFRESH_S = 5.0
IDLE_S = 60.0
"""A worker's child processes end when they have had nothing to do for this long."""
RETRIES = 3
"""How often a cluster tries a batch again whose worker died, before it is tried row by row."""


@dataclass(frozen=True)
class Answer:
    """What a worker made of a batch. An error is a value here, so that no cluster wraps it or tries it again."""

    rows: bytes = b""
    """As Arrow."""
    owners: list[int] = field(default_factory=list)
    rejects: dict[int, Reject] = field(default_factory=dict)
    error: Exception | None = None


def needed(executor: str) -> Any:
    """The package behind an executor. Raises `UserError` that says how to get it."""
    try:
        return importlib.import_module("distributed" if executor == "dask" else executor)
    except ImportError:
        raise UserError(f"executor '{executor}' needs the package {executor}: "
                        f"pip install 'multimodal-cpf[{executor}]'") from None


def reach(address: str, what: str, how: str) -> None:
    """Wait until something listens at HOST:PORT, with or without a scheme. Raises `UserError` if nothing does.

    The clients of clusters wait for minutes, or print pages, where this is one line.
    """
    parts = urllib.parse.urlsplit(address if "//" in address else f"//{address}")
    try:
        place = parts.hostname, parts.port
    except ValueError:
        place = None, None
    if None in place:
        raise UserError(f"--address {address} (or CPF_ADDRESS) is not HOST:PORT of {what}")
    last = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(place, timeout=PATIENCE_S).close()
            return
        except OSError as error:
            if time.monotonic() > last:
                raise UserError(f"{what} does not answer at {address} ({error}); {how}") from None
        time.sleep(0.5)


class RemotePool(Pool):
    """The side of the process that hands out batches and writes rows."""

    cluster: str
    """What it is, in words."""
    how_to_add: str
    """How a worker of the kind that the job needs is started."""

    def __init__(self, job: Job) -> None:
        self.gpu = job.gpu
        self.job = pickle.dumps((job, CODE))
        self.closed = False
        self.lock = threading.Lock()
        self.capacity = 0
        self.looked = self.seen = -float("inf")

    @abstractmethod
    def count(self) -> int:
        """How many batches the workers that may do this job take at once. Raises `OSError` if nobody answers."""

    @abstractmethod
    def send(self, units: bytes) -> concurrent.futures.Future[Answer]:
        """Have `work` done somewhere."""

    @abstractmethod
    def lost(self, error: BaseException) -> bool:
        """Whether the cluster gave a batch up because its workers died."""

    @property
    def width(self) -> int:
        self._look()
        return max(1, self.capacity)

    def submit(self, units: pa.Table) -> concurrent.futures.Future[Batch]:
        if self.closed:  # a thread that has not noticed; Ray would start anew for it
            raise RuntimeError(f"{self.cluster}: the run is over")
        return chained(self.send(to_bytes(units)), self._read)

    def ready(self) -> None:
        """Wait for the first worker. Raises `UserError` if there is none."""
        self.seen = time.monotonic()
        while not self.capacity:
            self.check()
            time.sleep(0.2)
            self._look(0.0)

    def check(self) -> None:
        self._look()
        if time.monotonic() - self.seen > PATIENCE_S:
            kind = "worker with a GPU" if self.gpu else "worker"
            raise UserError(f"{self.cluster} has had no {kind} for {PATIENCE_S:g} s; {self.how_to_add}")

    def _look(self, every_s: float = REFRESH_S) -> None:
        """See how many workers there are, now and then: a cluster may grow and shrink during a run."""
        with self.lock:
            now = time.monotonic()
            if now - self.looked < every_s:
                return
            self.looked = now
            try:
                self.capacity = self.count()
            except OSError as error:
                raise self._gone(error) from None
            if self.capacity:
                self.seen = now

    def _gone(self, error: BaseException) -> UserError:
        return UserError(f"{self.cluster} is gone ({str(error) or type(error).__name__}); finished rows are stored, "
                         "start it and run again")

    def _read(self, done: concurrent.futures.Future[Answer]) -> Batch:
        try:
            answer = done.result()
        except concurrent.futures.CancelledError as error:
            raise self._gone(error) from None
        except Exception as error:  # what a row did is in the answer: this is the cluster's or the worker's
            if self.lost(error):
                raise BatchError("crash", f"the workers that had it died ({type(error).__name__})") from None
            why = " ".join(str(error).split())[-300:]
            raise UserError(f"a worker of {self.cluster} cannot do it ({type(error).__name__}: {why}); is the same "
                            "commit of this project installed there?") from None
        if answer.error is not None:
            raise answer.error
        return Batch(from_bytes(answer.rows), answer.owners, answer.rejects)


def by_value(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """A function that travels whole and looks up the other one there: without this project the task fails, and not the
    worker that would have to unpickle it.
    """
    module, name = function.__module__, function.__name__

    def run(*arguments: Any) -> Answer:
        answer: Answer = getattr(importlib.import_module(module), name)(*arguments)
        return answer

    return run


def to_bytes(table: pa.Table) -> bytes:
    """A table as an Arrow stream: of a slice only the slice, which pickle does not do."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_bytes(data: bytes) -> pa.Table:
    """The table of an Arrow stream."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


CODE = code_digest("features")
"""Of the code that this process has loaded, which may be older than what lies on the disk by now: a worker with another
commit would write other values."""


def within(seconds: float, function: Callable[[], T], failure: str) -> T:
    """What a function gives that may never come back. Raises `UserError` with `failure` if it fails or takes longer."""
    made: concurrent.futures.Future[T] = concurrent.futures.Future()

    def call() -> None:
        try:
            made.set_result(function())
        except BaseException as error:  # it is raised where the result is asked for
            made.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    try:
        return made.result(seconds)
    except concurrent.futures.TimeoutError:
        raise UserError(f"{failure} (no answer within {seconds:g} s)") from None
    except Exception as error:
        raise UserError(f"{failure} ({' '.join(str(error).split())[:300] or type(error).__name__})") from None


# From here on, what runs on a worker.


def work(job: bytes, units: bytes, width: int) -> Answer:
    """Compute a batch in one of `width` child processes, which stay for the next batches of the job."""
    if multiprocessing.current_process().daemon:
        return Answer(error=UserError(
            f"worker {socket.gethostname()} is a daemon process, which may not have child processes; start it with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False in its environment, or with --no-nanny"))
    try:
        with _children_of(job, width) as pool:
            batch = pool.submit(from_bytes(units)).result()
        return Answer(to_bytes(batch.rows), batch.owners, batch.rejects)
    except UserError as error:
        return Answer(error=UserError(f"worker {socket.gethostname()}: {error}"))
    except Exception as error:  # it is raised again where the answer is read
        return Answer(error=error)


def check_machine(job: Job, code: str) -> None:
    """Raise `UserError` if rows made here would not be those that their fingerprints promise."""
    for name, wanted in job.libraries.items():
        try:
            have = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            have = "missing"
        if have != wanted:
            raise UserError(f"{name} is {have}, and {wanted} where the run was started; install the same versions "
                            "(constraints.txt)")
    if code != CODE:
        raise UserError("the code of features/ is not that of the run; install the same commit")
    if job.find_digest is not None and job.find_digest() != job.digest:
        raise UserError("it has other weights or arithmetic than the run was started with; fetch the same weights, "
                        "and name embed.precision instead of auto")


@dataclass
class _Children:
    """Child processes for one job."""

    pool: ProcessPool
    ending: contextlib.ExitStack
    users: int = 0
    timer: threading.Timer | None = field(default=None)


_lock = threading.Lock()
_by_job: dict[bytes, _Children] = {}


@contextlib.contextmanager
def _children_of(job: bytes, width: int) -> Iterator[ProcessPool]:
    """The child processes for a job, started and checked once."""
    with _lock:
        children = _by_job.get(job) or _start(job, width)
        children.users += 1
        if children.timer is not None:
            children.timer.cancel()
    broken = False
    try:
        yield children.pool
    except (concurrent.futures.BrokenExecutor, RuntimeError):  # pebble's two ways to say that it has given up
        broken = True
        raise BatchError("crash", "the worker's child processes died") from None
    finally:
        with _lock:
            children.users -= 1
            if broken and _by_job.get(job) is children:
                del _by_job[job]
            if not children.users:
                children.timer = threading.Timer(0.0 if broken else IDLE_S, _end, [job, children])
                children.timer.daemon = True
                children.timer.start()


def _start(pickled: bytes, width: int) -> _Children:
    from pebble import ProcessExpired

    with contextlib.ExitStack() as stack:
        try:
            job, code = pickle.loads(pickled)  # noqa: S301 (from the process that gave this worker its work)
            if code != CODE:
                raise UserError("the code of features/ that it has loaded is not that of the run; install the same "
                                "commit and restart it")
            pool = stack.enter_context(Processes(1 if job.gpu else width).pool(job))
            pool.call(check_machine, job, code)
        except ProcessExpired:
            raise BatchError("crash", "the worker's child process died before its first row") from None
        except UserError:
            raise
        except Exception as error:  # no row has been looked at yet, so that none may be rejected for it
            raise UserError(f"it cannot start the job ({type(error).__name__}: {error}); install the same commit and "
                            "packages there") from None
        if not _by_job:
            # a worker that ends would wait for its children
            multiprocessing.util.Finalize(None, _end_all, exitpriority=100)
        children = _by_job[pickled] = _Children(pool, stack.pop_all())
    return children


def _end(job: bytes, children: _Children) -> None:
    with _lock:
        if children.users:
            return
        if _by_job.get(job) is children:
            del _by_job[job]
    children.ending.close()


def _end_all() -> None:
    for children in list(_by_job.values()):
        children.ending.close()
