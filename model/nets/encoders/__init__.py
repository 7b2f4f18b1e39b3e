"""Structure encoders: atoms in, one token per atom out.

A new one is a file here, its name and size in `model/params.py`, and a line in `ENCODERS`;
`tests/model/nets/test_encoders.py` then holds it to what every encoder promises.
"""

from __future__ import annotations

import importlib
from typing import Protocol

import torch
from torch import Tensor

from model.input.batch import StructureBatch
from model.nets.encoders.absent import Absent
from model.params import TrainParams

ENCODERS = {
    "crystalformer": "model.nets.encoders.crystalformer:Crystalformer",
    "comformer": "model.nets.encoders.comformer:Comformer",
    "cgcnn": "model.nets.encoders.cgcnn:Cgcnn",
    "chgnet": "model.nets.encoders.chgnet:Chgnet",
}
"""Where the class of each name is; it is made from the fields of the section of that name."""


class StructureEncoder(Protocol):
    """What the rest of the model knows of a structure encoder: an `nn.Module` with this."""

    dim: int
    reads: tuple[str, ...]
    """Columns of the tables that it needs: `IMAGES`, `NEIGHBOURS`, `ATOM_VECTORS` or several of them."""

    def __call__(self, batch: StructureBatch, hidden: Tensor | None = None) -> Tensor:
        """Tokens `[atoms, dim]` of all atoms of the batch; `hidden` (`[atoms]`, bool) marks elements to hide."""

    def calibrate(self, batch: StructureBatch) -> None:
        """Fix data-dependent constants on the first training batch."""


def class_of(name: str) -> type[torch.nn.Module]:
    """The class of that name."""
    module, _, attribute = ENCODERS[name].partition(":")
    encoder: type[torch.nn.Module] = getattr(importlib.import_module(module), attribute)
    return encoder


def make(params: TrainParams) -> torch.nn.Module:
    """The encoder that `train.encoder` names, in the size of the section of that name; of text alone there is none."""
    size = getattr(params, params.encoder).model_dump()
    if not params.with_structure:
        return Absent(size["dim"])
    if params.encoder != "chgnet":  # whose vectors of atoms are made elsewhere
        size["properties"] = params.elements == "properties"
    return class_of(params.encoder)(**size)


def reads(params: TrainParams) -> tuple[str, ...]:
    """Columns of the tables that the encoder needs."""
    if not params.with_structure:
        return Absent.reads
    columns: tuple[str, ...] = class_of(params.encoder).reads  # type: ignore[attr-defined]
    return columns
