"""`python -m pipelines STAGE`: make one table; `plan`: what that would compute; `status`: what the last runs did."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from features import registry
from features.errors import UserError, run_cli
from features.options import Quiet, Verbose
from features.printing import print_table
from features.progress import conclude, say
from pipelines import executors
from pipelines.engine import runs, stages
from pipelines.executors import EXECUTORS

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Make the feature tables. Each stage writes one table below data/features/.")

Root = Annotated[Path, typer.Option(help="Project folder with params.yaml.")]
ExecutorName = Annotated[str | None, typer.Option(
    "--executor", envvar="CPF_EXECUTOR",
    help=f"Where rows are computed: {', '.join(EXECUTORS)}. Default: what suits the stage. Under serial no time-out of "
         "a row is enforced.")]
Workers = Annotated[int | None, typer.Option(
    min=1, envvar="CPF_WORKERS", help="Worker processes on this machine; default: one a core.")]
Address = Annotated[str | None, typer.Option(
    envvar="CPF_ADDRESS", help="A running cluster: its scheduler (tcp://HOST:8786) or its head (HOST:6379).")]
Last = Annotated[int | None, typer.Option(min=1, help="Instead, so many of the last runs, one by one.")]
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
                retry: Retry = False, address: Address = None, _verbose: Verbose = False,
                _quiet: Quiet = False) -> None:
        executors.check(executor or "processes", workers, address)  # before a source is asked for anything
        if _prefect_server():
            from pipelines import flows  # its import takes seconds

            report = flows.run_stage(stage, root, executor, workers, retry, address)
        else:
            report = stages.run(stage, root, executor, workers, retry, address)
        conclude(str(report))

    command.__doc__ = f"Make the table of stage '{stage}'."
    return command


def _model_command(stage: str) -> Callable[..., None]:
    def command(root: Root = Path(), _verbose: Verbose = False, _quiet: Quiet = False) -> None:
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
    """Show what a run would compute and why, stage by stage, without computing."""
    from pipelines.engine import plan as plans

    rows = [(step.stage, *(_count(count) for count in (step.wanted, step.reused, step.compute)),
             "; ".join(step.reasons) or "up to date") for step in plans.plan(root)]
    _show(("stage", "wanted", "reused", "compute", "why"), rows)


@app.command()
def status(root: Root = Path(), last: Last = None) -> None:
    """Show what the last run of each stage did, and which run has made the table that is there."""
    everything = runs.history(root)
    order = [*stages.STAGES, *stages.MODEL_STAGES, "refresh"]
    latest = {run.stage: run for run in everything}
    if last is None:
        shown = [(stage, latest.get(stage)) for stage in [*order, *sorted(set(latest) - set(order))]]
    else:
        shown = [(run.stage, run) for run in everything[-last:]]
    digests = {stage: runs.digest_on_disk(root, registry.view_of(stage).name) for stage in stages.STAGES}
    rows = [(stage, *_told(run), _maker(everything, stage, digests.get(stage), run), run.note if run else "")
            for stage, run in shown]
    rows = [row for row, (_, run) in zip(rows, shown, strict=True) if run or row[-2]]
    if not rows:
        raise UserError("no stage has run here yet; run `dvc repro`")
    _show(("stage", "started (UTC)", "outcome", *COUNTS, "seconds", "table", "note"), rows)
    from pipelines.refresh.last_good import LastGood

    renewal = latest.get("refresh")
    if LastGood(root).exists() and not (renewal and renewal.outcome == runs.RUNNING):
        say("a refresh was killed here, and the version before it can still be restored: `python -m pipelines refresh` "
            "goes on, `python -m pipelines put-back` goes back")


COUNTS = ("wanted", "computed", "reused", "rejected")


def _told(run: runs.Run | None) -> tuple[str, ...]:
    """When a run began, how it ended, its counts and seconds."""
    if run is None:
        return ("",) * (3 + len(COUNTS))
    counts = [run.counts.get(name) for name in COUNTS]
    wanted, *parts = (count if isinstance(count, int) else 0 for count in counts)
    if wanted != sum(parts):  # older versions counted rejects among the computed and the reused ones, too
        counts[1:3] = None, None
    return (run.started[:19].replace("T", " "), run.outcome, *map(_count, counts),
            "" if run.seconds is None else f"{run.seconds:.1f}")


def _maker(everything: list[runs.Run], stage: str, digest: str | None, run: runs.Run | None) -> str:
    """Which run has made a stage's table of this digest; nothing where there is none, as for stages of the model."""
    if digest is None:
        return ""
    maker = runs.made_by(everything, stage, digest)
    if maker is None:
        return "of no run that is recorded here"
    if run is None or maker.counts["digest"] != run.counts.get("digest"):
        return f"of the run of {maker.started[:19].replace('T', ' ')}"
    return "of this run"


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _show(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Numbers to the right, words to the left."""
    print_table(names, rows)


@app.command()
def refresh(root: Root = Path(),
            commit: Annotated[bool, typer.Option(help="Commit dvc.lock and params.yaml with git.")] = False,
            tag: Annotated[bool, typer.Option(help="Commit, and tag the commit data-VERSION.")] = False,
            push: Annotated[bool, typer.Option(help="Push the data to the DVC remote.")] = False,
            accept: Annotated[bool, typer.Option(help="Publish even if many crystals are gone or the model is much "
                                                      "worse.")] = False,
            _verbose: Verbose = False, _quiet: Quiet = False) -> None:
    """Bring everything up to date, or leave the last good version: what the deployment refresh/nightly runs."""
    for kind in (signal.SIGTERM, signal.SIGHUP):  # from systemd, timeout, a closed terminal: like Ctrl-C
        signal.signal(kind, signal.default_int_handler)
    if _prefect_server():
        from pipelines.refresh.flow import refresh as flow

        flow(str(root), commit, tag, push, accept)
        return
    from pipelines.refresh import report
    from pipelines.refresh.renew import Options, renew

    print(report.markdown(renew(root, Options(commit, tag, push, accept))))


@app.command()
def publish(root: Root = Path()) -> None:
    """Make tables, model and results as they are now the version that readers read: the last stage of `dvc repro`."""
    from pipelines import publishing

    publishing.publish(root)


@app.command()
def repair(root: Root = Path(),
           quick: Annotated[bool, typer.Option("--quick", help="Leave out reading all tables and the model.")] = False,
           ) -> None:
    """Find and mend what a kill or a damaged disk has left: files of DVC, tables, the model, the published version."""
    from pipelines import repair as mending

    mended = mending.repair(root, quick)
    for line in mended:
        say(line)
    if not mended and not quick:
        say("nothing to repair")


@app.command("put-back")
def put_back(root: Root = Path(), _verbose: Verbose = False, _quiet: Quiet = False) -> None:
    """Put the last good version back after a refresh was killed; the next refresh does without."""
    from pipelines.refresh import renew

    renew.put_back(root)


@app.command("move-database")
def move_database(root: Root = Path(), _verbose: Verbose = False, _quiet: Quiet = False) -> None:
    """Pin the version of its database that the Materials Project has now, and say what it changes."""
    from pipelines.sources.materials_project.move import move

    move(root)


if __name__ == "__main__":
    run_cli(app)
