"""From feature tables to batches of tensors."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from features import tables
from features.errors import UserError
from features.materials import PROPERTIES
from features.sentences import REGIONS

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class StructureBatch:
    """Crystals side by side. Edges are sorted by pair and pairs by atom; indices run over the whole batch."""

    numbers: Tensor
    """`[atoms]`, atomic numbers."""
    crystal: Tensor
    """`[atoms]`, index of each atom's crystal."""
    n_atoms: Tensor
    """`[crystals]`."""
    pair_i: Tensor
    """`[pairs]`, central atom."""
    pair_j: Tensor
    """`[pairs]`, neighbour atom."""
    nearest: Tensor
    """`[pairs]`, distance of the pair's nearest image, Å."""
    pair_of: Tensor
    """`[edges]`, index of each edge's pair."""
    distance: Tensor
    """`[edges]`, Å."""

    def to(self, device: torch.device) -> Self:
        """On another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


@dataclass(frozen=True)
class TextBatch:
    """Texts of the same crystals, as sentence vectors, padded."""

    vectors: Tensor
    """`[crystals, sentences, dim]`."""
    mask: Tensor
    """`[crystals, sentences]`, True where there is a sentence; a crystal without text has none."""
    regions: Tensor
    """`[crystals, sentences]`, index into `features.sentences.REGIONS`."""

    def to(self, device: torch.device) -> Self:
        """On another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


@dataclass(frozen=True)
class Crystal:
    """Tensors of one crystal, as the table `structures` holds them."""

    numbers: NDArray[np.int64]
    edge_i: NDArray[np.int64]
    edge_j: NDArray[np.int64]
    distance: NDArray[np.float32]


@dataclass(frozen=True)
class Text:
    """Sentence vectors of one text."""

    vectors: NDArray[np.float32]
    """`[sentences, dim]`."""
    regions: NDArray[np.int64]


def collate_structures(crystals: Sequence[Crystal]) -> StructureBatch:
    """Crystals side by side, on the CPU."""
    sizes = np.array([len(c.numbers) for c in crystals], np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    edge_counts = [len(c.distance) for c in crystals]
    shift = np.repeat(offsets, edge_counts)
    i = np.concatenate([c.edge_i for c in crystals]) + shift
    j = np.concatenate([c.edge_j for c in crystals]) + shift
    distance = np.concatenate([c.distance for c in crystals])
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(i) != 0) | (np.diff(j) != 0)]))
    pair_of = np.repeat(np.arange(len(starts)), np.diff(np.concatenate([starts, [len(i)]])))
    return StructureBatch(
        numbers=torch.from_numpy(np.concatenate([c.numbers for c in crystals])),
        crystal=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        n_atoms=torch.from_numpy(sizes),
        pair_i=torch.from_numpy(i[starts]),
        pair_j=torch.from_numpy(j[starts]),
        nearest=torch.from_numpy(distance[starts]),  # an edge list is sorted by distance within its pair
        pair_of=torch.from_numpy(pair_of),
        distance=torch.from_numpy(distance),
    )


def collate_texts(texts: Sequence[Text | None], dim: int) -> TextBatch:
    """Texts padded to the longest; `None` is a crystal without text."""
    longest = max([1, *(len(text.vectors) for text in texts if text is not None)])
    vectors = np.zeros((len(texts), longest, dim), np.float32)
    mask = np.zeros((len(texts), longest), bool)
    regions = np.zeros((len(texts), longest), np.int64)
    for row, text in enumerate(texts):
        if text is not None:
            count = len(text.vectors)
            vectors[row, :count] = text.vectors
            mask[row, :count] = True
            regions[row, :count] = text.regions
    return TextBatch(torch.from_numpy(vectors), torch.from_numpy(mask), torch.from_numpy(regions))


@dataclass(frozen=True)
class Dataset:
    """Crystals of one split with their texts and targets."""

    ids: list[str]
    crystals: list[Crystal]
    texts: list[list[Text]]
    """Per crystal, variant 0 first; empty if there is no text."""
    targets: NDArray[np.float64]
    """In the transformed unit; NaN where unknown."""
    text_dim: int

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, batch_size: int, order: Sequence[int] | None = None,
                variants: Sequence[int] | None = None) -> Iterator[tuple[StructureBatch, TextBatch, Tensor]]:
        """Batches in the given order, with the given variant of each crystal's text."""
        order = range(len(self)) if order is None else order
        for first in range(0, len(order), batch_size):
            chosen = list(order[first:first + batch_size])
            texts = [self.text(index, 0 if variants is None else variants[index]) for index in chosen]
            yield (collate_structures([self.crystals[index] for index in chosen]),
                   collate_texts(texts, self.text_dim),
                   torch.from_numpy(self.targets[chosen]).float())

    def text(self, index: int, variant: int) -> Text | None:
        """A text of a crystal; a variant beyond the last counts from the first again."""
        texts = self.texts[index]
        return texts[variant % len(texts)] if texts else None


