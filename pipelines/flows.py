"""Each stage as a thin Prefect flow. Used only where `PREFECT_API_URL` names a server; without one nothing is imported.

Parallelism stays inside a stage, and a flow adds what a server is for: a run one can see, its log, its failure.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from prefect import flow, get_run_logger

from pipelines import stages
from pipelines.materialize import Report


@flow(name="stage", flow_run_name="{stage}", log_prints=True)
def run_stage(stage: str, root: Path = Path(), executor: str | None = None, workers: int | None = None,
              retry_rejected: bool = False, address: str | None = None) -> Report:
    """A stage of the pipeline."""
    report = stages.run(stage, root, executor, workers, retry_rejected, address)
    get_run_logger().info(str(report))
    return report


@flow(name="model-stage", flow_run_name="{stage}", log_prints=True)
def run_model_stage(stage: str, root: Path = Path()) -> None:
    """A stage of the model."""
    stages.run_model(stage, root)


def run_logged(command: list[str], cwd: Path | None) -> None:
    """Run a command, its output line by line in the flow run's log. Raises `RuntimeError` if it fails."""
    logger = get_run_logger()
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        if process.stdout is not None:
            for line in process.stdout:
                logger.info(line.rstrip())
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command[1:])} ended with exit code {process.returncode}")
