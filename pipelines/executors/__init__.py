"""Where `compute` runs: in this process, in others of this machine, or on the machines of a Dask or Ray cluster."""

from __future__ import annotations

from features.errors import UserError
from features.processes import available_cores
from pipelines.executors.local import Processes, Serial
from pipelines.executors.scatter import BatchError, Executor, Job, Pool, join, scatter

EXECUTORS = ("serial", "processes", "dask", "ray")

__all__ = [
    "EXECUTORS",
    "BatchError",
    "Executor",
    "Job",
    "Pool",
    "Processes",
    "Serial",
    "available_cores",
    "join",
    "make",
    "scatter",
]


def make(name: str, workers: int | None = None, address: str | None = None) -> Executor:
    """The executor of a name. `workers` defaults to the cores this process may use.

    `address` is that of a running cluster; without one, `dask` and `ray` start their own on this machine.
    Raises `UserError` for what does not go together.
    """
    check(name, workers, address)
    if name == "serial":
        return Serial()
    if name == "processes":
        return Processes(available_cores() if workers is None else workers)
    if name == "dask":
        from pipelines.executors.dask import Dask

        return Dask(workers, address)
    from pipelines.executors.ray import Ray

    return Ray(workers, address)


def check(name: str, workers: int | None, address: str | None) -> None:
    """Raise `UserError` for an executor that does not exist, or for options that do not go together."""
    if name not in EXECUTORS:
        raise UserError(f"no executor '{name}'; there are: {', '.join(EXECUTORS)}")
    if address is not None and name in ("serial", "processes"):
        raise UserError(f"--address {address} (or CPF_ADDRESS) is of a cluster, and executor '{name}' uses this "
                        "machine alone; take --executor dask or ray")
    if address is not None and workers is not None:
        raise UserError(f"--workers (or CPF_WORKERS) is for this machine; the cluster at {address} has its own workers")
