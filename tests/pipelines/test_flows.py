"""Stages as Prefect flows, with a real temporary server."""

from pathlib import Path

import pytest
import yaml

from features import tables
from tests.conftest import make_project

REPO = Path(__file__).parents[2]


def test_the_deployment_is_what_the_readme_names() -> None:
    (deployment,) = yaml.safe_load((REPO / "prefect.yaml").read_text())["deployments"]
    assert deployment["name"] == "nightly"
    assert deployment["entrypoint"] == "pipelines/refresh.py:refresh"
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@pytest.mark.slow
def test_a_stage_as_a_flow(tmp_path: Path) -> None:
    from prefect.testing.utilities import prefect_test_harness

    root = make_project(tmp_path, only=["mp-30", "mp-149"])
    with prefect_test_harness(server_startup_timeout=120):
        from pipelines import flows

        report = flows.run_stage("ingest", root, "serial")
        assert (report.wanted, report.computed) == (2, 2)
        assert flows.run_stage("ingest", root, "serial").computed == 0
        with pytest.raises(RuntimeError, match="ended with exit code 3"):
            _run_failing()
    assert tables.exists(root, "materials")


def _run_failing() -> None:
    import sys

    from prefect import flow

    from pipelines.flows import run_logged

    flow(lambda: run_logged([sys.executable, "-c", "import sys; print('no'); sys.exit(3)"], cwd=None), name="fails")()
