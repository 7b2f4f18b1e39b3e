"""Each stage as a thin Prefect flow. Used only where `PREFECT_API_URL` names a server; without one nothing is imported.

Rows are computed where they always are, by the same executor; groups of batches are the flow's tasks, so that a server
shows how far a stage is, tries again what the machine made fail, and keeps an artifact of what was done. Workers of a
cluster need neither Prefect nor a way to its server.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from features.errors import UserError
from features.progress import watched
from features.view import Batch
from pipelines.engine import stages
from pipelines.engine.materialize import Report
from pipelines.executors import Executor, Job, Pool, scatter

TASKS_AT_ONCE = 4
"""More than one, so that workers have something to do while a task waits for its last row."""
BATCHES_A_WORKER = 8
"""Batches of a task for each worker: enough that a server has few tasks to keep."""


Finished = tuple[int, Batch]
"""Number of a batch, its rows and rejects."""


@dataclass(eq=False)
class _Group:
    """What one task computes. Prefect looks into lists and tables that it is given, and into this it does not."""

    pool: Pool
    batches: dict[int, pa.Table]
    """By number; what is finished is taken out, so that another try does not compute it again."""
    results: queue.SimpleQueue[Finished | PrefectFuture[None]]
    """Where a batch goes as soon as it is finished, and the task's future at its end."""
    over: threading.Event
    """Set when nobody waits for results any more."""


def _is_worth_another_try(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Not what a user must put right, nor a stage that is being stopped."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError | MemoryError) and not isinstance(error, UserError)


@task(name="batches", retries=2, retry_delay_seconds=10, retry_condition_fn=_is_worth_another_try,
      cache_policy=NO_CACHE, persist_result=False)
def _compute(group: _Group) -> None:
    if group.over.is_set():  # another task has failed for good
        return
    numbers = list(group.batches)
    for place, result in scatter(group.pool, [group.batches[number] for number in numbers]):
        if group.over.is_set():
            return
        del group.batches[numbers[place]]
        group.results.put((numbers[place], result))


class InTasks(Executor):
    """Another executor, its batches in tasks of the flow that runs."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner

    def pool(self, job: Job) -> AbstractContextManager[Pool]:
        return self.inner.pool(job)

    def map(self, job: Job, batches: Iterable[pa.Table]) -> Iterator[Finished]:
        numbered = enumerate(batches)
        results: queue.SimpleQueue[Finished | PrefectFuture[None]] = queue.SimpleQueue()
        over = threading.Event()
        with self.pool(job) as pool:
            groups = iter(lambda: dict(itertools.islice(numbered, BATCHES_A_WORKER * pool.width)), {})
            running = 0
            try:
                while True:
                    while running < TASKS_AT_ONCE and (group := next(groups, None)) is not None:
                        future = _compute.submit(_Group(pool, group, results, over))
                        future.add_done_callback(results.put)
                        running += 1
                    if not running:
                        return
                    result = results.get()
                    if isinstance(result, tuple):
                        yield result
                    else:
                        running -= 1
                        result.result()  # raises what made the task fail
            finally:
                over.set()


class _ProgressArtifact:
    """Share of the rows that are done, for the server's pages."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.artifact: UUID | None = None

    def __call__(self, done: int, total: int) -> None:
        share = 100.0 * done / total
        if self.artifact is None:
            made = create_progress_artifact(share, key=f"progress-{self.stage}", description=f"{total} rows to compute")
            self.artifact = made if isinstance(made, UUID) else None  # in async code it would be a coroutine
        else:
            update_progress_artifact(self.artifact, share)


@flow(name="stage", flow_run_name="{stage}", log_prints=True, persist_result=False,
      task_runner=ThreadPoolTaskRunner(max_workers=TASKS_AT_ONCE))  # type: ignore[arg-type]
def run_stage(stage: str, root: Path = Path(), executor: str | None = None, workers: int | None = None,
              retry_rejected: bool = False, address: str | None = None) -> Report:
    """A stage of the pipeline."""
    with watched(_ProgressArtifact(stage)):
        report = stages.run(stage, root, executor, workers, retry_rejected, address, around=InTasks)
    create_table_artifact([{"rows in": report.wanted, **asdict(report)}], key=f"stage-{stage}", description=str(report))
    get_run_logger().info(str(report))
    return report


@flow(name="model-stage", flow_run_name="{stage}", log_prints=True, persist_result=False)
def run_model_stage(stage: str, root: Path = Path()) -> None:
    """A stage of the model."""
    stages.run_model(stage, root)
