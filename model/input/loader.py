"""The data set of a split, streamed from the Parquet parts: bounded memory, the same order from the same seed.

Rows lie in part files by a hash of their id. Consecutive parts make a *window* of at most `train.window` crystals; one
window is in use and the next one is being read, so memory does not grow with the table. An epoch visits the windows in
random order and the crystals of each in random order; a table that fits one window is read once. Batches are made by
threads ahead of their use.
"""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.errors import UserError
from features.progress import say
from features.registry import view_of
from features.sentences import REGIONS
from features.store import tables
from features.store.sums import parquet
from model.input.batch import ATOM_VECTORS, ATOMS, Crystals, Ints, StructureBatch, TextBatch, Texts, ragged
from model.input.finite import require_rows
from model.input.targets import read_further, read_targets, require_apart
from model.input.words import COLUMNS, WordBatch, Words
from model.params import LoaderParams

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Batch:
    """A batch, or one process's share of it."""

    structure: StructureBatch
    text: TextBatch | WordBatch
    target: Tensor
    """`[crystals, targets]`, the target and the further ones in their transformed units; NaN where there is none."""
    row: Ints
    """`[crystals]`, index in the data set."""
    weight: Tensor
    """`[crystals]`, 1; 0 for a crystal that fills an empty share."""
    crystals: int
    """Number of crystals of the whole batch."""
    labelled: tuple[int, ...]
    """`[targets]`, number of those that have each target."""
    with_text: tuple[int, ...]
    """`[targets]`, number of those that have it and a text."""


@dataclass(frozen=True)
class Window:
    """Rows `start` to `stop` of a data set, in memory."""

    start: int
    crystals: Crystals
    texts: Texts | Words
    first_text: Ints
    """`[rows]`, index of each row's variant 0, the others follow it."""


