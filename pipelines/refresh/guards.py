"""What a refresh does not publish unasked: a version that has lost many crystals, or whose model is much worse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from features import registry
from features.catalog.diff import TableChange
from features.errors import UserError
from features.params import Section, load_section

Metrics = dict[str, tuple[float | None, float | None]]
"""Every number of the metrics, before and after."""
ERROR = "test.mae"
"""The metric of the whole model over the test crystals: the smaller, the better."""
FEW = 20
"""Crystals of a table below which a share of them says nothing."""


class RefreshParams(Section):
    """Section `refresh`: how far a new version may be from the one before, to be published without a person's word."""

    removed: float = Field(default=0.1, ge=0, le=1, strict=False)
    """Largest share of the crystals of any table that may go."""
    worse: float = Field(default=0.25, ge=0, le=1000, strict=False)
    """By how much a test error may grow, as a share of the one before: .25 is a quarter more."""


def params_of(root: Path) -> RefreshParams:
    """The section of a project's `params.yaml`."""
    return load_section(root, "refresh", RefreshParams)


def check(params: RefreshParams, changes: list[TableChange], metrics: Metrics) -> None:
    """Raises `UserError` that names what has gone too far."""
    alarms = [*_removed(params, changes), *_worse(params, metrics)]
    if alarms:
        raise UserError(f"not published: {'; '.join(alarms)}. If that is as it should be: "
                        "python -m pipelines refresh --accept")


def _removed(params: RefreshParams, changes: list[TableChange]) -> Iterator[str]:
    """The view that has lost most; where crystals go, those that are made from them lose their rows as well."""
    views = {view.name for view in registry.all_views()}  # which crystals are explained may change as it likes
    losses = [(len(change.removed) / change.ids[0], change) for change in changes
              if change.table in views and change.ids[0] >= FEW]
    if not losses:
        return
    share, worst = max(losses, key=lambda loss: loss[0])
    if share > params.removed:
        yield (f"{worst.table}: {len(worst.removed):,} of {worst.ids[0]:,} crystals removed ({share:.1%}; "
               f"refresh.removed allows {params.removed:.1%})")


def _worse(params: RefreshParams, metrics: Metrics) -> Iterator[str]:
    before, now = metrics.get(ERROR, (None, None))
    if before is not None and now is not None and not now <= before * (1 + params.worse):
        yield f"{ERROR} {before:.4g} → {now:.4g} (refresh.worse allows {params.worse:.0%} more)"