def transform(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """From the property's own unit to what is learned."""
    return np.log10(values) if name == "log10" else values


def untransform(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The inverse of `transform`."""
    return np.power(10.0, values) if name == "log10" else values


def read_targets(root: Path, target: str, transform_name: str) -> dict[str, float]:
    """Transformed target of every crystal that has one. A value of 0 is a value."""
    if target in PROPERTIES:
        table = tables.read(root, "materials", ["material_id", target])
        values = table[target].to_pylist()
    else:
        table = tables.read(root, "materials", ["material_id", "other_properties"])
        values = [dict(row or ()).get(target) for row in table["other_properties"].to_pylist()]
    known = {i: v for i, v in zip(table["material_id"].to_pylist(), values, strict=True) if v is not None}
    if not known:
        have = [name for name in PROPERTIES if pc.count(tables.read(root, "materials", [name])[name]).as_py()]
        others = tables.read(root, "materials", ["other_properties"])["other_properties"].to_pylist()
        have += sorted({name for row in others for name, _ in row or ()})
        raise UserError(f"train.target: no crystal has '{target}'; there is {', '.join(have) or 'no property at all'}")
    if transform_name == "log10":
        wrong = [i for i, v in known.items() if v <= 0]
        if wrong:
            raise UserError(f"train.transform: log10 needs positive values, but {target} of {wrong[0]} is "
                            f"{known[wrong[0]]:g} ({len(wrong)} such crystals); use transform: none")
    return dict(zip(known, transform(np.array(list(known.values())), transform_name).tolist(), strict=True))


def load(root: Path, target: str, transform_name: str) -> dict[str, Dataset]:
    """The three splits: every crystal with a structure and a target, with its texts if there are any."""
    targets = read_targets(root, target, transform_name)
    split_of = dict(zip(*(column.to_pylist() for column in
                          tables.read(root, "splits", ["material_id", "split"]).columns), strict=True))
    texts, dim = read_texts(root, set(targets))
    crystals = read_crystals(root, set(targets) & set(split_of))
    result = {}
    for split in SPLITS:
        ids = sorted(i for i in crystals if split_of[i] == split)
        if not ids:
            raise UserError(f"the {split} split has no crystal with {target}: take more crystals (ingest.limit) or "
                            "another split (section split)")
        result[split] = Dataset(ids, [crystals[i] for i in ids], [texts.get(i, []) for i in ids],
                                np.array([targets[i] for i in ids]), dim)
    return result


def split_digest(splits: Mapping[str, Dataset]) -> str:
    """sha256 of which crystal is on which side."""
    content = "".join(f"{name}:{material_id};" for name in SPLITS for material_id in splits[name].ids)
    return hashlib.sha256(content.encode()).hexdigest()


def read_crystals(root: Path, wanted: set[str]) -> dict[str, Crystal]:
    """Tensors of the wanted crystals."""
    columns = ["material_id", "atomic_numbers", "edge_i", "edge_j", "edge_distance"]
    table = _only(tables.read(root, "structures", columns), wanted)
    arrays = {name: _ragged(table[name]) for name in columns[1:]}
    return {
        material_id: Crystal(arrays["atomic_numbers"][row].astype(np.int64), arrays["edge_i"][row].astype(np.int64),
                             arrays["edge_j"][row].astype(np.int64), arrays["edge_distance"][row])
        for row, material_id in enumerate(table["material_id"].to_pylist())
    }


def read_texts(root: Path, wanted: set[str]) -> tuple[dict[str, list[Text]], int]:
    """Sentence vectors of the wanted crystals, variant 0 first, and their dimension."""
    columns = ["material_id", "variant", "sentence_vectors", "regions"]
    table = _only(tables.read(root, "text_embeddings", columns), wanted)
    table = table.sort_by([("material_id", "ascending"), ("variant", "ascending")])
    texts: dict[str, list[Text]] = {}
    if table["sentence_vectors"].null_count:
        raise UserError("text_embeddings holds no vectors of sentences; put sentence into embed.levels")
    vectors = table["sentence_vectors"].combine_chunks()
    dim = 0
    for row, (material_id, regions) in enumerate(zip(table["material_id"].to_pylist(), table["regions"].to_pylist(),
                                                     strict=True)):
        flat = vectors[row].values.flatten().to_numpy().astype(np.float32)
        dim = len(flat) // len(regions)
        texts.setdefault(material_id, []).append(
            Text(flat.reshape(len(regions), dim), np.array([REGIONS.index(r) for r in regions], np.int64)))
    if not dim:
        raise UserError("no crystal of the data set has a text; see `python -m features rejects`")
    return texts, dim


def _only(table: pa.Table, wanted: set[str]) -> pa.Table:
    return table.filter(pc.is_in(table["material_id"], value_set=pa.array(sorted(wanted), pa.string())))


def _ragged(column: pa.ChunkedArray) -> list[NDArray[Any]]:
    """A list column as one array per row, without a copy of each."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    values = array.values.to_numpy(zero_copy_only=False)
    offsets = array.offsets.to_numpy()
    return [values[start:end] for start, end in itertools.pairwise(offsets)]
