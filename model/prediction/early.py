"""What a first prediction begins with, before anything else is imported.

Describing needs Robocrystallographer, whose import takes longer than all the rest. So the server that worker processes
are forked from begins to import it at once, on another core, while this process imports and reads the model.
"""

from __future__ import annotations

from pathlib import Path

from features.processes import fork_server
from model.header import read_header


def begin(path: Path) -> None:
    """Start the server for a model, if there is one: whoever loads the model says what is wrong with it."""
    config = read_header(path)
    identity = config.get("identity") if isinstance(config, dict) else None
    stages = identity.get("tables") if isinstance(identity, dict) else None
    if isinstance(stages, dict) and stages:
        describes = ("features.describer.engine", "robocrys") if "describe" in stages else ()
        fork_server((*describes, "model.prediction.recipe"))
