"""`--check`: every summary again from the stored predictions, and one cell again from the tables."""

from __future__ import annotations

import numpy as np

from features.errors import UserError
from features.progress import say
from features.text_encoder.weights import pick_device
from model.experiments import cell as cells
from model.experiments import sheets
from model.experiments.cell import Bench
from model.experiments.matrix import OWN
from model.experiments.matrix import cells as cells_of
from model.experiments.reports import Report
from model.experiments.results import Finished, Results
from model.experiments.run import pending, run_one

TOLERANCE = 1e-6
"""Largest difference of a prediction where the arithmetic is another."""


def check(on: Bench, rng: np.random.Generator | None = None) -> None:
    """Raise `UserError` with the first thing that does not hold.

    The cell that is run again is a random one of those that this code and these tables made, on this arithmetic if
    there is one: then the bytes must be the same, else each prediction within 1e-6, which a training of many steps
    does not keep on another kind of processor, so that of those only arms without a network are asked.
    """
    results = Results(on.root)
    stored = results.all()
    if not stored:
        raise UserError("no experiment has been run here: python -m model.experiments run")
    for path, content, key in Report.of(on.root, on.matrix).sheets(on.root):
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        if wrong := sheets.differing(there, content, key):
            raise UserError(f"{path} is not what the stored predictions say ({len(wrong)} differences): {wrong[0]}; "
                            "python -m model.experiments report writes it anew")
        say(f"experiments: {path.name} follows from the {len(stored)} stored cells")
    _again(on, stored, rng or np.random.default_rng())


def _again(on: Bench, stored: list[Finished], rng: np.random.Generator) -> None:
    stale = set(pending(on))
    asked_for = ({one.cell for one in stored} & set(cells_of(on.matrix))) - stale
    current = [one for one in stored if one.cell in asked_for]
    old = len([one for one in stored if one.cell in stale])
    if old:
        say(f"experiments: {old} stored cells were made by other code, tables or parameters")
    ours = {cells.arithmetic(device) for device in ("cpu", pick_device("auto"))}
    here = [one for one in current if one.arithmetic in ours]
    exact = bool(here)
    choices = here or [one for one in current if on.matrix.arms[one.cell.arm].kind not in OWN]
    if not choices:
        raise UserError("no stored cell can be run again here and compared: none was made by this code, from these "
                        f"tables, on {' or '.join(sorted(ours))}")
    one = choices[int(rng.integers(len(choices)))]
    say(f"experiments: running {one.cell} again")
    again = run_one(on, one.cell)
    worst = float(np.abs(again.predicted - one.predicted).max()) if again.ids == one.ids else np.inf
    same = again.predicted.tobytes() == one.predicted.tobytes() if exact else worst <= TOLERANCE
    if not same or again.ids != one.ids:
        raise UserError(f"{one.cell}, run again, predicts otherwise, by up to {worst:.2g}")
    say(f"experiments: {one.cell} comes out the same" + (", to the last bit" if exact else f", within {TOLERANCE:g}"))
