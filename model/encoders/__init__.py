"""Structure encoders: atoms in, one token per atom out.

A new one is a file here, its name and size in `model/params.py`, and a line in `make`; `tests/model/test_encoders.py`
then holds it to what every encoder promises.
"""

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
    """The encoder that `train.encoder` names, in the size of the section of that name."""
    if params.encoder == "cgcnn":
        from model.encoders.cgcnn import Cgcnn

        return Cgcnn(**params.cgcnn.model_dump())
    from model.encoders.crystalformer import Crystalformer

    return Crystalformer(**params.crystalformer.model_dump())
