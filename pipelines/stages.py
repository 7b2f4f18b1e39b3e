"""The stages of the pipeline: each a plain function, whatever runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from features import catalog, registry, tables
from features.errors import UserError
from features.params import STAGES as ALL_STAGES
from features.params import Section, load_section
from features.view import FeatureView
from pipelines import executors
from pipelines.materialize import Report, materialize, read_units, survey
from pipelines.params import IngestParams
from pipelines.sources import read_units as read_source
from pipelines.sources import ready as source_ready

STAGES = tuple(registry.MODULES)
MODEL_STAGES = tuple(stage for stage in ALL_STAGES if stage not in STAGES)


def run(stage: str, root: Path, executor: str | None = None, workers: int | None = None,
        retry_rejected: bool = False, address: str | None = None) -> Report:
    """Make one view's table under `root`, with the parameters of its `params.yaml`.

    `executor`, `workers` and `address` are those of `executors.make`; the default executor is what suits the view.
    """
    view, params, units = _prepare(stage, root)
    chosen = executors.make(executor or ("processes" if view.parallel(params) else "serial"), workers, address)
    report = materialize(view, params, root, units, chosen, retry_rejected)
    catalog.refresh(root)
    return report


def _prepare(stage: str, root: Path) -> tuple[FeatureView[Any], Section, pa.Table]:
    view = registry.view_of(stage)
    if stage == "ingest":
        ingest = load_section(root, stage, IngestParams)
        params: Section = view.params.model_validate({"timeout_s": ingest.timeout_s})
        return view, params, read_source(ingest, root)
    params = load_section(root, stage, view.params)
    units = read_units(view, root)
    if _takes_served_texts(stage, params):
        from pipelines.sources.materials_project import texts

        units = texts.with_served(units, root)
    return view, params, units if view.wanted(params) else units.slice(0, 0)


def _takes_served_texts(stage: str, params: Section) -> bool:
    return stage == "describe" and getattr(params, "source", "") == "materials_project"


def _is_here(stage: str, root: Path) -> bool:
    """Whether the units of a stage can be read without asking a server."""
    if stage == "ingest":
        return source_ready(load_section(root, stage, IngestParams), root)
    if _takes_served_texts(stage, load_section(root, stage, registry.view_of(stage).params)):
        from pipelines.sources.materials_project import texts

        return texts.ready(root)
    return True


def run_model(stage: str, root: Path) -> None:
    """Run a stage of the model as its own command, since this room does not import the other."""
    code = subprocess.run([sys.executable, "-m", "model", stage, "--root", str(root)], check=False).returncode
    if code:
        raise UserError(f"python -m model {stage} ended with exit code {code}, for the reason above")


def plan(root: Path) -> list[dict[str, Any]]:
    """What a run would compute, per view, from the upstream tables as they are now."""
    result: list[dict[str, Any]] = []
    for stage in STAGES:
        view = registry.view_of(stage)
        absent = [name for name in view.inputs if not tables.exists(root, name)]
        if absent:
            result.append({"stage": stage, "wanted": None, "reused": None, "compute": None,
                           "note": f"after {' and '.join(absent)}"})
            continue
        if not _is_here(stage, root):
            result.append({"stage": stage, "wanted": None, "reused": None, "compute": None,
                           "note": "after it has pulled from the server"})
            continue
        _, params, units = _prepare(stage, root)
        work = survey(view, params, root, units)
        todo = len(work.missing(retry_rejected=False))
        stale = [row["stage"] for row in result if row["compute"]]
        upstream = [name for name in stale if registry.view_of(name).name in view.inputs]
        result.append({"stage": stage, "wanted": len(units), "reused": len(units) - todo, "compute": todo,
                       "note": f"more after {' and '.join(upstream)}" if upstream else ""})
    return result
