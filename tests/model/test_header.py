"""The header of a model's file, whatever stands there instead."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from model.header import CONFIG, read_header
from model.prediction.early import begin
from model.prediction.recipe import Recipe

ODD = [None, [], 1, "text", {}, {"identity": []}, {"identity": {"tables": 3}, "train": {}},
       {"identity": {"tables": {"ingest": []}}, "train": []}, {"identity": {"tables": {"none": {}}}, "train": {}}]


def write(path: Path, raw: bytes) -> Path:
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    return path


@pytest.mark.parametrize("config", ODD)
def test_an_odd_configuration_begins_nothing(tmp_path: Path, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.prediction.early.fork_server", lambda _: pytest.fail("a server was started"))
    path = write(tmp_path / "m", json.dumps({"__metadata__": {CONFIG: json.dumps(config)}}).encode())
    assert read_header(path) == config
    assert Recipe.early(path) is None
    if config != ODD[-1] and config != ODD[-2]:
        begin(path)


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"\xff", b"[" * 100_000, b'{"__metadata__": 1}'])
def test_what_is_no_header(tmp_path: Path, raw: bytes) -> None:
    assert read_header(write(tmp_path / "m", raw)) is None


def test_a_header_that_says_it_is_endless_and_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\xff" * 20)
    assert read_header(tmp_path / "m") is None
    os.mkfifo(tmp_path / "pipe")
    assert read_header(tmp_path / "pipe") is None
    assert read_header(tmp_path) is None
