"""The stages of the pipeline: each a plain function, whatever runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa

from features import catalog, registry, runlog
from features.errors import UserError
from features.params import STAGES as ALL_STAGES
from features.params import Section, load_section, read_params
from features.progress import detail
from features.view import Batch, FeatureView
from pipelines import executors
from pipelines.engine import runs
from pipelines.engine.materialize import Report, materialize
from pipelines.engine.units import Units, read_units
from pipelines.executors import Executor, Job, Pool
from pipelines.params import IngestParams
from pipelines.sources import ready as source_ready
from pipelines.sources import spooled

STAGES = tuple(registry.MODULES)
MODEL_STAGES = tuple(stage for stage in ALL_STAGES if stage not in STAGES)


def run(stage: str, root: Path, executor: str | None = None, workers: int | None = None,
        retry_rejected: bool = False, address: str | None = None,
        around: Callable[[Executor], Executor] = lambda executor: executor) -> Report:
    """Make one view's table under `root`, with the parameters of its `params.yaml`.

    `executor`, `workers` and `address` are those of `executors.make`; the default executor is what suits the view.
    `around` may wrap it.
    """
    read_params(root)  # a folder that is no project gets no record
    with runs.recorded(root, stage) as record:
        view, params, units = prepare(stage, root)
        chosen = executors.make(executor or ("processes" if view.parallel(params) else "serial"), workers, address)
        report = materialize(view, params, root, units, _Telling(around(chosen), stage), retry_rejected)
        catalog.refresh(root)
        record.counts = {name: getattr(report, name) for name in
                         ("wanted", "reused", "computed", "rejected", "digest")}
    return report


class _Telling(Executor):
    """Another executor, whose rejects are said as they come."""

    def __init__(self, inner: Executor, stage: str) -> None:
        self.inner, self.stage = inner, stage

    def pool(self, job: Job) -> AbstractContextManager[Pool]:
        return self.inner.pool(job)

    def map(self, job: Job, batches: Iterable[pa.Table]) -> Iterator[tuple[int, Batch]]:
        for index, batch in self.inner.map(job, batches):
            for why in batch.rejects.values():
                detail(f"{self.stage}: {why.material_id} is rejected, {why.error}: {why.message}", why.material_id)
            yield index, batch


def params_of(stage: str, root: Path) -> Section:
    """The parameters that a stage's view gets."""
    view = registry.view_of(stage)
    if stage == "ingest":
        whole = load_section(root, stage, IngestParams)
        params: Section = view.params.model_validate({name: getattr(whole, name) for name in view.params.model_fields})
        return params
    return load_section(root, stage, view.params)


def prepare(stage: str, root: Path) -> tuple[FeatureView[Any], Section, Units]:
    """View, parameters and units of a stage, as a run would take them."""
    view, params = registry.view_of(stage), params_of(stage, root)
    if stage == "ingest":
        entries = spooled(load_section(root, stage, IngestParams), root)
        return view, params, Units(entries.windows, entries.window)
    if not view.wanted(params):
        return view, params, Units.of(read_units(view, root).window(0).slice(0, 0))
    units = read_units(view, root)
    if _takes_served_texts(stage, params):
        from pipelines.sources.materials_project import texts

        units = units.map(texts.served_by(root))
    return view, params, units


def _takes_served_texts(stage: str, params: Section) -> bool:
    return stage == "describe" and getattr(params, "source", "") == "materials_project"


def is_here(stage: str, root: Path) -> bool:
    """Whether the units of a stage can be read without asking a server."""
    if stage == "ingest":
        return source_ready(load_section(root, stage, IngestParams), root)
    if _takes_served_texts(stage, load_section(root, stage, registry.view_of(stage).params)):
        from pipelines.sources.materials_project import texts

        return texts.ready(root)
    return True


def run_model(stage: str, root: Path) -> None:
    """Run a stage of the model as its own command, since this room does not import the other."""
    read_params(root)
    with runs.recorded(root, stage) as record:
        handles = [] if record.lock is None else [record.lock]
        code = subprocess.run([sys.executable, "-m", "model", stage, "--root", str(root)], check=False,
                              env={**os.environ, **runlog.environment()}, pass_fds=handles).returncode
        if code:
            raise UserError(f"python -m model {stage} ended with exit code {code}, for the reason above")
