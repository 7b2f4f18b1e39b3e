"""Mending what a kill or a damaged disk has left: DVC's own files, tables, published versions."""

from __future__ import annotations

from pathlib import Path

from features import catalog
from features.params import read_params
from pipelines.engine.at_work import nobody_at_work
from pipelines.repair import dvc, outputs
from pipelines.sources import waiting


def repair(root: Path, quick: bool = False, by: str | None = None) -> list[str]:
    """Find and mend what is broken: a line for each thing.

    Args:
        quick: leave out reading all tables, the model and the row store, whose readers notice damage by themselves.
        by: the kind of run that asks, whose being at work does not count.

    Raises:
        UserError: somebody is at work here, or DVC would wait for ever for something below `ingest.path`.
    """
    read_params(root)
    waiting.check(root)
    mended = [*outputs.mend_record(root)]  # which says who is at work
    nobody_at_work(root, but=by)
    mended += [*dvc.mend(root), *outputs.mend_leftovers(root), *outputs.mend_name(root)]
    if not quick:
        mended += [*outputs.mend_segments(root), *outputs.mend_damage(root), *outputs.mend_revisions(root)]
    if mended:
        catalog.refresh(root)
    return mended
