"""What follows from `docs/experiments.csv` and `docs/experiments-coverage.csv`: a section of docs/results.md, one of
the README."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import NormalDist, median

from features.errors import UserError
from model.experiments import sheets
from model.experiments.intervals import detectable
from model.experiments.matrix import NO_CONTROL

BEGIN = "<!-- experiments: written by `python -m model.experiments report` -->"
END = "<!-- experiments: end -->"
SHUFFLED = "shuffled_text"
"""The control that the README shows beside."""
NONE_YET = "No experiment has been run yet: `python -m model.experiments run`."


def replaced(page: str, name: str, content: str) -> str:
    """The page with what stands between the markers anew: `content`, Markdown.

    Raises `UserError`, which says `name`, if the page has not one marker of each kind, in order.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise UserError(f"{name} needs the lines {BEGIN} and {END} once, around what is written there")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def headline(summary: str, arm: str, confidence: float) -> str:
    """Markdown for the README, from the content of the summary: one arm against as many networks of the reference."""
    rows = {(row["dataset"], row["target"], row["arm"], row["control"], row["members"]): row
            for row in sheets.read(summary)}
    lines = []
    for (dataset, target, name, control, members), row in rows.items():
        if (name, control) == (arm, NO_CONTROL) and row["minus_dedicated"]:
            wrong = rows.get((dataset, target, arm, SHUFFLED, members))
            alone = float(row["mae"]) - float(row["minus_dedicated"])
            minus = ("minus_dedicated", "minus_low", "minus_high")
            lines.append([dataset, target, row["folds"], row["n_train"], f"{alone:.4f}", f"{float(row['mae']):.4f}",
                          _with_interval(row, *minus), _with_interval(wrong, *minus) if wrong else ""])
    if not lines:
        return NONE_YET
    table = _table(["data set", "target", "folds", "trained", "structure alone", "with text", "difference",
                    "difference with another's text"], lines, numbers=6)
    members = next(row["members"] for (_, _, name, *_), row in rows.items() if name == arm)
    return (f"Mean absolute errors out of fold, folds by formula, {members} members on either side, differences paired "
            f"with intervals of {confidence:.0%}:\n\n{table}")


def section(summary: str, coverage: str, confidence: float) -> str:
    """Markdown between the markers, from the content of both files; `confidence` is that of the intervals."""
    rows, covered = sheets.read(summary), sheets.read(coverage)
    if not rows:
        return NONE_YET
    blocks = []
    for (dataset, target), mine in itertools.groupby(rows, key=lambda row: (row["dataset"], row["target"])):
        errors = list(mine)
        blocks.append(f"### {dataset}, {target}\n\n"
                      f"Mean absolute error out of fold, of the transformed target, intervals of {confidence:.0%}; "
                      f"{errors[0]['folds']} folds, {errors[0]['n_train']} crystals trained in the mean.")
        blocks.append(_table(["arm", "control", "members", "MAE", "minus dedicated"], [
            [row["arm"], row["control"], row["members"], _with_interval(row, "mae", "low", "high"),
             _with_interval(row, "minus_dedicated", "minus_low", "minus_high")] for row in errors], numbers=3))
        if power := _power(errors, confidence):
            blocks.append(power)
        overall = [row for row in covered if (row["dataset"], row["target"], row["by"]) == (dataset, target, "all")]
        if overall:
            blocks.append(_table(["intervals of", "members", "promised", "hold", "mean width"], [
                [row["arm"], row["members"], f"{float(row['confidence']):.0%}", f"{float(row['coverage']):.1%}",
                 f"{float(row['mean_width']):.3f}"] for row in overall], numbers=4))
    return "\n\n".join([*blocks, _multiplicity(rows, confidence)])


def _with_interval(row: dict[str, str], value: str, low: str, high: str) -> str:
    return f"{float(row[value]):.4f} [{float(row[low]):.4f}, {float(row[high]):.4f}]" if row[value] else ""


def _power(rows: Sequence[dict[str, str]], confidence: float) -> str:
    """What could have been seen. The standard error is that of a normal distribution with the interval's width."""
    tail = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
    seen = [detectable((float(row["minus_high"]) - float(row["minus_low"])) / 2 / tail, confidence)
            for row in rows if row["minus_dedicated"]]
    if not seen:
        return ""
    return (f"Power: four of five repetitions would show a difference of {median(seen):.4f}, in the median over the "
            f"{len(seen)} lines ({min(seen):.4f} to {max(seen):.4f}).")


def _multiplicity(rows: Sequence[dict[str, str]], confidence: float) -> str:
    compared = [row for row in rows if row["minus_dedicated"]]
    below = sum(float(row["minus_high"]) < 0 for row in compared)
    above = sum(float(row["minus_low"]) > 0 for row in compared)
    return (f"Multiplicity: of {len(compared)} differences {below + above} are clear of zero ({below} below, {above} "
            f"above); if there were none, about {len(compared) * (1 - confidence):.1f} would be by chance. Lines share "
            "crystals and networks, so that they are not as many independent tests.")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """A Markdown table whose last so many columns are numbers."""
    rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])
