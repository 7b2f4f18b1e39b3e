"""The crystals that an explanation compares with: a fixed sample of those that the model was trained on.

An effect is a difference, and the difference from what must be said. What is left out of a text saturates: of ten
sentences that say "Ti" each can go without a change. So nothing is left out; it is replaced by what the crystals of the
background have in its place, and the effect is the mean over them (interventional Shapley values, Lundberg & Lee, NIPS
2017; Janzing et al., AISTATS 2020). The sample is saved beside the model, so that whoever has the model has its
reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from features.store import placement, tables
from model.checkpoint import Trained
from model.input.batch import ATOM_VECTORS, ATOMS, Crystals, StructureBatch
from model.nets import encoders
from model.params import TrainParams

NAME = "background"
"""Of the companion file."""
SIZE = 32
"""Crystals at most."""
TEXT = ("text", "sentences", "mineral")
"""Columns of `descriptions` that a text is read from."""


def sample(root: Path, params: TrainParams, ids: Sequence[str]) -> pa.Table:
    """The table that is saved: `material_id`, `TEXT` and the columns of `structures` that the encoder reads.

    `ids`: training crystals that have a text. The sample is that of their ids' hashes, so that it does not depend on
    their order, and changes little when crystals are added.
    """
    place = placement.positions(list(ids))
    chosen = [ids[row] for row in np.argsort(place, kind="stable")[:SIZE]]
    reads = encoders.reads(params)
    sources = {"descriptions": TEXT, "structures": (*ATOMS, *(name for name in reads if name not in ATOM_VECTORS))}
    if set(ATOM_VECTORS) & set(reads):
        sources["chgnet_atoms"] = ATOM_VECTORS
    rows: dict[str, dict[str, Any]] = {one: {"material_id": one} for one in chosen}
    fields = [pa.field("material_id", pa.string())]
    for name, columns in sources.items():
        table = tables.read(root, name, ["material_id", *columns], chosen)
        fields += [pa.field(column, table.schema.field(column).type) for column in columns]
        for row in table.to_pylist():
            rows[row["material_id"]] |= row
    return pa.Table.from_pylist(list(rows.values()), schema=pa.schema(fields))


@dataclass(frozen=True)
class Background:
    """The sample, read."""

    rows: pa.Table

    @classmethod
    def of(cls, trained: Trained) -> Self:
        """That of a model. Raises `UserError` if it is missing or damaged."""
        return cls(trained.companion(NAME))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def structures(self) -> StructureBatch:
        """All of them, on the CPU."""
        return Crystals.from_table(self.rows.drop_columns([*TEXT])).batch()

    @cached_property
    def texts(self) -> list[dict[str, Any]]:
        """A row of `TEXT` for each."""
        return list(self.rows.select(list(TEXT)).to_pylist())
