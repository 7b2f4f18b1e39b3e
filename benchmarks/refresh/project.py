"""The project of the benchmark of a refresh: git, DVC, a table of crystals, and a stage for each table."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from benchmarks.store import project as store
from benchmarks.store import rows
from features import registry
from features.paths import Paths
from pipelines.commands import environment, program

SOURCE = "crystals.parquet"


def start(root: Path, frame: pl.DataFrame) -> None:
    """A project under git and DVC, in which nothing has run."""
    store.start(root)
    params = yaml.safe_load(Paths(root).params.read_text())
    params["ingest"] |= {"source": "table", "path": SOURCE}
    Paths(root).params.write_text(yaml.safe_dump(params))
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": _stages()}, sort_keys=False))
    frame.write_parquet(root / SOURCE)
    store.track(root)


def reproduce(root: Path, *stages: str) -> None:
    """`dvc repro`."""
    subprocess.run([program("dvc"), "repro", "-q", *stages], cwd=root, env=environment(), check=True,
                   stdout=subprocess.DEVNULL)


def _stages() -> dict[str, Any]:
    stages = store.dvc_stages()
    for name in rows.STAGES:
        stages[name]["cmd"] = "python -m pipelines describe" if name == "describe" else \
            f"python -m benchmarks.refresh.stage {name}"
        stages[name]["params"] = [name]
        rejects = f"data/features/rejects/{registry.view_of(name).name}.parquet"
        stages["publish"]["deps"].append(rejects)
    stages["ingest"]["deps"] = [SOURCE]
    stages["publish"] |= {"cmd": "python -m pipelines publish", "outs": [
        {"data/features/profiles": {"persist": True}}, {"data/published.json": {"persist": True}}]}
    return stages
