"""A sound project that tests copy before they spoil it."""

import shutil
from pathlib import Path

import pytest

from tests.features.catalog.sound import sound_project


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six crystals with texts, vectors and predictions; to read."""
    return sound_project(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return shutil.copytree(sound, tmp_path / "project")
