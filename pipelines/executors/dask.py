"""Executor `dask`: the workers of a Dask cluster, or a cluster of its own on this machine."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator
from typing import Any

from pipelines.executors import remote
from pipelines.executors.remote import RETRIES, Answer, RemotePool, by_value, needed, reach, work
from pipelines.executors.scatter import Executor, Job, Pool

GPU = "GPU"
"""Resource tag of workers with a GPU, one tag a GPU."""


class Dask(Executor):
    """Dask workers. A batch whose worker dies is computed by another one."""

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        self.workers = workers
        self.address = address

    @contextlib.contextmanager
    def pool(self, job: Job) -> Iterator[Pool]:
        distributed = needed("dask")
        with contextlib.ExitStack() as stack:
            address = self.address or stack.enter_context(self._own_cluster(job))
            reach(address, "a Dask scheduler", "start one with: dask scheduler --host ADDRESS (whoever reaches it can "
                  "run code as you)")
            client = stack.enter_context(remote.within(
                remote.PATIENCE_S + 5,
                lambda: distributed.Client(address, timeout=remote.PATIENCE_S, set_as_default=False),
                f"what listens at {address} is not a Dask scheduler"))
            pool = _DaskPool(job, client, address)
            try:
                pool.ready()
                yield pool
            finally:
                pool.closed = True

    @contextlib.contextmanager
    def _own_cluster(self, job: Job) -> Iterator[str]:
        import dask
        from distributed import LocalCluster

        from pipelines.executors import available_cores

        # a worker has child processes, which daemon processes may not have; nannies read this at every restart
        with dask.config.set({"distributed.worker.daemon": False,
                              "distributed.scheduler.allowed-failures": RETRIES}), \
                LocalCluster(n_workers=self.workers or (1 if job.gpu else available_cores()), threads_per_worker=1,
                             dashboard_address=None, resources={GPU: 1} if job.gpu else {}) as cluster:
            yield cluster.scheduler_address


class _DaskPool(RemotePool):
    def __init__(self, job: Job, client: Any, address: str) -> None:
        super().__init__(job)
        self.client = client
        self.executor = client.get_executor(pure=False, **({"resources": {GPU: 1}} if job.gpu else {}))
        self.work = by_value(_work)
        self.cluster = f"the Dask cluster at {address}"
        tag = f' --nthreads 1 --resources "{GPU}=1"' if job.gpu else ""
        self.how_to_add = (f"start one with: DASK_DISTRIBUTED__WORKER__DAEMON=False dask worker {address}{tag}")

    def count(self) -> int:
        if self.client.status != "running":
            raise OSError(f"the client is {self.client.status}")
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(int(worker["resources"].get(GPU, 0)) if self.gpu else worker["nthreads"] for worker in workers)

    def send(self, units: bytes) -> concurrent.futures.Future[Answer]:
        future: concurrent.futures.Future[Answer] = self.executor.submit(self.work, self.job, units)
        return future

    def lost(self, error: BaseException) -> bool:
        from distributed.scheduler import KilledWorker

        return isinstance(error, KilledWorker)


def _work(job: bytes, units: bytes) -> Answer:
    """On a Dask worker: as many child processes as it has threads."""
    from distributed import get_worker

    return work(job, units, get_worker().state.nthreads)
