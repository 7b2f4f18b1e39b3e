"""The deployment `refresh/nightly`: `pipelines.refresh.renew.renew` as a flow, each of its parts a task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import State, Task, flow
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from pipelines.refresh import report
from pipelines.refresh.renew import Options, renew


def _as_task(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    return Task(function, name=name, cache_policy=NO_CACHE, persist_result=False, log_prints=True)(*arguments)


@flow(name="refresh", log_prints=True, persist_result=False)
def refresh(root: str = ".", commit: bool = False, tag: bool = False, push: bool = False,
            accept: bool = False) -> State[Any]:
    """Bring every table, the model and its report up to date, or leave the last good version in its place.

    Looks for a new version of the Materials Project's database, runs `dvc repro`, checks the tables and compares them
    with those before; then, if asked for, commits `dvc.lock` and `params.yaml`, tags the commit, pushes the
    data. A version that has lost many crystals or predicts much worse (section `refresh` of `params.yaml`) is published
    only with `accept`.
    Stages run as commands of `dvc repro` and become flow runs of their own, since they inherit `PREFECT_API_URL`.
    """
    done = renew(Path(root), Options(commit, tag, push, accept), _as_task)
    create_markdown_artifact(report.markdown(done), key="refresh", description=done.headline())
    return Completed(message=done.headline())
