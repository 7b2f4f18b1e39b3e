"""A small project that tests read and do not change."""

from pathlib import Path

import pytest

from tests.model.small import small_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All test crystals up to their embeddings; mp-30 has no text."""
    return small_project(tmp_path_factory.mktemp("small"), without_text=("mp-30",))
