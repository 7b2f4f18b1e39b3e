"""The stand-in for the Materials Project API, running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.sources.materials_project import client, pull
from tests.pipelines.sources.materials_project_server import KEY, Database, serving, two_versions


@pytest.fixture(scope="session")
def versions() -> dict[str, list[dict[str, Any]]]:
    """What the server has at two versions of its database."""
    return two_versions()


@pytest.fixture
def server(versions: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The server at the old version, with its key in the environment."""
    monkeypatch.setenv("MP_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # ten documents a page, so that some thirty crystals make several
    monkeypatch.setattr(client, "PAGE", 10)
    monkeypatch.setattr(pull, "PAGE", 10)
    with serving(Database(versions)) as running:
        yield running
