"""`python -m pipelines STAGE`: make one table; `python -m pipelines plan`: what that would compute."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from features.errors import UserError, run_cli
from features.progress import say
from pipelines import executors, stages
from pipelines.executors import EXECUTORS

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Make the feature tables. Each stage writes one table below data/features/.")

Root = Annotated[Path, typer.Option(help="Project folder with params.yaml.")]
ExecutorName = Annotated[str | None, typer.Option(
    "--executor", envvar="CPF_EXECUTOR",
    help=f"Where rows are computed: {', '.join(EXECUTORS)}. Default: what suits the stage.")]
Workers = Annotated[int | None, typer.Option(
    min=1, envvar="CPF_WORKERS", help="Worker processes on this machine; default: one a core.")]
Address = Annotated[str | None, typer.Option(
    envvar="CPF_ADDRESS", help="A running cluster: its scheduler (tcp://HOST:8786) or its head (HOST:6379).")]
Retry = Annotated[bool, typer.Option("--retry-rejected", help="Try rejected rows again.")]


def _prefect_server() -> bool:
    """Whether stages run as flows: a server is named, and it answers."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return False
    try:
        if not url.startswith(("http://", "https://")):
            raise ValueError("it is no http address")
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5):  # noqa: S310 (checked above)
            return True
    except (OSError, ValueError) as error:
        raise UserError(f"no Prefect server answers at PREFECT_API_URL={url} ({error}); start it with `prefect server "
                        "start`, or unset the variable to run without") from None


def _command(stage: str) -> Callable[..., None]:
    def command(root: Root = Path(), executor: ExecutorName = None, workers: Workers = None,
                retry: Retry = False, address: Address = None) -> None:
        executors.check(executor or "processes", workers, address)  # before a source is asked for anything
        if _prefect_server():
            from pipelines import flows  # its import takes seconds

            report = flows.run_stage(stage, root, executor, workers, retry, address)
        else:
            report = stages.run(stage, root, executor, workers, retry, address)
        say(str(report))

    command.__doc__ = f"Make the table of stage '{stage}'."
    return command


def _model_command(stage: str) -> Callable[..., None]:
    def command(root: Root = Path()) -> None:
        if _prefect_server():
            from pipelines import flows

            flows.run_model_stage(stage, root)
        else:
            stages.run_model(stage, root)

    command.__doc__ = f"Run `python -m model {stage}`, as a flow where a Prefect server is named."
    return command


for _stage in stages.STAGES:
    app.command(_stage)(_command(_stage))
for _stage in stages.MODEL_STAGES:
    app.command(_stage)(_model_command(_stage))


@app.command()
def plan(root: Root = Path()) -> None:
    """Show what a run would compute, per view, without computing."""
    print(f"{'stage':<12}{'wanted':>10}{'reused':>10}{'compute':>10}  note")
    for row in stages.plan(root):
        shown = ["?" if row[name] is None else f"{row[name]:,}" for name in ("wanted", "reused", "compute")]
        print(f"{row['stage']:<12}{shown[0]:>10}{shown[1]:>10}{shown[2]:>10}  {row['note']}".rstrip())


@app.command("move-database")
def move_database(root: Root = Path()) -> None:
    """Pin the version of its database that the Materials Project has now, and say what it changes."""
    from pipelines.sources.materials_project.move import move

    move(root)


if __name__ == "__main__":
    run_cli(app)
