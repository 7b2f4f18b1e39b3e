"""Mending what a kill or a damaged disk has left: DVC's own files, tables, published versions."""

from __future__ import annotations

from pathlib import Path

from features import catalog
from features.params import read_params
from pipelines.engine.at_work import nobody_at_work
from pipelines.repair import dvc, outputs


def repair(root: Path, quick: bool = False, by: str | None = None) -> list[str]:
    """Find and mend: a line for each thing. What cannot be restored is removed, for `dvc repro` to make.

    `quick` leaves out reading all tables and the model, whose readers notice damage by themselves. Raises `UserError`
    while somebody is at work here, but for the
    kind of run that `by` names.
    """
    read_params(root)
    nobody_at_work(root, but=by)
    mended = [*dvc.mend(root), *outputs.mend_leftovers(root), *outputs.mend_name(root)]
    if not quick:
        mended += outputs.mend_damage(root)
    if mended:
        catalog.refresh(root)
    return mended