class Dataset:
    """Crystals of one split that have a structure and a target, in the order of the tables' parts.

    `labels` is `[crystals, targets]`, NaN where there is none; `targets`, `[crystals]`, is the first of them.
    """

    def __init__(self, root: Path, reads: Sequence[str], ids: list[str], labels: NDArray[np.float64], part: Ints,
                 n_edges: Ints, n_texts: Ints, text_dim: int, params: LoaderParams, words: bool = False) -> None:
        self.words = words
        self.root, self.reads, self.ids, self.labels, self.part = root, tuple(reads), ids, labels, part
        self.targets = np.ascontiguousarray(labels[:, 0])
        self.n_edges, self.n_texts, self.text_dim, self.params = n_edges, n_texts, text_dim, params
        self.bounds = _windows(part, params.window)
        self._only_window: Window | None = None
        self._texts_of: Ints | None = None
        self._texts: Texts | Words | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def showing(self, texts_of: Ints | None = None, texts: Texts | Words | None = None) -> Dataset:
        """The same crystals, which show other texts from now on.

        Args:
            texts_of: for each row the row whose texts it shows, from the same window; -1 shows none.
            texts: for each row the one text that it shows, one without sentences is none.
        """
        other = copy.copy(self)
        other._only_window, other._texts_of, other._texts = None, texts_of, texts
        if texts is not None:
            other.n_texts = (np.diff(texts.starts) > 0).astype(np.int64)
        return other

    def plan(self, batch_size: int, seed: Sequence[int] | None = None) -> list[Ints]:
        """The rows of each batch of an epoch; without a seed in the order of the data set.

        No batch reaches over two windows. With `bucket` above 1 so many batches at a time share their crystals out by
        number of edges, so that those of a batch are of about one size.
        """
        rng = None if seed is None else np.random.default_rng(list(seed))
        windows = np.arange(len(self.bounds))
        batches: list[Ints] = []
        for window in windows if rng is None else rng.permutation(windows):
            rows = np.arange(*self.bounds[window])
            if rng is None:
                batches += _cut(rows, batch_size)
                continue
            rows = rng.permutation(rows)
            for pool in _cut(rows, batch_size * self.params.bucket):
                if self.params.bucket > 1:
                    pool = pool[np.argsort(self.n_edges[pool], kind="stable")]
                several = _cut(pool, batch_size)
                batches += [several[index] for index in rng.permutation(len(several))] if len(several) > 1 else several
        return batches

    def batches(self, plan: Sequence[Ints], variants: Ints | None = None, share: tuple[int, int] = (0, 1),
                texts_of: Ints | None = None) -> Iterator[Batch]:
        """The batches of a plan, or of its rest.

        Args:
            plan: from `plan`.
            variants: for each row of the data set the variant of its text, counted round; the description by default.
            share: (rank, processes): every batch is dealt out to so many processes.
            texts_of: for each row the row whose text it gets instead of its own, from the same window; -1 is no text.
        """
        if self._texts_of is not None:
            texts_of = self._texts_of if texts_of is None else np.where(texts_of < 0, -1, self._texts_of[texts_of])
        with ThreadPoolExecutor(self.params.workers) as makers, ThreadPoolExecutor(1) as reader:
            coming: deque[Future[Batch]] = deque()
            try:
                for window, rows in self._with_windows(plan, reader):
                    coming.append(makers.submit(self._batch, window, rows, variants, share, texts_of))
                    while len(coming) > self.params.workers + 1:
                        yield coming.popleft().result()
                while coming:
                    yield coming.popleft().result()
            finally:
                for future in coming:
                    future.cancel()

    def _with_windows(self, plan: Sequence[Ints],
                      reader: ThreadPoolExecutor) -> Iterator[tuple[Future[Window], Ints]]:
        """Each batch's rows with their window; the next window is read meanwhile."""
        stops = np.array([stop for _, stop in self.bounds])
        runs = [(number, list(batches)) for number, batches in
                itertools.groupby(plan, lambda rows: int(np.searchsorted(stops, rows[0], side="right")))]
        coming = [reader.submit(self._window, number) for number, _ in runs[:1]]
        for index, (_, batches) in enumerate(runs):
            window = coming.pop()
            if index + 1 < len(runs):
                window.result()  # one window in use and one being read, never more
                coming.append(reader.submit(self._window, runs[index + 1][0]))
            for rows in batches:
                yield window, rows

    def _batch(self, coming: Future[Window], rows: Ints, variants: Ints | None, share: tuple[int, int],
               texts_of: Ints | None) -> Batch:
        window, (rank, processes) = coming.result(), share
        mine = rows[rank::processes]
        filler = len(mine) == 0
        if filler:
            mine = rows[:1]
        shown = mine if texts_of is None else texts_of[mine]
        variant = np.zeros(len(shown), np.int64) if variants is None else variants[mine]
        n_texts = self._text_counts_of(shown)
        first = window.first_text[np.maximum(shown - window.start, 0)]
        text = np.where(n_texts > 0, first + variant % np.maximum(n_texts, 1), -1)
        known = ~np.isnan(self.labels[rows])
        reads = self._text_counts_of(rows if texts_of is None else texts_of[rows]) > 0
        return Batch(
            structure=window.crystals.batch(mine - window.start),
            text=window.texts.batch(text),
            target=torch.from_numpy(self.labels[mine]).float(),
            row=mine,
            weight=torch.full((len(mine),), 0.0 if filler else 1.0),
            crystals=len(rows),
            labelled=tuple(known.sum(0).tolist()),
            with_text=tuple(known[reads].sum(0).tolist()),
        )

    def _text_counts_of(self, rows: Ints) -> Ints:
        """How many texts these rows have; -1 has none."""
        return np.where(rows < 0, 0, self.n_texts[rows])

    def _window(self, number: int) -> Window:
        if self._only_window is not None:
            return self._only_window
        start, stop = self.bounds[number]
        ids = pa.array(self.ids[start:stop], pa.string())
        parts = np.unique(self.part[start:stop])
        crystals = _crystals(self.root, ids, self.reads, parts)
        counts = self.n_texts[start:stop]
        texts: Texts | Words = _no_texts(self)
        first = np.cumsum(counts) - counts
        if self._texts is not None:
            texts, first = self._texts, np.arange(start, stop)
        elif counts.any():
            texts = _words(self.root, ids) if self.words else _texts(self.root, ids, self.text_dim)
        window = Window(start, crystals, texts, first)
        if len(self.bounds) == 1:
            self._only_window = window
        return window


