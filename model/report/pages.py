"""Self-contained HTML pages: the report of an evaluation and the explanations of predictions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from features.store.files import write_text
from model.records import Card, Explanation, Method
from model.report import elements, plots
from model.report.page import VIEWER, environment, render

ERRORS = (("mae", "structure and text, fused"), ("mae_structure_networks", "its networks of structure alone"),
            ("mae_text_readers", "what reads the text alone"),
            ("mae_own_structure_branch", "its own structure branch"), ("mae_own_text_branch", "its own text branch"),
            ("mae_shuffled_text", "fused, with another crystal's text (control)"),
            ("mae_no_text", "fused, without text"))
Branches = Sequence[tuple[str, str]]
"""Each branch, and what its error is called in the metrics."""
Curve = Sequence[Mapping[str, float | str]]
"""Rows with `epoch`, `branch` and `validation_mae`; a branch may have none."""
Rows = Sequence[Mapping[str, Any]]
WORST = 12
"""Crystals in the table of the largest errors."""


def write_run(path: Path, metrics: dict[str, Any], rows: Rows, crystals: Mapping[str, Mapping[str, Any]],
              curve: Curve, branches: Branches, groups: Mapping[str, Rows], calibration: Rows,
              experiments: Rows) -> None:
    """The report of a run: what the model reaches, for which crystals, and how far its intervals hold.

    Args:
        path: of the page.
        metrics: as in `metrics.json`.
        rows: as in the table `predictions`; those of the test split are shown.
        crystals: `reduced_formula` and `space_group` of the test crystals, by id.
        curve: the learning curve.
        branches: which of them it has.
        groups: errors by kind of crystal, as `model.evaluation.groups.by_group` makes them.
        calibration: rows with `confidence`, the share `held` of the test crystals, and their number `crystals`.
        experiments: rows of docs/experiments.csv; none if there are no experiments.
    """
    test = [row for row in rows if row["split"] == "test"]
    by_element = {row["name"]: row for row in groups["element"]}
    top = max((row["mae"] for row in by_element.values()), default=0.0)
    worst = sorted(test, key=lambda row: (-abs(row["y_fused"] - row["y_true"]), row["material_id"]))[:WORST]
    write_text(path, render(
        "run.html", ("theme.js", "tables.js"), ("base.css", "run.css"),
        metrics=metrics, branches=[branch for branch in ERRORS if branch[0] in metrics["test"]],
        intervals=_intervals(metrics["intervals"]), tested=len(test), groups=groups, by_element=by_element,
        periodic=elements.table({name: row["mae"] for name, row in by_element.items()}),
        steps=[(top * step / elements.STEPS, top * (step + 1) / elements.STEPS) for step in range(elements.STEPS)],
        worst=[{**row, "ends": _ends(row["value_low"], row["value_high"]),
                "formula": crystals[row["material_id"]]["reduced_formula"],
                "space_group": crystals[row["material_id"]]["space_group"]} for row in worst],
        parity=plots.parity(metrics, test), curve=plots.learning(metrics, curve, branches),
        calibration=plots.calibration(calibration) if calibration else None, experiments=experiments,
        shown_first=metrics["target"] if any(row["target"] == metrics["target"] for row in experiments) else ""))


def write_cards(path: Path, target: str, unit: str, learned_unit: str, cards: list[Card],
                methods: list[Method]) -> None:
    """All about one or many predictions: crystals, descriptions, and what of them carries the prediction.

    Args:
        path: of the page.
        target: name of the property.
        unit: its own unit, empty if it has none.
        learned_unit: the unit of effects, such as log10(GPa).
        cards: one for each crystal, in the order in which they are listed.
        methods: in the order of their switches; rows of a method that is not among them are not shown.
    """
    write_text(path, cards_page(target, unit, learned_unit, cards, methods))


def cards_page(target: str, unit: str, learned_unit: str, cards: Sequence[Card], methods: Sequence[Method]) -> str:
    """The same as text."""
    data = {"target": target, "unit": unit, "learned_unit": learned_unit, "log": learned_unit.startswith("log10("),
            "methods": [asdict(method) for method in methods], "cards": [asdict(card) for card in cards]}
    return render("cards.html", (VIEWER, "theme.js", "tables.js", "dom.js", "scale.js", "crystal.js", "text.js",
                                 "bars.js", "cards.js"),
                  ("base.css", "cards.css"), data, target=target)


def write_explanations(path: Path, target: str, unit: str, explanations: list[Explanation]) -> None:
    """One section per crystal: its description, shaded by what each token or mention does to the prediction.

    `unit` is that of the learned property, such as log10(GPa). Attention is shown where there is any: the rows say
    so, and no parameter, since a model with `train.fusion: cross_attention` may have no network that fuses.
    """
    page = environment().get_template("explanations.html").render(
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


def _ends(low: float | None, high: float | None) -> str:
    if low is None or high is None or not high < float("inf"):
        return "no end"
    return f"{low:.3g} – {high:.3g}"
