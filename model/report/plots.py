"""Plots as SVG that stands in a page: its colours are those of the page, by day and by night."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

Row = Mapping[str, Any]
INK = "#010203"
"""Stands for the page's own colour of text while matplotlib draws."""
BLUE, ORANGE, GREEN = "#3b7fc4", "#d9663d", "#3f9368"
"""Each at least 3 to 1 against a white and a black page."""
MANY = 2000
"""Points from which on they are an image in the plot, so that a page stays small."""


def parity(metrics: Row, rows: Sequence[Row]) -> Markup:
    """True against predicted value of the test crystals, with the interval of each."""
    figure, axes = _figure((6.2, 5.2))
    true, predicted = [row["y_true"] for row in rows], [row["y_fused"] for row in rows]
    low, high = min(true + predicted), max(true + predicted)
    edge = (high - low) * 0.04 or 1.0
    axes.plot([low - edge, high + edge], [low - edge, high + edge], color=INK, alpha=0.35, linewidth=1)
    flat = len(rows) > MANY
    # an interval without ends would stretch the plot to infinity
    ends = [row for row in rows if abs(row["y_low"]) != float("inf") and abs(row["y_high"]) != float("inf")]
    axes.vlines([row["y_true"] for row in ends], [row["y_low"] for row in ends], [row["y_high"] for row in ends],
                color=BLUE, alpha=0.28, linewidth=1.2, rasterized=flat)
    axes.plot(true, predicted, "o", markersize=3.6, alpha=0.75, color=BLUE, markeredgewidth=0, rasterized=flat)
    axes.set_xlim(low - edge, high + edge)
    axes.set_xlabel(_with_unit(f"{metrics['target']}, true", metrics["unit"]))
    axes.set_ylabel(_with_unit("predicted", metrics["unit"]))
    return _svg(figure, f"Parity plot of {len(rows)} test crystals")


def learning(metrics: Row, history: Sequence[Row], branches: Sequence[tuple[str, str]]) -> Markup:
    """Validation error by epoch, a line for each branch that has one."""
    figure, axes = _figure((6.2, 4))
    colours = dict(zip((name for name, _ in branches), (BLUE, GREEN, ORANGE), strict=False))
    for name, error in branches:
        mine = [row for row in history if row["branch"] == name]
        if error in metrics["test"] and mine:
            axes.plot([row["epoch"] for row in mine], [row["validation_mae"] for row in mine], label=name,
                      color=colours[name], linewidth=1.6)
    axes.set_xlabel("epoch")
    axes.set_ylabel(_with_unit("validation MAE", metrics["unit"]))
    if axes.lines:
        axes.legend(frameon=False, labelcolor=INK)
    return _svg(figure, "Learning curves")


def calibration(rows: Sequence[Row]) -> Markup:
    """Share of the test crystals that intervals hold, by the confidence that they promise.

    The band is what a share of so many crystals moves by: two standard deviations of a binomial share.
    """
    figure, axes = _figure((5.2, 4.6))
    nominal = [row["confidence"] for row in rows]
    deviation = [2 * (p * (1 - p) / rows[0]["crystals"]) ** 0.5 for p in nominal]
    axes.fill_between(nominal, [p - d for p, d in zip(nominal, deviation, strict=True)],
                      [p + d for p, d in zip(nominal, deviation, strict=True)], color=INK, alpha=0.1, linewidth=0)
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.35, linewidth=1)
    axes.plot(nominal, [row["held"] for row in rows], "o-", color=BLUE, markersize=4, linewidth=1.4)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence promised")
    axes.set_ylabel("share of test crystals held")
    return _svg(figure, "Calibration of the intervals")


def _with_unit(name: str, unit: str) -> str:
    return f"{name} / {unit}" if unit else name


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
                         "text.color": INK, "font.size": 11, "axes.spines.top": False, "axes.spines.right": False,
                         "text.parse_math": False}):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_parse_math(False)  # a name of a column is no formula, whatever signs it has
    return figure, axes


def _svg(figure: Any, title: str) -> Markup:
    """As SVG whose text is text, without styles, which the page's policy forbids: each becomes an attribute."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "multimodal-cpf", "svg.fonttype": "none"}):  # the same figure, the same bytes
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
                       transparent=True)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index("<svg"):], flags=re.DOTALL)
    text = re.sub(r' style="([^"]*)"', _attributes, text).replace(INK, "currentColor")
    width, height = (float(one) for one in re.findall(r"[\d.]+", text[text.index("viewBox"):])[2:4])
    head = (f'<svg class="plot" role="img" aria-label="{title}" viewBox="0 0 {width:g} {height:g}" '
            f'stroke-linejoin="round" stroke-linecap="butt" xmlns:xlink="http://www.w3.org/1999/xlink">')
    return Markup(re.sub(r"<svg[^>]*>", head, text, count=1))  # noqa: S704 (matplotlib's own output, which it escapes)


def _attributes(style: re.Match[str]) -> str:
    found = []
    for part in filter(None, (one.strip() for one in style[1].split(";"))):
        name, value = (one.strip() for one in part.split(":", 1))
        if name == "font":  # a short form, which is no attribute: the size is kept, the family is the page's
            name, value = "font-size", next(word for word in value.split() if word.endswith("px"))
        found.append(f' {name}="{value}"')
    return "".join(found)
