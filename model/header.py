"""The header of a model's file, which can be read before torch is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from features.errors import RowError
from features.reading import opened

MODEL = "model.safetensors"
"""Name of the file."""
LONGEST = 100_000_000
"""Bytes of a header, as safetensors allows."""
CONFIG = "multimodal_cpf"
"""Key of the configuration in its header."""


def read_header(path: Path) -> Any:
    """The configuration of a model as its file's header has it, read without torch; None where there is none."""
    try:
        with opened(path) as file:
            content = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), LONGEST)))
        return json.loads(content["__metadata__"][CONFIG])
    except (OSError, ValueError, LookupError, TypeError, RecursionError, RowError):
        return None


def metadata(raw: bytes) -> dict[str, str]:
    """The metadata of a safetensors file that is at hand, which has been read as one."""
    told: dict[str, str] | None = json.loads(raw[8:8 + int.from_bytes(raw[:8], "little")]).get("__metadata__")
    return told or {}
