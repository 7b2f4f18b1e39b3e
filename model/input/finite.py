"""Numbers that are none stop a run with the name of their row: NaN and infinity in a target or in a feature.

Nothing is changed here. A value that is not a number makes every weight of the network one with the first step, and
only the crystal's name leads to where it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import UserError
from features.registry import view_of
from model.input.batch import Ints

MISSING = ("token_values",)
"""Columns in which NaN means that there is no number."""


def require_targets(target: str, labels: Mapping[str, float]) -> None:
    """Raise `UserError` if a value of a property is not finite; a missing one is not there."""
    wrong = [i for i, value in labels.items() if not np.isfinite(value)]
    if wrong:
        raise UserError(f"{target} of {wrong[0]} in the table materials is {labels[wrong[0]]}, which is no number to "
                        f"learn ({len(wrong)} such crystals); leave the cell empty where the value is not known")


@dataclass(frozen=True)
class Wrong:
    """The first number of some ragged columns that is none."""

    column: str
    row: int
    value: float
    count: int
    """How many such values the column has."""


def wrong(values: Mapping[str, NDArray[Any]], starts: Mapping[str, Ints]) -> Wrong | None:
    """What of ragged columns is no number.

    Args:
        values: the flat numbers of each column; columns of other types are passed over.
        starts: where the list of each row begins, `[rows + 1]`.
    """
    for column, flat in values.items():
        if not np.issubdtype(flat.dtype, np.floating):
            continue
        begins = starts[column]
        flat = flat[begins[0]:begins[-1]]
        bad = np.isinf(flat) if column in MISSING else ~np.isfinite(flat)
        if bad.any():
            place = int(bad.argmax())
            row = int(np.searchsorted(begins - begins[0], place, side="right")) - 1
            return Wrong(column, row, float(flat[place]), int(bad.sum()))
    return None


def require_rows(stage: str, values: Mapping[str, NDArray[Any]], starts: Mapping[str, Ints],
                 name: Callable[[int], str]) -> None:
    """Raise `UserError` if any of it is no number; `name` is how a row of that stage's table is called."""
    found = wrong(values, starts)
    if found is not None:
        table = view_of(stage).name
        raise UserError(f"{found.column} of {name(found.row)} in the table {table} holds {found.value}, which is no "
                        f"number ({found.count} such values); remove data/.rowstore/{table} and run "
                        f"`python -m pipelines {stage}` to make the table anew")
