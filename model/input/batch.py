"""Crystals and texts end to end in flat arrays, and batches of them as tensors. No Python loop runs over rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]

N_ELEMENTS = 119
"""Rows of an embedding of elements: the index is the atomic number, 0 stands for a hidden element."""

ATOMS = ("atomic_numbers", "orbit")
IMAGES = ("edge_i", "edge_j", "edge_distance", "edge_count")
NEIGHBOURS = ("near_i", "near_j", "near_vector", "axis_vector", "axis_weight")
"""Columns of the table `structures`; every batch has the first, an encoder names which of the others it reads."""
ATOM_VECTORS = ("atom_vectors",)
"""The same of the table `chgnet_atoms`."""


class TensorGroup:
    """A dataclass of tensors, some of them None, or of more such."""

    def apply(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same with each tensor replaced by the function's value."""
        def of(value: Any) -> Any:
            if value is None:
                return None
            return value.apply(function) if isinstance(value, TensorGroup) else function(value)

        return type(self)(**{f.name: of(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Self:
        """On another device."""
        return self.apply(lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True)
class PairImages(TensorGroup):
    """Images of pairs of orbits. Entries are sorted by pair and pairs by i; indices run over the whole batch."""

    pair_i: Tensor
    """`[pairs]`, central orbit."""
    pair_j: Tensor
    """`[pairs]`, orbit of the images."""
    nearest: Tensor
    """`[pairs]`, distance of the pair's nearest image, Å."""
    pair_of: Tensor
    """`[edges]`, index of each entry's pair."""
    distance: Tensor
    """`[edges]`, Å."""
    count: Tensor
    """`[edges]`, number of images at that distance, as a float."""


@dataclass(frozen=True)
class Neighbours(TensorGroup):
    """Nearest images of each orbit, sorted by i and distance, and the axes of each crystal."""

    i: Tensor
    """`[edges]`, central orbit."""
    j: Tensor
    """`[edges]`, the neighbour's orbit."""
    vector: Tensor
    """`[edges, 3]`, Å."""
    axis: Tensor
    """`[axes, 3]`, shortest lattice vectors, Å."""
    axis_weight: Tensor
    """`[axes]`; sums to 3 in each crystal."""
    n_axes: Tensor
    """`[crystals]`."""


@dataclass(frozen=True)
class StructureBatch(TensorGroup):
    """Crystals side by side. An orbit is a set of atoms that are alike by symmetry and so get the same token."""

    numbers: Tensor
    """`[atoms]`, atomic numbers."""
    crystal: Tensor
    """`[atoms]`, index of each atom's crystal."""
    n_atoms: Tensor
    """`[crystals]`."""
    orbit: Tensor
    """`[atoms]`, index of each atom's orbit."""
    first: Tensor
    """`[orbits]`, index of each orbit's first atom."""
    n_orbits: Tensor
    """`[crystals]`."""
    images_read: PairImages | None
    neighbours_read: Neighbours | None
    vectors_read: Tensor | None

    def elements(self, hidden: Tensor | None = None) -> Tensor:
        """`[orbits]`, atomic numbers; 0 where `hidden` (`[atoms]`, bool, alike within an orbit) is True."""
        numbers = self.numbers if hidden is None else self.numbers.masked_fill(hidden, 0)
        return numbers[self.first]

    @property
    def images(self) -> PairImages:
        """For encoders whose `reads` has `IMAGES`."""
        if self.images_read is None:
            raise RuntimeError("the encoder does not say that it reads IMAGES")
        return self.images_read

    @property
    def neighbours(self) -> Neighbours:
        """For encoders whose `reads` has `NEIGHBOURS`."""
        if self.neighbours_read is None:
            raise RuntimeError("the encoder does not say that it reads NEIGHBOURS")
        return self.neighbours_read

    @property
    def atom_vectors(self) -> Tensor:
        """`[orbits, dim]`, vectors of their first atoms, for encoders whose `reads` has `ATOM_VECTORS`."""
        if self.vectors_read is None:
            raise RuntimeError("the encoder does not say that it reads ATOM_VECTORS")
        return self.vectors_read


@dataclass(frozen=True)
class TextBatch(TensorGroup):
    """Texts of the same crystals, as sentence vectors, padded."""

    vectors: Tensor
    """`[crystals, sentences, dim]`."""
    mask: Tensor
    """`[crystals, sentences]`, True where there is a sentence; a crystal without text has none."""
    regions: Tensor
    """`[crystals, sentences]`, index into `features.sentences.REGIONS`."""


def spans(starts: Ints, counts: Ints) -> Ints:
    """The integers of all half-open ranges [start, start + count), one range after the other."""
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(starts - before, counts)


class Crystals:
    """Rows of the table `structures`: each list column as one flat array and where each row begins."""

    def __init__(self, values: Mapping[str, NDArray[Any]], starts: Mapping[str, Ints]) -> None:
        self.values, self.starts = dict(values), dict(starts)

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """From list columns of that table; nothing is copied."""
        lists = {name: ragged(table[name]) for name in table.column_names if pa.types.is_list(table[name].type)}
        return cls({name: values for name, (values, _) in lists.items()},
                   {name: starts for name, (_, starts) in lists.items()})

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """From rows as `features.views.structures.structure_tensors` makes them."""
        values = {name: np.concatenate([np.asarray(row[name]) for row in rows])
                  for name in (*ATOMS, *IMAGES, *NEIGHBOURS, *ATOM_VECTORS) if name in rows[0]}
        return cls(values, {name: np.cumsum([0, *(len(row[name]) for row in rows)]) for name in values})

    def __len__(self) -> int:
        return len(self.starts["orbit"]) - 1

    def batch(self, rows: Ints | Sequence[int] | None = None) -> StructureBatch:
        """The given rows in that order, all by default, on the CPU."""
        rows = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        n_atoms, atom = self._spans("orbit", rows)
        orbit = self.values["orbit"][atom].astype(np.int64)
        # orbits are numbered by their first atoms, so an orbit begins where the number is a new highest one
        crystal = np.repeat(np.arange(len(rows)), n_atoms)
        raised = orbit + crystal * (int(orbit.max(initial=0)) + 1)
        first = np.flatnonzero(np.diff(np.maximum.accumulate(raised), prepend=-1) > 0)
        n_orbits = np.bincount(crystal[first], minlength=len(rows))
        shift = np.cumsum(n_orbits) - n_orbits
        return StructureBatch(
            numbers=_tensor(self.values["atomic_numbers"][atom].astype(np.int64)),
            crystal=_tensor(crystal),
            n_atoms=_tensor(n_atoms),
            orbit=_tensor(orbit + shift[crystal]),
            first=_tensor(first),
            n_orbits=_tensor(n_orbits),
            images_read=self._images(rows, shift) if "edge_i" in self.values else None,
            neighbours_read=self._neighbours(rows, shift) if "near_i" in self.values else None,
            vectors_read=self._vectors(atom[first]) if "atom_vectors" in self.values else None,
        )

    def _spans(self, name: str, rows: Ints) -> tuple[Ints, Ints]:
        """Lengths of the rows' lists, and the indices of all their values."""
        starts = self.starts[name]
        counts = starts[rows + 1] - starts[rows]
        return counts, spans(starts[rows], counts)

    def _images(self, rows: Ints, shift: Ints) -> PairImages:
        counts, edge = self._spans("edge_i", rows)
        shifts = np.repeat(shift, counts)
        i, j = self.values["edge_i"][edge] + shifts, self.values["edge_j"][edge] + shifts
        distance = self.values["edge_distance"][edge]
        begins = np.concatenate([[True], (i[1:] != i[:-1]) | (j[1:] != j[:-1])])
        start = np.flatnonzero(begins)
        return PairImages(
            pair_i=_tensor(i[start]),
            pair_j=_tensor(j[start]),
            nearest=_tensor(distance[start]),  # entries are sorted by distance within their pair
            pair_of=_tensor(np.cumsum(begins) - 1),
            distance=_tensor(distance),
            count=_tensor(self.values["edge_count"][edge].astype(distance.dtype)),
        )

    def _vectors(self, atoms: Ints) -> Tensor:
        flat = self.values["atom_vectors"]
        vectors = flat.reshape(-1, len(flat) // max(1, len(self.values["orbit"])))[atoms]
        return _tensor(vectors.astype(np.float32) if vectors.dtype == np.float16 else vectors)

    def _neighbours(self, rows: Ints, shift: Ints) -> Neighbours:
        counts, edge = self._spans("near_i", rows)
        shifts = np.repeat(shift, counts)
        n_axes, axis = self._spans("axis_weight", rows)
        return Neighbours(
            i=_tensor(self.values["near_i"][edge] + shifts),
            j=_tensor(self.values["near_j"][edge] + shifts),
            vector=_tensor(self.values["near_vector"].reshape(-1, 3)[edge]),
            axis=_tensor(self.values["axis_vector"].reshape(-1, 3)[axis]),
            axis_weight=_tensor(self.values["axis_weight"][axis]),
            n_axes=_tensor(n_axes),
        )


@dataclass(frozen=True)
class Text:
    """Sentence vectors of one text."""

    vectors: NDArray[np.floating[Any]]
    """`[sentences, dim]`."""
    regions: Ints
    """`[sentences]`, index into `features.sentences.REGIONS`."""


@dataclass(frozen=True)
class Texts:
    """Many texts, end to end."""

    vectors: NDArray[np.floating[Any]]
    """`[sentences of all texts, dim]`."""
    regions: Ints
    """`[sentences of all texts]`."""
    starts: Ints
    """`[texts + 1]`, where each text begins."""

    def batch(self, texts: Ints) -> TextBatch:
        """The given texts padded to the longest; -1 is a crystal without text."""
        counts = np.where(texts < 0, 0, self.starts[texts + 1] - self.starts[texts])
        sentence = spans(self.starts[texts], counts)
        row = np.repeat(np.arange(len(texts)), counts)
        place = spans(np.zeros_like(counts), counts)
        shape = (len(texts), max(1, int(counts.max(initial=1))))
        vectors = np.zeros((*shape, self.vectors.shape[1]), np.float32)
        mask, regions = np.zeros(shape, bool), np.zeros(shape, np.int64)
        vectors[row, place] = self.vectors[sentence]
        mask[row, place] = True
        regions[row, place] = self.regions[sentence]
        return TextBatch(_tensor(vectors), _tensor(mask), _tensor(regions))


def collate_texts(texts: Sequence[Text | None], dim: int) -> TextBatch:
    """Single texts as a batch; `None` is a crystal without text."""
    there = [text for text in texts if text is not None]
    joined = Texts(np.concatenate([np.zeros((0, dim), np.float32), *(text.vectors for text in there)]),
                   np.concatenate([np.zeros(0, np.int64), *(text.regions for text in there)]),
                   np.cumsum([0, *(len(text.vectors) for text in there)]))
    number = np.cumsum([text is not None for text in texts]) - 1
    return joined.batch(np.where([text is None for text in texts], -1, number))


def ragged(column: pa.ChunkedArray | pa.Array) -> tuple[NDArray[Any], Ints]:
    """A list column as its flat values and the index at which each row begins, `[rows + 1]`, without a copy."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.values.to_numpy(zero_copy_only=False), array.offsets.to_numpy().astype(np.int64)


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
