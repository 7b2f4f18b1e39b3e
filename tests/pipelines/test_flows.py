"""The deployment. What flows do is tested with a server and a worker, in `tests/test_end_to_end.py`."""

from pathlib import Path

import yaml

REPO = Path(__file__).parents[2]


def test_the_deployment_is_what_the_readme_names() -> None:
    (deployment,) = yaml.safe_load((REPO / "prefect.yaml").read_text())["deployments"]
    assert deployment["name"] == "nightly"
    assert deployment["entrypoint"] == "pipelines/refresh/flow.py:refresh"
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