def load(root: Path, target: str, transform_name: str, reads: Sequence[str], params: LoaderParams | None = None,
         with_text: bool = True, words: bool = False, split_of: Mapping[str, str] | None = None,
         also: Mapping[str, str] | None = None) -> dict[str, Dataset]:
    """The three splits: every crystal with a structure and a target, with its texts if there are any.

    A crystal that has a further target alone trains, and neither validates nor is tested.

    Args:
        root: the project.
        target: property to learn.
        transform_name: none or log10.
        reads: columns of `structures` that the encoder reads.
        params: how batches are made.
        with_text: without, no table of texts need exist.
        words: read texts as tokens (`text_tokens`), not as vectors of sentences (`text_embeddings`).
        split_of: the split of each crystal by its id; that of the table `splits` by default.
        also: further targets, name → transform.
    """
    labels = [read_targets(root, target, transform_name), *read_further(root, also or {})]
    if split_of is None:
        split_of = _column(root, "splits", "split")
        if also:
            require_apart(split_of, _column(root, "splits", "group"))
    chgnet = bool(set(ATOM_VECTORS) & set(reads))
    text_stage = "tokenize" if words else "embed"
    for stage in ("tensorize", *([text_stage] if with_text else []), *(["chgnet"] if chgnet else [])):
        _check_version(root, stage)
    counts, dim = _text_counts(root, words) if with_text else ({}, 1)
    ids, part, n_edges = _index(root)
    if chgnet:
        with_vectors = set(tables.read(root, "chgnet_atoms", ["material_id"])["material_id"].to_pylist())
        if not with_vectors:
            raise UserError("train.encoder chgnet reads the table chgnet_atoms, which is empty: set chgnet.model and "
                            "run `dvc repro`")
        lost = len(set(ids) & set().union(*labels) - with_vectors)
        if lost:
            say(f"train: {lost} crystals that CHGNet rejects are left out, of every split (python -m features rejects)")
        labels = [{i: value for i, value in one.items() if i in with_vectors} for one in labels]
    asked = {name: set().union(*labels) if name == "train" else set(labels[0]) for name in SPLITS}
    place = {name: [index for index, i in enumerate(ids) if i in asked[name] and split_of.get(i) == name]
             for name in SPLITS}
    result = {}
    for name, rows in place.items():
        mine = [ids[index] for index in rows]
        values = np.array([[one.get(i, np.nan) for one in labels] for i in mine]).reshape(-1, len(labels))
        missing = np.isnan(values).all(axis=0)
        if missing[0]:
            raise UserError(f"the {name} split has no crystal with {target}: take more crystals (ingest.limit) or "
                            "another split (section split)")
        if name == "train" and missing.any():
            raise UserError(f"train.also: no training crystal has {list(also or {})[missing.argmax() - 1]}")
        result[name] = Dataset(root, reads, mine, values, part[rows], n_edges[rows],
                               np.array([counts.get(i, 0) for i in mine]), dim, params or LoaderParams(), words)
    return result


def read_crystals(root: Path, ids: Sequence[str], reads: Sequence[str]) -> Crystals:
    """The crystals of these ids, in that order."""
    return _crystals(root, pa.array(list(ids), pa.string()), reads)


def _column(root: Path, table: str, name: str) -> dict[str, str]:
    """A column of a table by id."""
    ids, values = tables.read(root, table, ["material_id", name]).columns
    return dict(zip(ids.to_pylist(), values.to_pylist(), strict=True))


def _check_version(root: Path, stage: str) -> None:
    view = view_of(stage)
    version = tables.footer(tables.files(root, view.name)[0]).get("version", view.version)
    if version != view.version:
        raise UserError(f"table '{view.name}' has version {version}, this code reads version {view.version}; run "
                        f"`python -m pipelines {stage}` or `dvc repro`")


def _windows(part: Ints, most: int) -> list[tuple[int, int]]:
    """Half-open ranges of rows of whole parts, each of at most `most` rows unless a single part has more.

    A window has at least two rows unless it is the only one: the shuffled-text control needs another crystal in it.
    """
    edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
    result: list[tuple[int, int]] = []
    for start, stop in itertools.pairwise(edges):
        if result and (stop - result[-1][0] <= most or 1 in (stop - start, result[-1][1] - result[-1][0])):
            result[-1] = (result[-1][0], stop)
        else:
            result.append((start, stop))
    return result


def _cut(rows: Ints, size: int) -> list[Ints]:
    return [rows[first:first + size] for first in range(0, len(rows), size)]


def _index(root: Path) -> tuple[list[str], Ints, Ints]:
    """Id, part and number of edges of every row of `structures`, in the order of the table."""
    ids: list[str] = []
    parts: list[Ints] = []
    n_edges: list[Ints] = []
    for number, path in enumerate(tables.files(root, "structures")):
        table = tables.read_parts([path], ["material_id", "n_edges"])
        ids += table["material_id"].to_pylist()
        parts.append(np.full(len(table), number))
        n_edges.append(table["n_edges"].to_numpy().astype(np.int64))
    return ids, np.concatenate(parts), np.concatenate(n_edges)


