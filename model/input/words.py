"""Texts as tokens of a fixed vocabulary: end to end in flat arrays, and batches of them as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.sentences import REGIONS
from features.words.vocabulary import KINDS
from model.input.batch import Ints, TensorGroup, ragged, spans

COLUMNS = ("token_ids", "token_values", "token_kinds", "token_sentences", "regions")
"""Of the table `text_tokens`."""


@dataclass(frozen=True)
class WordBatch(TensorGroup):
    """Texts of some crystals: tokens side by side, and the sentences that they stand in, padded."""

    ids: Tensor
    """`[tokens]`, ids of `features.words.vocabulary`, sorted by sentence."""
    kinds: Tensor
    """`[tokens]`, index into `features.words.vocabulary.KINDS`."""
    values: Tensor
    """`[tokens]`, the token's number; NaN where it has none."""
    sentence: Tensor
    """`[tokens]`, index of the token's sentence in the flattened `mask`."""
    mask: Tensor
    """`[crystals, sentences]`, True where there is a sentence with any token; a crystal without text has none."""
    regions: Tensor
    """`[crystals, sentences]`, index into `features.sentences.REGIONS`."""

    def first(self, most: int) -> Self:
        """Without the tokens of each text after the first `most`."""
        crystal = self.sentence // self.mask.shape[1]
        counts = torch.bincount(crystal, minlength=len(self.mask))
        place = torch.arange(len(self.ids), device=self.ids.device) - (counts.cumsum(0) - counts)[crystal]
        return self.only(place < most)

    def only(self, stays: Tensor) -> Self:
        """Without the tokens where `stays` (`[tokens]`) is False; a sentence that then has none is none."""
        sentence = self.sentence[stays]
        mask = torch.zeros_like(self.mask)
        mask.view(-1)[sentence] = True
        return replace(self, ids=self.ids[stays], kinds=self.kinds[stays], values=self.values[stays],
                       sentence=sentence, mask=mask)


@dataclass(frozen=True)
class Words:
    """Many texts, end to end."""

    ids: Ints
    """`[tokens of all texts]`."""
    kinds: Ints
    """`[tokens of all texts]`."""
    values: NDArray[np.float32]
    """`[tokens of all texts]`; NaN where there is none."""
    sentences: Ints
    """`[tokens of all texts]`, index of the sentence in its text."""
    starts: Ints
    """`[texts + 1]`, where the tokens of each text begin."""
    regions: Ints
    """`[sentences of all texts]`."""
    region_starts: Ints
    """`[texts + 1]`, where the sentences of each text begin."""

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """From rows of the table `text_tokens`."""
        flat, starts = {}, np.zeros(1, np.int64)
        for name in COLUMNS[:-1]:
            values, starts = ragged(table[name])
            flat[name] = values[starts[0]:starts[-1]]
        regions, first = ragged(table["regions"])
        return cls(
            ids=flat["token_ids"].astype(np.int64),
            kinds=_places(flat["token_kinds"], KINDS),
            values=flat["token_values"].astype(np.float32),
            sentences=flat["token_sentences"].astype(np.int64),
            starts=starts - starts[0],
            regions=_places(regions[first[0]:first[-1]], REGIONS),
            region_starts=first - first[0],
        )

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """From rows of that table as Python objects."""
        types = dict(zip(COLUMNS, (pa.int32(), pa.float32(), pa.string(), pa.int32(), pa.string()), strict=True))
        return cls.from_table(pa.table({name: pa.array([row[name] for row in rows], pa.list_(kind))
                                        for name, kind in types.items()}))

    def batch(self, texts: Ints) -> WordBatch:
        """The given texts; -1 is a crystal without text."""
        there = np.maximum(texts, 0)
        counts, sentences = (np.where(texts < 0, 0, starts[there + 1] - starts[there]) if len(starts) > 1
                             else np.zeros(len(texts), np.int64) for starts in (self.starts, self.region_starts))
        token = spans(self.starts[there] if counts.any() else np.zeros_like(counts), counts)
        shape = (len(texts), max(1, int(sentences.max(initial=1))))
        place = np.repeat(np.arange(len(texts)) * shape[1], counts) + self.sentences[token]
        mask, regions = np.zeros(shape, bool), np.zeros(shape, np.int64)
        mask.reshape(-1)[place] = True
        row, sentence = np.repeat(np.arange(len(texts)), sentences), spans(np.zeros_like(sentences), sentences)
        regions[row, sentence] = self.regions[spans(self.region_starts[there], sentences)] if len(row) else 0
        return WordBatch(*(torch.from_numpy(np.ascontiguousarray(array)) for array in (
            self.ids[token], self.kinds[token], self.values[token], place, mask, regions)))


def _places(names: NDArray[Any], among: Sequence[str]) -> Ints:
    places: Ints = pc.index_in(pa.array(names, pa.string()), value_set=pa.array(among)).to_numpy().astype(np.int64)
    return places


def collate_words(row: Mapping[str, Any] | None) -> WordBatch:
    """One text, or none, as the batch of one crystal."""
    return Words.of([row] if row else []).batch(np.array([0 if row else -1]))
