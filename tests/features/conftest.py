"""What tests of several folders share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.features import history


@pytest.fixture(scope="session")
def project_with_a_past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `history.make` makes it; not to be changed."""
    root = tmp_path_factory.mktemp("history") / "project"
    history.make(root)
    return root


@pytest.fixture
def past(project_with_a_past: Path, tmp_path: Path) -> Path:
    """A copy of it; the remote is that of all copies."""
    return Path(shutil.copytree(project_with_a_past, tmp_path / "project", symlinks=True))
