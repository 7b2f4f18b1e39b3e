"""Executor `ray`: the nodes of a Ray cluster, or a Ray of its own on this machine."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from typing import Any

from features.errors import UserError
from pipelines.executors.remote import RETRIES, Answer, RemotePool, by_value, needed, reach, work
from pipelines.executors.scatter import Executor, Job, Pool


class Ray(Executor):
    """Ray tasks, one core each. A batch whose worker or node dies is computed by another one."""

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        self.workers = workers
        self.address = address

    @contextlib.contextmanager
    def pool(self, job: Job) -> Iterator[Pool]:
        ray = needed("ray")
        with _connected(ray, self.workers, self.address):
            pool = _RayPool(job, ray, self.address)
            try:
                pool.ready()
                yield pool
            finally:
                pool.closed = True


@contextlib.contextmanager
def _connected(ray: Any, workers: int | None, address: str | None) -> Iterator[None]:
    """Ray in this process; one that is there already stays."""
    if ray.is_initialized():
        yield
        return
    from pipelines.executors import available_cores

    if address not in (None, "auto"):
        reach(address, "the head of a Ray cluster",
              "start one with: RAY_AUTH_MODE=token RAY_AUTH_TOKEN=… ray start --head")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None and not os.environ.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        # Ray guards its ports with a token; without one it would write one into the home directory, to stay there.
        # It stays in this process, since Ray remembers the first one it has seen.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's next default; saying so ends its warning
    try:
        if address is None:
            # "local": without it, Ray would join whatever RAY_ADDRESS or a running Ray of this machine says
            ray.init(address="local", num_cpus=workers or available_cores(), include_dashboard=False, **quiet)
        else:
            _join(ray, address, quiet)
        yield
    finally:
        ray.shutdown()


def _join(ray: Any, address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        why = " ".join(str(error).split())[:300]
        raise UserError(f"no Ray cluster answers at {address} ({why}); one with token authentication wants "
                        "RAY_AUTH_MODE=token and its RAY_AUTH_TOKEN here too") from None


class _RayPool(RemotePool):
    def __init__(self, job: Job, ray: Any, address: str | None) -> None:
        super().__init__(job)
        self.ray = ray
        self.task = ray.remote(by_value(work)).options(name="work", num_cpus=1, num_gpus=1 if job.gpu else 0,
                                                        max_retries=RETRIES)
        self.cluster = f"the Ray cluster at {address}" if address else "Ray on this machine"
        self.how_to_add = (f"start a node with: ray start --address={address or 'HEAD:6379'}"
                           f"{' --num-gpus=1' if job.gpu else ''}")

    def count(self) -> int:
        try:
            return int(self.ray.cluster_resources().get("GPU" if self.gpu else "CPU", 0))
        except self.ray.exceptions.RayError as error:
            raise OSError(str(error)) from None

    def send(self, units: bytes) -> concurrent.futures.Future[Answer]:
        future: concurrent.futures.Future[Answer] = self.task.remote(self.job, units, 1).future()
        return future

    def lost(self, error: BaseException) -> bool:
        gone = self.ray.exceptions
        return isinstance(error, (gone.WorkerCrashedError, gone.NodeDiedError, gone.LocalRayletDiedError,
                                  gone.OutOfMemoryError, gone.ObjectLostError, gone.TaskCancelledError))
