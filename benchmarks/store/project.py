"""A project of git and DVC whose tables are made by the engine from synthetic rows."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from benchmarks.store import rows
from features import registry
from features.paths import Paths
from features.view import FeatureView
from pipelines import publishing
from pipelines.commands import program
from pipelines.engine import stages
from pipelines.engine.materialize import Report, materialize
from pipelines.engine.units import Units, read_units
from pipelines.executors import Serial
from pipelines.sources import spool_of

REPOSITORY = Path(__file__).parents[2]


def start(root: Path) -> None:
    """An empty project: parameters, and stages that do nothing when DVC runs them."""
    root.mkdir(parents=True)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["embed"]["levels"] = ["document"]
    params["paraphrase"]["variants"] = rows.VARIANTS
    Paths(root).params.write_text(yaml.safe_dump(params))
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": dvc_stages()}, sort_keys=False))


def track(root: Path) -> None:
    """Put a project under git and DVC."""
    (root / ".gitignore").write_text("/data/*\n!/data/published.json\n")
    _run(root, "git", "init", "-q")
    _run(root, program("dvc"), "init", "-q")
    _run(root, program("dvc"), "config", "cache.type", "hardlink,copy")
    _run(root, program("dvc"), "config", "core.autostage", "false")


def dvc_stages() -> dict[str, Any]:
    made = {}
    for stage in rows.STAGES:
        view = registry.view_of(stage)
        made[stage] = {"cmd": "true", "deps": [f"data/features/{name}" for name in view.inputs] or ["params.yaml"],
                       "outs": [f"data/features/{view.name}", f"data/features/rejects/{view.name}.parquet"]}
    tables = [f"data/features/{registry.view_of(stage).name}" for stage in rows.STAGES]
    made["publish"] = {"cmd": "true", "deps": tables, "outs": ["data/features/profiles", {
        "data/published.json": {"cache": False}}]}
    return made


def materialize_all(root: Path, crystals: int, changed: float = 0.0) -> list[Report]:
    """Make all tables, computing what the row store does not have."""
    spool = spool_of(rows.entries(crystals, changed), root)
    reports = []
    for stage in rows.STAGES:
        view: FeatureView[Any] = rows.view_of(stage)
        units = Units(spool.windows, spool.window) if stage == "ingest" else read_units(view, root)
        reports.append(materialize(view, stages.params_of(stage, root), root, units, Serial()))
    return reports


def publish(root: Path) -> None:
    """Check, profile and publish what there is, as the last stage of `dvc repro` does."""
    publishing.publish(root)


def commit(root: Path, tag: str) -> None:
    """Put the tables into DVC's cache and this state into git."""
    _run(root, program("dvc"), "commit", "-q", "--force")
    _run(root, "git", "add", ".")
    _run(root, "git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "commit", "-q", "-m", tag)
    _run(root, "git", "tag", tag)


def _run(root: Path, *command: str) -> None:
    subprocess.run(command, cwd=root, check=True)
