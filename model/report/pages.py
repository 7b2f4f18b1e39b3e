"""Self-contained HTML pages: the report of an evaluation and the explanations of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from features.store.files import write_text
from model import cautions
from model.records import Card, Method
from model.report import elements, plots
from model.report.page import VIEWER, embedded, render

ERRORS = (("mae", "structure and text, fused"), ("mae_structure_networks", "its networks of structure alone"),
            ("mae_text_readers", "what reads the text alone"),
            ("mae_own_structure_branch", "its own structure branch"), ("mae_own_text_branch", "its own text branch"),
            ("mae_shuffled_text", "fused, with another crystal's text (control)"),
            ("mae_no_text", "fused, without text"))
CARD_SCRIPTS = (VIEWER, "theme.js", "tables.js", "dom.js", "scale.js", "crystal.js", "text.js", "bars.js", "across.js",
                "cards.js")
CARD_STYLES = ("base.css", "cards.css")
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
        metrics=metrics, few=cautions.FEW, branches=[branch for branch in ERRORS if branch[0] in metrics["test"]],
        intervals=_intervals(metrics["intervals"]), tested=len(test), groups=groups, by_element=by_element,
        periodic=elements.table({name: row["mae"] for name, row in by_element.items()}),
        steps=[(top * step / elements.STEPS, top * (step + 1) / elements.STEPS) for step in range(elements.STEPS)],
        worst=[{**row, "ends": _ends(row["value_low"], row["value_high"]),
                "formula": crystals[row["material_id"]]["reduced_formula"],
                "space_group": crystals[row["material_id"]]["space_group"]} for row in worst],
        parity=plots.parity(metrics, test), curve=plots.learning(metrics, curve, branches),
        calibration=plots.calibration(calibration) if calibration else None, experiments=experiments,
        shown_first=metrics["target"] if any(row["target"] == metrics["target"] for row in experiments) else ""))


def write_cards(path: Path, target: str, unit: str, learned_unit: str, cards: Sequence[Card],
                methods: Sequence[Method], across: Rows = ()) -> None:
    """All about one or many predictions: crystals, descriptions, and what of them carries the prediction.

    Args:
        path: of the page.
        target: name of the property.
        unit: its own unit, empty if it has none.
        learned_unit: the unit of effects, such as log10(GPa).
        cards: one for each crystal, in the order in which they are listed.
        methods: in the order of their switches; rows of a method that is not among them are not shown.
        across: effects of facts over many crystals, as `model.records.FACT_EFFECTS`; shown below the crystals.
    """
    write_text(path, cards_page(target, unit, learned_unit, cards, methods, across))


def cards_page(target: str, unit: str, learned_unit: str, cards: Sequence[Card], methods: Sequence[Method],
               across: Rows = ()) -> str:
    """The same as text."""
    data = {"target": target, "unit": unit, "learned_unit": learned_unit, "log": learned_unit.startswith("log10("),
            "methods": [asdict(method) for method in methods], "cards": [asdict(card) for card in cards],
            "across": list(across)}
    return render("cards.html", CARD_SCRIPTS, CARD_STYLES, data, target=target)


def live_page(target: str, unit: str, learned_unit: str, methods: Sequence[Method], cautions_of_model: Sequence[str],
              limits: Mapping[str, Any]) -> str:
    """The same page without crystals: they are dropped there, and the server that it came from answers about them.

    Args:
        target, unit, learned_unit, methods: as of `write_cards`.
        cautions_of_model: what is said of the model beside every prediction.
        limits: what the server takes: `file_bytes`, `crystals`, `name_characters`, `text_characters`, and `at_once`,
            the crystals that it describes at once.
    """
    live = {"target": target, "unit": unit, "learned_unit": learned_unit, "log": learned_unit.startswith("log10("),
            "methods": [asdict(method) for method in methods], "cards": [], "across": [], "limits": limits}
    return render("live.html", (*CARD_SCRIPTS, "edit.js", "live.js"), (*CARD_STYLES, "live.css"), connects=True,
                  live=embedded(live), target=target, cautions=cautions_of_model, limits=limits)


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
