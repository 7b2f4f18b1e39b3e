"""The project of a data set other than this project's own: its parameters, and the commands that make its tables."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from features.errors import UserError
from features.params import read_params
from features.paths import Paths
from features.store.files import write_text
from model.experiments.matrix import Matrix

STAGES = ("ingest", "describe", "paraphrase", "embed", "tokenize", "tensorize", "chgnet", "split")


def prepare(root: Path, matrix: Matrix, name: str) -> list[str]:
    """Write `data/experiments/NAME/params.yaml`, share the row store with it, and return the commands to run.

    A crystal that two data sets share is then described once.
    """
    if name not in matrix.datasets:
        raise UserError(f"the matrix has no data set '{name}'; there are: {', '.join(matrix.datasets)}")
    over = matrix.datasets[name].params
    if over is None:
        return [f"python -m pipelines {stage}" for stage in STAGES]
    params = read_params(root)
    for section, values in over.items():
        params[section] = {**(params.get(section) or {}), **values}
    params["split"] = {**(params.get("split") or {}), "group_by": "reduced_formula", "folds": matrix.folds}
    project = Paths(Paths(root).experiment_project(name))
    write_text(project.params, yaml.safe_dump(params, sort_keys=False, allow_unicode=True))
    store = Paths(root).rowstores.absolute()
    store.mkdir(parents=True, exist_ok=True)
    project.data.mkdir(parents=True, exist_ok=True)
    if not project.rowstores.exists():
        project.rowstores.symlink_to(os.path.relpath(store, project.data.resolve()))
    return [f"python -m pipelines {stage} --root {os.path.relpath(project.root)}" for stage in STAGES]
