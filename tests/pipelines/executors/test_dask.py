"""Executor `dask` on a cluster of three workers: the same rows, whatever dies."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from features.errors import UserError
from pipelines import executors
from pipelines.executors import Executor, remote
from tests.pipelines.executors.scattered import (
    BECOMES,
    KINDS,
    STOPS,
    TIMEOUT_S,
    keeps_what_cannot_be_sent_to_its_row,
    outcome,
    same_bytes,
    stops,
    survives,
    toy_job,
)

REPO = Path(__file__).parents[3]
NO_DAEMON = {"DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set({"distributed.worker.daemon": False}), \
            LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster, \
            Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def dask(client: Any) -> Executor:
    """As from another process, by address."""
    return executors.make("dask", None, client.scheduler.address)


def worker(address: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    """A Dask worker as a cluster starts it."""
    return subprocess.Popen([sys.executable, "-m", "dask", "worker", address, "--no-dashboard", *options], cwd=REPO,
                            env={**os.environ, "PYTHONPATH": str(REPO), **environment}, stderr=subprocess.DEVNULL)


def test_a_crash_and_a_hang_cost_one_row_each(dask: Executor) -> None:
    assert outcome(dask, KINDS, job=toy_job(TIMEOUT_S)) == BECOMES


@pytest.mark.parametrize("error", STOPS)
def test_an_error_of_the_machine_stops_the_run(dask: Executor, error: str) -> None:
    stops(dask, error)


def test_a_result_that_cannot_be_sent_belongs_to_its_row(dask: Executor) -> None:
    keeps_what_cannot_be_sent_to_its_row(dask)


def test_the_same_bytes(dask: Executor, tmp_path: Path) -> None:
    same_bytes(dask, tmp_path)


def test_a_killed_worker_costs_nothing(dask: Executor, client: Any, tmp_path: Path) -> None:
    pids = client.run(os.getpid)

    def kill() -> None:
        busy = next(address for address, tasks in client.processing().items() if tasks)
        os.kill(pids[busy], signal.SIGKILL)

    survives(dask, kill, tmp_path)
    assert set(client.run(os.getpid).values()) != set(pids.values())


def test_workers_with_other_libraries_are_refused(dask: Executor) -> None:
    with pytest.raises(UserError, match=r"worker .*: numpy is .*, and 0.1 where the run was started"):
        outcome(dask, KINDS[:1], job=toy_job(libraries={"numpy": "0.1"}))
    with pytest.raises(UserError, match=r"worker .*: it has other weights or arithmetic"):
        outcome(dask, KINDS[:1], job=toy_job(digest="these", find_digest=functools.partial(str, "those")))


def test_work_for_a_gpu_goes_to_the_worker_that_has_one(dask: Executor, client: Any,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(remote, "PATIENCE_S", 0.5)
        with pytest.raises(UserError, match=r'no worker with a GPU for 0.5 s; start one with: .* --resources "GPU=1"'):
            outcome(dask, ["where"], job=toy_job(gpu=True))
    address = client.scheduler.address
    with worker(address, "--nthreads", "1", "--resources", "GPU=1", TOY_WORKER="7", **NO_DAEMON) as started:
        assert set(outcome(dask, ["where"] * 12, batch=1, job=toy_job(gpu=True)).values()) == {"7"}
        assert set(outcome(dask, ["where"] * 24, batch=1).values()) == {"0", "7"}
        started.terminate()


def test_a_cluster_that_ends_is_one_line(tmp_path: Path) -> None:
    """Scheduler and worker as commands; then the scheduler goes away in the middle of a run."""
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
               "--scheduler-file", str(file)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as scheduler:
        from distributed import Client

        with Client(scheduler_file=str(file), timeout=30, set_as_default=False) as client:
            address = client.scheduler.address
        with worker(address, "--nthreads", "2", "--no-nanny") as started:
            dask = executors.make("dask", None, address)
            with pytest.raises(UserError, match=r"the Dask cluster at .* is gone"):
                survives(dask, scheduler.kill, tmp_path)
            started.kill()


def test_a_cluster_of_its_own() -> None:
    assert outcome(executors.make("dask", 1), ["good", "bug"]) == {"m0": "0", "m1": "ZeroDivisionError"}
