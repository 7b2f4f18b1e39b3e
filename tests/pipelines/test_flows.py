"""The deployment. What flows do is tested with a server and a worker, in `tests/test_end_to_end.py`."""

from pathlib import Path

import pytest
import yaml
from prefect.states import Failed

from pipelines import flows
from tests.pipelines.executors.scattered import STOPS

REPO = Path(__file__).parents[2]


def test_the_deployment_is_what_the_readme_names() -> None:
    (deployment,) = yaml.safe_load((REPO / "prefect.yaml").read_text())["deployments"]
    assert deployment["name"] == "nightly"
    assert deployment["entrypoint"] == "pipelines/refresh/flow.py:refresh"
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@pytest.mark.parametrize("name", STOPS)
def test_what_the_machine_made_fail_is_tried_again_and_what_a_user_must_mend_is_not(name: str) -> None:
    state = Failed(data=STOPS[name][0])
    assert flows._is_worth_another_try(None, None, state) == (name != "UserError")


def test_what_a_bug_made_fail_is_not_tried_again() -> None:
    assert not flows._is_worth_another_try(None, None, Failed(data=ValueError("a bug")))
