"""The header of a model's file, which can be read before torch is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL = "model.safetensors"
"""Name of the file."""
CONFIG = "multimodal_cpf"
"""Key of the configuration in its header."""


def read_header(path: Path) -> Any:
    """The configuration of a model as its file's header has it, read without torch; None where there is none."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return json.loads(content["__metadata__"][CONFIG])
    except (OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError):
        return None
