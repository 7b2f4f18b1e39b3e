"""`python -m model.experiments`: run the cells of the matrix that are missing, sum them up, check what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from features import runlog
from features.errors import UserError, run_cli
from features.options import Quiet, Verbose
from features.printing import print_table
from features.progress import conclude, say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False,
                  help="Does the text help? Arms, controls, folds and seeds, each run once and kept.")

Root = Annotated[Path, typer.Option(help="Project folder with params.yaml and the feature tables.")]
MatrixFile = Annotated[Path | None, typer.Option("--matrix", help="Another file in the place of matrix.yaml.")]
Only = Annotated[list[str] | None, typer.Option(help="Of the matrix only: arm=trees,target=k_vrh,seed=0 and so on; "
                                                     "several values of one name are each taken.")]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Every summary again from the stored predictions, and one "
                                                        "random cell again from the tables.")] = False,
    root: Root = Path(),
    matrix: MatrixFile = None,
) -> None:
    """Run, sum up, or check."""
    if context.invoked_subcommand is not None:
        return
    if not check:
        raise UserError("say what to do: run, report, compare, accept, prepare, or --check")
    from model.experiments import check as checking
    from model.experiments.matrix import FILE, read
    from model.experiments.run import bench

    checking.check(bench(root, read(matrix or FILE)))


@app.command()
def run(
    root: Root = Path(),
    matrix: MatrixFile = None,
    workers: Annotated[int, typer.Option(min=1, envvar="EXPERIMENTS_WORKERS",
                                           help="Processes, each of one thread.")] = 1,
    minutes: Annotated[float | None, typer.Option(min=0, envvar="EXPERIMENTS_MINUTES",
                                                  help="Begin no further cell after so many minutes.")] = None,
    only: Only = None,
    _verbose: Verbose = False,
    _quiet: Quiet = False,
) -> None:
    """Run the cells that have no result yet; what is finished is never run again."""
    from model.experiments.matrix import FILE, read
    from model.experiments.run import bench
    from model.experiments.run import run as run_cells

    with runlog.logged(root, "experiments"):
        done = run_cells(bench(root, read(matrix or FILE)), workers, minutes, only or ())
        conclude(f"experiments: {done.finished} cells finished, {done.left} left")
    if done.failed:
        raise UserError(f"{done.failed} cells could not be run, for the reasons above")


@app.command()
def report(root: Root = Path(), matrix: MatrixFile = None) -> None:
    """Write what follows from the stored predictions: docs/experiments.csv, which is printed,
    docs/experiments-coverage.csv, the sections of docs/results.md and README.md, and the table `experiments`."""
    from model.experiments.coverage import outside
    from model.experiments.matrix import FILE, read
    from model.experiments.reports import Report

    matrix_of = read(matrix or FILE)
    whole = Report.of(root, matrix_of)
    rows = whole.rows
    if not rows:
        raise UserError("no experiment has been run here: python -m model.experiments run")
    whole.write(root, matrix_of)

    def signed(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    print_table(
        ["data set", "target", "arm", "control", "members", "seeds", "folds", "mae", "low", "high",
         f"minus {matrix_of.reference}", "low", "high", "detectable"],
        [[row.dataset, row.target, row.arm, row.control, row.members, row.seeds, row.folds, signed(row.mae),
          signed(row.low), signed(row.high), *(signed(value) for value in row.minus or (None, None, None)),
          signed(row.detectable)] for row in rows],
        [False] * 4 + [True] * 10)
    compared = [row.minus for row in rows if row.minus is not None]
    clear = sum(low > 0 or high < 0 for _, low, high in compared)
    print(f"{clear} of {len(compared)} differences are clear of zero at {matrix_of.confidence:.0%}; by chance alone "
          f"about {len(compared) * (1 - matrix_of.confidence):.1f} would be. A difference as large as the last column "
          "is seen in four of five repetitions.")
    for line in outside(whole.covered):
        print(line)


@app.command()
def compare(
    one: Annotated[str, typer.Argument(help="An arm or mixture, NAME or NAME:CONTROL.")],
    other: Annotated[str, typer.Argument(help="What it is compared with.")],
    root: Root = Path(),
    matrix: MatrixFile = None,
    members: Annotated[int, typer.Option(min=1, help="Networks of an arm; a mixture has its own number.")] = 1,
) -> None:
    """The difference of the errors of any two arms or mixtures, paired, with its interval."""
    from model.experiments.matrix import FILE, read
    from model.experiments.results import Results
    from model.experiments.summary import finds, versus

    rows = []
    for found in finds(Results(root), read(matrix or FILE)):
        measured = versus(found, one, other, members)
        if measured is not None:
            rows.append([found.dataset, found.target, f"{measured.value:.4f}", f"{measured.low:.4f}",
                         f"{measured.high:.4f}"])
    if not rows:
        raise UserError(f"of {one} and {other} there are too few cells for any target")
    print_table(["data set", "target", f"{one} − {other}", "low", "high"], rows, [False] * 2 + [True] * 3)


@app.command()
def accept(root: Root = Path(), matrix: MatrixFile = None, only: Only = None) -> None:
    """Take results of older code over where one of each arm's cells, run again, gives the same bytes."""
    from model.experiments.matrix import FILE, read
    from model.experiments.run import accept as accept_cells
    from model.experiments.run import bench

    taken, differing = accept_cells(bench(root, read(matrix or FILE)), only or ())
    say(f"experiments: {taken} cells taken over")
    for line in differing:
        say(f"experiments: {line}")
    if differing:
        raise UserError(f"{len(differing)} arms come out otherwise than stored, and are run anew by: "
                        "python -m model.experiments run")


@app.command()
def prepare(name: Annotated[str, typer.Argument(help="A data set of the matrix.")], root: Root = Path(),
            matrix: MatrixFile = None) -> None:
    """Write the project of a data set below data/experiments/, and print the commands that make its tables."""
    from model.experiments import prepare as preparing
    from model.experiments.matrix import FILE, read

    for command in preparing.prepare(root, read(matrix or FILE), name):
        print(command)


if __name__ == "__main__":
    run_cli(app)
