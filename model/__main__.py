"""`python -m model`: train, evaluate, explain, and predict for crystal files."""


from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing has begun, so there is nothing to say: exit code 130

from pathlib import Path
from typing import Annotated, Literal

import typer

from features import runlog
from features.errors import UserError, run_cli
from features.options import Quiet, Verbose
from features.paths import Paths
from features.store import revisions

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Train the model on the feature tables, and predict with it.")

Blocks = Literal["one", "all"]
At = Annotated[str | None, typer.Option("--at", metavar="REV", help="Read the model of this git revision or tag.")]
Root = Annotated[Path, typer.Option(help="Project folder with params.yaml and the trained model.")]


@app.command()
def check(root: Root = Path()) -> None:
    """Check params.yaml as a whole, before anything long starts."""
    from features.params import load_section
    from features.registry import all_views
    from model.params import EvaluateParams, ExplainParams, TrainParams

    sections = {view.stage: view.params for view in all_views() if view.stage != "ingest"}  # ingest checks its own
    sections |= {"train": TrainParams, "evaluate": EvaluateParams, "explain": ExplainParams}
    for stage, section in sections.items():
        load_section(root, stage, section)


@app.command()
def train(root: Root = Path(), _verbose: Verbose = False, _quiet: Quiet = False) -> None:
    """Train with the section `train` of params.yaml."""
    from model.training import train as stage

    with runlog.logged(root, "train"):
        stage.train(root)


@app.command()
def evaluate(
    root: Root = Path(),
    reproduce: Annotated[bool, typer.Option(
        "--reproduce", help="Compute the metrics again from the rows that the model was trained on, compare them, and "
                            "write nothing.")] = False,
    at: At = None,
    within: Annotated[float, typer.Option(min=0, help="With --reproduce: largest difference that counts as none.")] = 0,
    _verbose: Verbose = False,
    _quiet: Quiet = False,
) -> None:
    """Test the trained model: metrics, controls, predictions, plots."""
    if reproduce:
        from model.evaluation.reproduce import reproduce as compare

        compare(root, at, within)
        return
    if at is not None or within:
        raise UserError("--at and --within belong to --reproduce: a test of another revision's model writes nothing")
    from model.evaluation import stage

    with runlog.logged(root, "evaluate"):
        stage.evaluate(root)


@app.command()
def explain(root: Root = Path(), _verbose: Verbose = False, _quiet: Quiet = False) -> None:
    """Explain test predictions, and test the methods that do."""
    from model.explain import explain_stage

    with runlog.logged(root, "explain"):
        explain_stage(root)


@app.command()
def predict(
    crystals: Annotated[list[str], typer.Argument(
        metavar="CRYSTAL…", help="CIF, POSCAR, extended XYZ or pymatgen's JSON, also .gz; FILE.cif#BLOCK is one block "
                                 "of a CIF; a folder of such files; a table (.parquet, .csv, .tsv, .jsonl) with a "
                                 "column cif, structure or poscar; - reads one file.")],
    root: Root = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    csv: Annotated[str | None, typer.Option(help="Write CSV to this file, or with - to standard output.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write a Parquet file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write explanations to this HTML page.")] = None,
    blocks: Annotated[Blocks, typer.Option(help="A CIF is one crystal, or each block with sites is.")] = "one",
    confidence: Annotated[float, typer.Option(help="How often an interval is to hold the true value.")] = 0.9,
    text: Annotated[Path | None, typer.Option(
        help="What if: predict with the description in this file, of one crystal.")] = None,
    without: Annotated[list[str] | None, typer.Option(
        help="What if: predict without global, semi-global or local sentences, or without text; repeatable.")] = None,
    timeout: Annotated[float, typer.Option(help="Longest time for the features of one crystal, s.")] = 300.0,
    at: At = None,
    _verbose: Verbose = False,
    _quiet: Quiet = False,
) -> None:
    """Predict the trained property for crystals. If one cannot be used, the others are predicted: exit code 2."""
    from model.header import MODEL
    from model.prediction.early import begin

    root = revisions.at(root, at)  # what readers read, whatever is made below `data/` meanwhile
    begin(Paths(root).model / MODEL)
    from model import predict as command
    from model.prediction.asked import Asked

    outputs = command.Outputs(as_json, csv, parquet, html)
    asked = Asked(confidence, command.edited(text), tuple(without or ()))
    command.predict(crystals, root, outputs, asked, blocks == "all", timeout)


@app.command()
def serve(
    root: Root = Path(),
    port: Annotated[int, typer.Option(help="Port of this machine; 0 is any that is free.")] = 8050,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    timeout: Annotated[float, typer.Option(help="Longest time for the features of one crystal, s.")] = 60.0,
    at: At = None,
) -> None:
    """Serve a page on this machine that predicts for crystal files dropped there. Ctrl-C ends it."""
    from model.serve import command

    command.serve(revisions.at(root, at), port, open_, timeout)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run_cli(app)
