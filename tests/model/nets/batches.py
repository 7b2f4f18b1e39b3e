"""Batches of real crystals, in double precision, that no table has rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from features.views.chgnet_atoms import atom_vectors
from features.views.structures import TensorizeParams, lists, structure_tensors
from model.input.batch import Crystals, StructureBatch


def batch_of(structures: list[Any], dtype: torch.dtype = torch.double, reach: float = 60.0,
             chgnet: bool = False) -> StructureBatch:
    """A batch of pymatgen structures, in whatever cell they are written; `chgnet` adds its atom vectors."""
    params = TensorizeParams(reach=reach, max_sites=2000)
    return floating(Crystals.of([{**structure_tensors(structure, params), **vectors(structure, chgnet)}
                                 for structure in structures]).batch(), dtype)


def vectors(structure: Any, chgnet: bool) -> dict[str, Any]:
    return {"atom_vectors": atom_vectors(structure, "0.3.0").ravel()} if chgnet else {}


def atom_by_atom(structures: list[Any], reach: float = 60.0, chgnet: bool = False) -> StructureBatch:
    """The same with an orbit for each atom: nothing rests on symmetry."""
    params = TensorizeParams(reach=reach, max_sites=2000)
    return floating(Crystals.of([
        {"atomic_numbers": np.array(structure.atomic_numbers), **vectors(structure, chgnet),
         **lists(np.array(structure.lattice.matrix), structure.frac_coords, np.arange(len(structure)),
                 np.array(structure.lattice.matrix), params)}
        for structure in structures]).batch(), torch.double)


def floating(batch: StructureBatch, dtype: torch.dtype) -> StructureBatch:
    """The batch with its real numbers in a precision."""
    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return batch.apply(cast)
