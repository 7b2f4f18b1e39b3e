"""A server in this process, whose descriptions are short and made up, and one in a process of its own."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from model import inference
from model.prediction import recipe
from model.prediction.inputs import Given
from model.prediction.predictor import Predictor
from model.prediction.workers import Workers
from model.serve import app
from model.serve.desk import Desk
from model.serve.limits import Limits
from tests.model.report.conftest import browser as browser
from tests.model.small import briefly, described

PORT = 8050
ADDRESS = f"http://127.0.0.1:{PORT}"
JSON = {"origin": ADDRESS, "content-type": "application/json"}
RAW = {"origin": ADDRESS, "content-type": "application/octet-stream"}


class Here:
    """Stands for the processes, so that a describer that was put in the real one's place counts."""

    count = 2

    def __init__(self, predictor: Predictor) -> None:
        self.recipe = predictor.recipe
        self.given: list[Given] = []

    def one(self, given: Given) -> recipe.Made:
        self.given.append(given)
        return recipe.make(self.recipe, given)

    def stop(self) -> None:
        """There is nothing to end."""


@pytest.fixture(scope="session")
def predictor(trained: Path) -> Predictor:
    return inference.load(trained / "data" / "model")


def desk_of(predictor: Predictor, **limits: Any) -> Desk:
    return Desk(predictor, cast("Workers", Here(predictor)), dataclasses.replace(Limits(), **limits))


@pytest.fixture
def desk(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Desk:
    described(monkeypatch, briefly)
    return desk_of(predictor)


@pytest.fixture
def client(desk: Desk) -> TestClient:
    return client_of(desk)


def client_of(desk: Desk) -> TestClient:
    return TestClient(app.create(desk, PORT), base_url=ADDRESS, raise_server_exceptions=False)


@pytest.fixture(scope="session")
def server(trained: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The real command with the real describer: its process and address. It must end by itself when it is told to."""
    process = subprocess.Popen([sys.executable, "-m", "model", "serve", "--root", str(trained), "--port", "0"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=trained,
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "predicts k_vrh of crystals" in line, process.communicate(timeout=60)
    try:
        yield process, line.split("/ ")[0]
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
