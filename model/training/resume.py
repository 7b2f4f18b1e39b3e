"""The state of a training run on disk, saved after every epoch, so that a killed run ends with the same weights.

The file lies beside the row store, outside DVC's outs (which are deleted before a stage runs), and is named after
everything that decides the run. It begins with a digest of the rest. A run that ends removes it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from features.paths import Paths
from features.progress import say
from features.store.files import beside, remove_drafts

DIGEST = hashlib.sha256().digest_size


class Resume:
    """The state of one run, on disk."""

    def __init__(self, root: Path, decides: Mapping[str, Any]) -> None:
        content = json.dumps({**decides, "torch": torch.__version__}, sort_keys=True, default=str)
        self.path = Paths(root).training / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.pt"

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """What `save` was given last; None for a run that has not begun, or whose state is damaged and dropped."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            say(f"{self.path} is damaged and dropped, what it holds is trained again")
            self.path.unlink(missing_ok=True)  # another process of the run may have dropped it
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(content[DIGEST:]), map_location=device, weights_only=True)
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state of tensors, numbers, texts, lists and dicts. A reader never sees half of it."""
        content = io.BytesIO()
        torch.save(dict(state), content)
        with beside(self.path) as draft, draft.open("wb") as file:
            file.write(hashlib.sha256(content.getbuffer()).digest())
            file.write(content.getbuffer())

    def clear(self) -> None:
        """Forget the run."""
        self.path.unlink(missing_ok=True)
        remove_drafts(self.path.parent, self.path.name)
