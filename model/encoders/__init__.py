"""Structure encoders: atoms in, one token per atom out. A new one is a file here and an entry in `make`."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from model.data import StructureBatch
from model.params import TrainParams


class StructureEncoder(Protocol):
    """What the rest of the model knows of a structure encoder: an `nn.Module` with this."""

    dim: int

    def __call__(self, batch: StructureBatch, hidden: Tensor | None = None) -> Tensor:
        """Tokens `[atoms, dim]` of all atoms of the batch; `hidden` (`[atoms]`, bool) marks elements to hide."""

    def calibrate(self, batch: StructureBatch) -> None:
        """Fix data-dependent constants on the first training batch."""


def make(params: TrainParams) -> torch.nn.Module:
    """The encoder that `train.encoder` names."""
    from model.encoders.crystalformer import Crystalformer

    size = params.crystalformer
    return Crystalformer(dim=size.dim, heads=size.heads, layers=size.layers)
