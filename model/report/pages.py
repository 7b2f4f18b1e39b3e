"""Self-contained HTML pages: the report of an evaluation and the explanations of predictions."""

from __future__ import annotations

import functools
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from features.store.files import write_text
from model.records import Explanation

ERRORS = (("mae", "structure and text, fused"), ("mae_structure_networks", "its networks of structure alone"),
            ("mae_text_readers", "what reads the text alone"),
            ("mae_own_structure_branch", "its own structure branch"), ("mae_own_text_branch", "its own text branch"),
            ("mae_shuffled_text", "fused, with another crystal's text (control)"),
            ("mae_no_text", "fused, without text"))
Branches = Sequence[tuple[str, str]]
"""Each branch, and what its error is called in the metrics."""
Curve = Sequence[Mapping[str, float | str]]
"""Rows with `epoch`, `branch` and `validation_mae`; a branch may have none."""


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.PackageLoader("model.report"), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined)


def write_evaluation(path: Path, metrics: dict[str, Any], rows: list[dict[str, Any]],
                     history: Curve, branches: Branches) -> None:
    """Metrics with their intervals, parity plot and learning curve on one page."""
    page = _environment().get_template("report.html").render(
        metrics=metrics, branches=[branch for branch in ERRORS if branch[0] in metrics["test"]],
        intervals=_intervals(metrics["intervals"]), parity=_parity(metrics, rows),
        curve=_curve(metrics, history, branches))
    write_text(path, page)


def write_explanations(path: Path, target: str, unit: str, explanations: list[Explanation]) -> None:
    """One section per crystal: its description, shaded by what each token or mention does to the prediction.

    `unit` is that of the learned property, such as log10(GPa). Attention is shown where there is any: the rows say
    so, and no parameter, since a model with `train.fusion: cross_attention` may have no network that fuses.
    """
    page = _environment().get_template("explanations.html").render(
        target=target, unit=unit or "1", crystals=[_shaded(explanation) for explanation in explanations],
        attention=any(row["attention"] is not None for explanation in explanations for row in explanation.rows))
    write_text(path, page)


def _shaded(explanation: Explanation) -> dict[str, Any]:
    """A description cut into pieces, each with the colour of its token's change."""
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)  # of a single sentence there may be no rows
    for row in explanation.rows:
        by_kind[row["kind"]].append(row)
    tokens = by_kind["token"]
    strongest = max((abs(token["change"]) for token in tokens), default=0.0) or 1.0
    pieces: list[dict[str, Any]] = []
    position = 0
    for token in tokens:
        if token["start"] > position:
            pieces.append({"text": explanation.text[position:token["start"]], "colour": None, "title": ""})
        share = token["change"] / strongest
        attention = "" if token["attention"] is None else f", attention {token['attention']:.4f}"
        pieces.append({"text": explanation.text[token["start"]:token["end"]],
                       "colour": f"rgba({'214,84,44' if share > 0 else '44,110,190'},{abs(share) * 0.75:.2f})",
                       "title": f"change {token['change']:+.5f}{attention}"})
        position = token["end"]
    pieces.append({"text": explanation.text[position:], "colour": None, "title": ""})
    sentences = [{**row, "region": explanation.tagged[row["index"]].region} for row in by_kind["sentence"]]
    return {"id": explanation.material_id, "predicted": explanation.predicted, "true": explanation.true,
            "outside": explanation.outside, "pieces": pieces, "sentences": sentences,
            "coarse": by_kind["modality"] + by_kind["region"]}


def _intervals(measured: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The lines of the table of intervals: what the crystals of each are called, and what was measured."""
    by = measured["by"]
    return [("all", measured), *by["chemistry"].items(),
            *((f"of {number} element{'' if number == '1' else 's'}", row) for number, row in by["elements"].items()),
            *((f"of {number} atoms in the primitive cell", row) for number, row in by["sites"].items()),
            *((f"{name} the training data", row) for name, row in by["support"].items())]


def _parity(metrics: dict[str, Any], rows: list[dict[str, Any]]) -> Markup:
    test = [row for row in rows if row["split"] == "test"]
    figure, axes = _figure()
    true, predicted = [row["y_true"] for row in test], [row["y_fused"] for row in test]
    low, high = min(true + predicted), max(true + predicted)
    axes.plot([low, high], [low, high], color="0.7", linewidth=1)
    axes.plot(true, predicted, "o", markersize=4, alpha=0.7, color="#2c6ebe")
    axes.set_xlabel(f"{metrics['target']}, true / {metrics['unit']}")
    axes.set_ylabel(f"predicted / {metrics['unit']}")
    axes.set_title(f"{len(test)} test crystals")
    return _svg(figure)


def _curve(metrics: dict[str, Any], history: Curve, branches: Branches) -> Markup:
    figure, axes = _figure()
    for name, error in branches:
        mine = [row for row in history if row["branch"] == name]
        if error in metrics["test"] and mine:
            axes.plot([row["epoch"] for row in mine], [row["validation_mae"] for row in mine], label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"validation MAE / {metrics['unit']}")
    axes.legend(frameon=False)
    return _svg(figure)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Any) -> Markup:
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "multimodal-cpf"}):  # the same figure is then the same bytes
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg"):])  # noqa: S704 (matplotlib's own output, no user text but axis labels)
