"""Executor `ray` on a cluster of two nodes: the same rows, whatever dies."""

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
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

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def token() -> Iterator[None]:
    """One token for every Ray here, so that none is read from or written to the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three cores, to which a test adds a node."""
    from ray.cluster_utils import Cluster

    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "num_gpus": 0, "include_dashboard": False,
                                                            "object_store_memory": 10**8})
    yield running
    running.shutdown()


@pytest.fixture(scope="module")
def ray(cluster: Any) -> Iterator[Executor]:
    """One connection for all tests: workers end with theirs."""
    executor = executors.make("ray", None, cluster.address)
    with executor.pool(toy_job()):
        yield executor


def kill_a_worker() -> None:
    """One that is computing."""
    busy = [process for process in psutil.Process().children(recursive=True) if "ray::work" in process.cmdline()]
    os.kill(busy[0].pid, signal.SIGKILL)


def test_a_ray_of_its_own() -> None:
    """First, since a process has one Ray at a time."""
    assert outcome(executors.make("ray", 1), ["good", "bug"]) == {"m0": "0", "m1": "ZeroDivisionError"}


def test_a_crash_and_a_hang_cost_one_row_each(ray: Executor) -> None:
    assert outcome(ray, KINDS, job=toy_job(TIMEOUT_S)) == BECOMES


@pytest.mark.parametrize("error", STOPS)
def test_an_error_of_the_machine_stops_the_run(ray: Executor, error: str) -> None:
    stops(ray, error)


def test_a_result_that_cannot_be_sent_belongs_to_its_row(ray: Executor) -> None:
    keeps_what_cannot_be_sent_to_its_row(ray)


def test_the_same_bytes(ray: Executor, tmp_path: Path) -> None:
    same_bytes(ray, tmp_path)


def test_a_killed_worker_costs_nothing(ray: Executor, tmp_path: Path) -> None:
    survives(ray, kill_a_worker, tmp_path)


def test_workers_with_other_libraries_are_refused(ray: Executor) -> None:
    with pytest.raises(UserError, match=r"worker .*: numpy is .*, and 0.1 where the run was started"):
        outcome(ray, KINDS[:1], job=toy_job(libraries={"numpy": "0.1"}))


@pytest.mark.nodes
def test_work_for_a_gpu_goes_to_the_node_that_has_one(ray: Executor, cluster: Any, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(remote, "PATIENCE_S", 0.5)
        with pytest.raises(UserError, match=r"no worker with a GPU for 0.5 s; start a node with: .* --num-gpus=1"):
            outcome(ray, ["where"], job=toy_job(gpu=True))
    monkeypatch.setenv("TOY_WORKER", "7")
    node = cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=10**8)
    monkeypatch.delenv("TOY_WORKER")
    assert set(outcome(ray, ["where"] * 6, batch=1, job=toy_job(gpu=True)).values()) == {"7"}
    survives(ray, lambda: cluster.remove_node(node, allow_graceful=False), tmp_path)
