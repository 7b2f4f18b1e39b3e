"""`python -m model`: train, evaluate, explain, and predict for crystal files."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from features.errors import UserError, run_cli
from features.printing import print_table

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Train the model on the feature tables, and predict with it.")

Blocks = Literal["one", "all"]
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
def train(root: Root = Path()) -> None:
    """Train with the section `train` of params.yaml."""
    from model.training import train as stage

    stage.train(root)


@app.command()
def evaluate(root: Root = Path()) -> None:
    """Test the trained model: metrics, controls, predictions, plots."""
    from model.evaluation import stage

    stage.evaluate(root)


@app.command()
def explain(root: Root = Path()) -> None:
    """Explain a handful of test predictions by tokens or mentions, sentences, regions and modalities."""
    from model.explanation import stage

    stage.explain_stage(root)


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(
        metavar="FILE…", help="CIF, POSCAR, extended XYZ or pymatgen's JSON, also .gz; FILE.cif#BLOCK is one block of "
                              "a CIF; - reads one file.")],
    root: Root = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write explanations to this HTML page.")] = None,
    blocks: Annotated[Blocks, typer.Option(help="A CIF is one crystal, or each block with sites is.")] = "one",
    confidence: Annotated[float, typer.Option(help="How often an interval is to hold the true value.")] = 0.9,
) -> None:
    """Predict the trained property for crystal files. If one cannot be used, the others are predicted: exit code 2."""
    from model import checkpoint
    from model import predict as prediction
    from model.report import pages

    if not 0 < confidence < 1:
        raise UserError(f"--confidence {confidence:g}: a number between 0 and 1, such as 0.9")
    trained = checkpoint.load(root)
    if html is not None and not html.absolute().parent.is_dir():
        raise UserError(f"--html: the folder of {html} does not exist")
    if html is not None and not trained.params.with_text:
        raise UserError("--html: the model was trained without text, so there is nothing to explain")
    results: list[Any] = []
    try:
        prediction.predict_files(trained, files, html is not None, results.append, blocks == "all", confidence)
    finally:  # an error of the machine at a later file does not lose the earlier ones
        if as_json and results:
            print(json.dumps([_as_dict(result, trained.params.target, trained.config.unit) for result in results],
                             indent=2, ensure_ascii=False, allow_nan=False))
        elif results:
            _print_table(results, trained.params.target, trained.config.unit)
        explained = [result.explanation for result in results if result.explanation is not None]
        if html is not None and explained:
            pages.write_explanations(html, trained.params.target, trained.learned_unit, explained)
    bad = [result for result in results if result.error]
    if bad:
        reasons = f"; {bad[0].file}: {bad[0].error}" if len(bad) == 1 else ", for the reasons above"
        raise UserError(f"{len(bad)} of {len(results)} files could not be used{reasons}")


def _as_dict(result: Any, target: str, unit: str) -> dict[str, Any]:
    content = {"file": result.file, "target": target, "unit": unit, **asdict(result)}
    del content["explanation"]
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in content.items() if value is not None}


def _print_table(results: list[Any], target: str, unit: str) -> None:
    """The predicted files; notes, and why several files could not be used, go to standard error."""
    from model.coverage import in_words

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    used = [result for result in results if not result.error]
    if used:
        names = ["file", "formula", "space group", f"{target} / {unit}" if unit else target,
                 f"{used[0].confidence:.0%} within", "structure", "text"]
        rows = [[result.file, result.formula, result.space_group, number(result.value),
                 f"{number(result.low)}–{number(result.high)}", number(result.structure_only),
                 number(result.text_only)] for result in used]
        numbers = [False, False, False, True, True, True, True]
        if any(result.outside for result in used):
            names, numbers = [*names, "outside the training data"], [*numbers, False]
            rows = [[*row, in_words(result.outside)] for row, result in zip(rows, used, strict=True)]
        print_table(names, rows, numbers)
    bad = [result for result in results if result.error]
    for result in results:
        said = [result.note, *(result.flags or {}).values(), result.error if len(bad) > 1 else None]
        for message in filter(None, said):
            print(f"{result.file}: {message}", file=sys.stderr)


if __name__ == "__main__":
    run_cli(app)
