"""A recipe that hangs or dies on demand, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from features.errors import RowError
from model.prediction.recipe import Recipe


class Scripted(Recipe):
    """Does what the text of a crystal says."""

    @property
    def preload(self) -> tuple[str, ...]:
        return (__name__,)

    def table(self, stage: str, unit: Mapping[str, Any]) -> Any:  # noqa: ARG002 (the first stage gets no further)
        """Hang, die, want more memory than there is or than is usual, or reject."""
        asked = unit["structure"]
        if asked == "hang":
            time.sleep(600)
        if asked == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if asked == "no memory":
            raise MemoryError
        if asked == "large":
            bytearray(7_000_000_000)
        raise RowError("rejected", asked)
