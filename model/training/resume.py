"""The state of a training run on disk, saved after every epoch, so that a killed run ends with the same weights.

The file lies beside the row store, outside DVC's outs (which are deleted before a stage runs), and is named after
everything that decides the run. A run that ends removes it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from features.errors import UserError
from features.paths import Paths
from features.store.files import beside, remove_drafts


class Resume:
    """The state of one run, on disk."""

    def __init__(self, root: Path, decides: Mapping[str, Any]) -> None:
        content = json.dumps({**decides, "torch": torch.__version__}, sort_keys=True, default=str)
        self.path = Paths(root).training / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.pt"

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """What `save` was given last; None for a run that has not begun."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise UserError(f"{self.path} is damaged and the run cannot go on from it ({error}); delete it to begin "
                            "anew") from None
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state of tensors, numbers, texts, lists and dicts. A reader never sees half of it."""
        with beside(self.path) as draft:
            torch.save(dict(state), draft)

    def clear(self) -> None:
        """Forget the run."""
        self.path.unlink(missing_ok=True)
        remove_drafts(self.path.parent, self.path.name)
