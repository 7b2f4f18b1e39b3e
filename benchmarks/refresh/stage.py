"""What DVC runs for each stage of the benchmark's project: `python -m benchmarks.refresh.stage STAGE`.

As `python -m pipelines STAGE`, with the rows of `benchmarks.store.rows`, which cost nothing, for all stages but
`describe`. Its rows are those of the real view; `prime` puts rows that cost nothing for all crystals but the changing
ones into its row store beforehand.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.refresh.crystals import changes
from benchmarks.store import rows
from features import catalog, registry
from features.view import FeatureView
from pipelines.engine import runs, stages
from pipelines.engine.materialize import Report, materialize
from pipelines.engine.work import store_of, survey
from pipelines.executors import Serial


def run(stage: str, root: Path) -> Report:
    """Make a table as `stages.run` does, of rows that cost nothing."""
    with runs.recorded(root, stage) as record:
        view: FeatureView[Any] = rows.view_of(stage)
        _, params, units = stages.prepare(stage, root)
        report = materialize(view, params, root, units, Serial())
        catalog.refresh(root)
        record.counts = {name: getattr(report, name) for name in
                         ("wanted", "reused", "computed", "rejected", "digest")}
    return report


def prime(root: Path) -> None:
    """Rows of `descriptions` that cost nothing, of all crystals but the changing ones, into the row store."""
    view, params, units = stages.prepare("describe", root)
    store = store_of(view, root)
    with store.locked():
        params = view.resolve(params)
        work = survey(view, params, root, units, store)
        todo = work.missing(retry_rejected=False)
        synthetic: FeatureView[Any] = rows.view_of("describe")
        for group, window in work.batches(todo, synthetic.batch_size):
            chosen = np.array([not changes(name) for name in window["material_id"].to_pylist()])
            made = synthetic.compute(window.filter(pa.array(chosen)), params)
            store.append_rows(made.rows, work.fingerprints.take(pa.array(group[chosen])))


if __name__ == "__main__":
    (name,) = sys.argv[1:]
    if name not in registry.MODULES or name == "describe":
        sys.exit(f"no stage {name}")
    print(run(name, Path()))