def _text_counts(root: Path, words: bool) -> tuple[dict[str, int], int]:
    """How many texts each crystal has, and the dimension of their vectors; 1 for words, which have none."""
    ids = tables.read(root, "text_tokens" if words else "text_embeddings", ["material_id"])["material_id"]
    dim = 1 if words and len(ids) else 0
    for path in tables.files(root, "text_embeddings") if not words else ():
        with parquet(path) as file:
            head = list(itertools.islice(file.iter_batches(1, columns=["sentence_vectors"]), 1))
        for batch in head:
            if batch.column(0).null_count:
                raise UserError("text_embeddings holds no vectors of sentences; put sentence into embed.levels")
            dim = dim or len(batch.column(0)[0].values[0])
    if not dim:
        raise UserError("no crystal of the data set has a text; see `python -m features rejects`")
    counted = ids.value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)), dim


def _crystals(root: Path, ids: pa.Array, reads: Sequence[str], parts: Ints | None = None) -> Crystals:
    """The crystals of these ids, in that order; `parts` are those of `structures` where the caller knows them."""
    columns = ["material_id", *ATOMS, *(name for name in reads if name not in ATOM_VECTORS)]
    if parts is None:
        table = tables.read(root, "structures", columns, ids.to_pylist())
    else:
        files = tables.files(root, "structures")
        table = tables.read_parts([files[part] for part in parts], columns)
    table = _in_order(table, ids)
    if set(ATOM_VECTORS) & set(reads):
        vectors = tables.read(root, "chgnet_atoms", ["material_id", *ATOM_VECTORS], ids.to_pylist())
        table = table.append_column(ATOM_VECTORS[0], _in_order(vectors, ids)[ATOM_VECTORS[0]])
    crystals = Crystals.from_table(table)
    for stage, of_it in (("chgnet", True), ("tensorize", False)):
        values = {name: numbers for name, numbers in crystals.values.items() if (name in ATOM_VECTORS) == of_it}
        require_rows(stage, values, crystals.starts, lambda row: str(ids[row]))
    return crystals


def _in_order(table: pa.Table, ids: pa.Array) -> pa.Table:
    """The rows of these ids, in their order."""
    place = pc.index_in(ids, value_set=table["material_id"].combine_chunks())
    return table.drop_columns(["material_id"]).combine_chunks().take(place)


def _texts(root: Path, ids: pa.Array, dim: int) -> Texts:
    """All texts of these crystals, in their order, variant 0 first."""
    table = _texts_in_order(root, "text_embeddings", ["sentence_vectors", "regions"], ids)
    vectors, starts = ragged(table["sentence_vectors"].combine_chunks().flatten())
    regions, first = ragged(table["regions"])
    numbers = pc.index_in(pa.array(regions), value_set=pa.array(REGIONS)).to_numpy().astype(np.int64)
    require_rows("embed", {"sentence_vectors": vectors}, {"sentence_vectors": starts},
                 lambda row: _named(table, int(np.searchsorted(first - first[0], row, side="right")) - 1))
    flat = vectors[starts[0]:starts[-1]].reshape(-1, dim)
    return Texts(flat, numbers[first[0]:first[-1]], first - first[0])


def _words(root: Path, ids: pa.Array) -> Words:
    """The same as tokens."""
    table = _texts_in_order(root, "text_tokens", COLUMNS, ids)
    words = Words.from_table(table)
    require_rows("tokenize", {"token_values": words.values}, {"token_values": words.starts},
                 lambda row: _named(table, row))
    return words


def _named(table: pa.Table, row: int) -> str:
    """A text, as its crystal and variant."""
    return f"{table['material_id'][row]}, variant {table['variant'][row]},"


def _texts_in_order(root: Path, name: str, columns: Sequence[str], ids: pa.Array) -> pa.Table:
    table = tables.read(root, name, ["material_id", "variant", *columns], ids.to_pylist())
    place = pc.index_in(table["material_id"], value_set=ids).to_numpy()
    order = np.lexsort((table["variant"].to_numpy(), place))
    return table.combine_chunks().take(pa.array(order))


def _no_texts(dataset: Dataset) -> Texts | Words:
    if dataset.words:
        return Words.of([])
    return Texts(np.zeros((0, dataset.text_dim), np.float16), np.zeros(0, np.int64), np.zeros(1, np.int64))
