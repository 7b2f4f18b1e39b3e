"""In the place of a structure encoder, for a network none of whose branches that learn looks at the structure."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.input.batch import StructureBatch


class Absent(nn.Module):
    """Zeros for every atom: nothing is read and nothing is computed."""

    reads: tuple[str, ...] = ()

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, batch: StructureBatch, _hidden: Tensor | None = None) -> Tensor:
        """Tokens `[atoms, dim]`."""
        return torch.zeros(len(batch.numbers), self.dim, device=batch.numbers.device)

    def calibrate(self, _batch: StructureBatch) -> None:
        """Nothing to fix."""
