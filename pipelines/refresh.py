"""The deployment `refresh/nightly`: one flow that runs `dvc repro`, so that DVC decides what is stale."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from prefect import flow

from features.errors import UserError
from pipelines.flows import run_logged


@flow(name="refresh", log_prints=True)
def refresh(root: str = ".") -> None:
    """Bring every table, the model and its report up to date. A failed stage leaves the earlier outputs in DVC's cache.

    Stages run as commands of `dvc repro` and become flow runs of their own, since they inherit `PREFECT_API_URL`.
    """
    beside_python = Path(sys.executable).parent / "dvc"
    dvc = str(beside_python) if beside_python.exists() else shutil.which("dvc")
    if dvc is None:
        raise UserError("dvc is not installed in this environment; run `make setup`")
    run_logged([dvc, "repro"], cwd=Path(root))
