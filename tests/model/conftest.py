"""Small projects that tests read and do not change."""

from pathlib import Path

import pytest

from model.evaluation import stage as evaluation
from model.explain import explain_stage
from model.explanation import aggregates, synthetic
from model.training import train as training
from tests.model.small import SMALL_WORDS, small_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All test crystals up to their embeddings; mp-30 has no text."""
    return small_project(tmp_path_factory.mktemp("small"), without_text=("mp-30",))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a model, its evaluation and its explanations."""
    # fast enough for the gates to the text to open in four epochs
    root = small_project(tmp_path_factory.mktemp("trained"), without_text=("mp-30",), train={"learning_rate": 0.005})
    training.train(root)
    evaluation.evaluate(root)
    explain_stage(root)
    return root


@pytest.fixture(scope="session")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads words, and eleven test crystals: enough for all tests of the methods that explain."""
    root = small_project(tmp_path_factory.mktemp("told"), ("mp-30",), "tokenize", train={**SMALL_WORDS, "epochs": 1},
                         split={"test": 0.4}, explain={"crystals": 2, "tested": 5, "aggregated": 6})
    training.train(root)
    return root


@pytest.fixture(scope="session")
def told(worded: Path) -> Path:
    """The same with its explanations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "EPOCHS", 2)
        patch.setattr(aggregates, "SUPPORT", 5)
        explain_stage(worded)
    return worded
