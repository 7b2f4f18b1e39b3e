"""Frozen atom vectors of CHGNet, which was pretrained on Materials Project energies, made into tokens by a small net.

Nothing here sees the crystal but through those vectors (`features/views/chgnet_atoms.py`), and nothing in CHGNet
learns. A result with this encoder is no comparison with the others: say what it was pretrained on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from features.views.chgnet_atoms import DIM
from model.input.batch import ATOM_VECTORS, StructureBatch


class Chgnet(nn.Module):
    """Vector of the pretrained network → token, the same way for each atom."""

    reads = ATOM_VECTORS
    mean: Tensor
    std: Tensor

    def __init__(self, dim: int = 128) -> None:
        super().__init__()
        self.dim = dim
        self.project = nn.Linear(DIM, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.unknown = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.register_buffer("mean", torch.zeros(DIM))
        self.register_buffer("std", torch.ones(DIM))

    def forward(self, batch: StructureBatch, hidden: Tensor | None = None) -> Tensor:
        """Tokens `[atoms, dim]`; `hidden` (`[atoms]`, bool) marks atoms whose vector is not shown."""
        x = self.project((batch.atom_vectors - self.mean) / self.std)
        if hidden is not None:
            x = torch.where(hidden[batch.first, None], self.unknown, x)
        x = x + self.down(torch.relu(self.up(x)))
        return x[batch.orbit]

    @torch.no_grad()
    def calibrate(self, batch: StructureBatch) -> None:
        """Mean and spread of the vectors of the first training batch."""
        vectors = batch.atom_vectors[batch.orbit]
        self.mean.copy_(vectors.mean(0))
        self.std.copy_(vectors.std(0, correction=0).clamp_min(1e-3))
