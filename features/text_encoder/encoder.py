"""A frozen BERT-like encoder that reads texts of any length.

A text is cut into windows at sentence ends; a sentence longer than a window is cut at tokens. Nothing is dropped. Each
window after the first begins with the heading of the text (its first sentence: formula, prototype, space group), so
that its tokens are read in that light; the heading's vectors are those of the first window.

Floating-point sums change with the shape of a matrix product, and a text's vectors must not depend on what else is in
its batch. So on a CPU each window is a pass of its own, with no padding, in one thread (several processes use several
cores); on a GPU passes have one of a few fixed shapes.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import UserError
from features.sentences import Sentence
from features.text_encoder import normalisation
from features.text_encoder.weights import EncoderParams, errors_of_torch, one_thread, pick_device, pick_precision

MAX_LENGTH = 512
"""Longest window in tokens, special tokens included, even for encoders that could read more at once."""
BUCKETS = (32, 64, 96, 128, 192, 256, 384)
"""On a GPU, window lengths below the longest."""
TOKENS_PER_PASS = 16384
"""On a GPU."""
HEADING_SHARE = 4
"""A heading takes at most this fraction (1/4) of a window."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EncodedText:
    """Vectors of one text."""

    tokens: Floats
    """`[n_tokens, dim]`, without special tokens, in the order of the text."""
    offsets: NDArray[np.int32]
    """`[n_tokens, 2]`, character range of each token."""
    sentence_of: NDArray[np.int32]
    """`[n_tokens]`, index of the sentence that holds it."""
    first: Floats
    """`[n_windows, dim]`, vector of each window's first special token ([CLS]); no rows if the encoder has none."""
    windows: int

    def pooled(self, how: str = "mean") -> Floats:
        """`[dim]`, mean over all tokens, or (`cls`) over the first special tokens of the windows."""
        return _mean(self.tokens if how == "mean" else self.first)

    def by_sentence(self, n_sentences: int) -> Floats:
        """`[n_sentences, dim]`, mean over each sentence's tokens; zeros for a sentence without tokens."""
        return np.stack([_mean(self.tokens[self.sentence_of == index]) for index in range(n_sentences)])


def _mean(vectors: Floats) -> Floats:
    if not len(vectors):
        return np.zeros(vectors.shape[1], np.float32)
    return vectors.mean(axis=0, dtype=np.float64).astype(np.float32)


@dataclass(frozen=True)
class _Window:
    """What is encoded in one piece."""

    text: int
    start: int
    end: int
    """Range of the text's tokens whose vectors are taken from here."""
    ids: list[int]
    """Special tokens, heading (if any), the range."""
    skip: int
    """Tokens in front of the range."""


class TextEncoder:
    """An encoder of the Hugging Face `AutoModel` family, frozen, on one device."""

    def __init__(self, folder: Path, params: EncoderParams) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.folder = folder
        self.torch = torch
        self.device = torch.device(pick_device(params.device))
        self.dtype = pick_precision(params.precision, str(self.device))
        self.normalise = params.matscibert()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self.model = AutoModel.from_pretrained(folder, local_files_only=True, trust_remote_code=False,
                                                   weights_only=True, dtype=self.dtype)
            if not self.tokenizer.is_fast:
                raise UserError(f"the tokenizer in {folder} gives no character offsets; a fast tokenizer is needed")
            self.dim = int(self.model.config.hidden_size)
            self.before, self.after = _special_tokens(self.tokenizer)
            self.longest = min(_positions(self.model), MAX_LENGTH)
        except (UserError, MemoryError, ImportError):
            raise
        except Exception as error:  # a damaged file ends in any kind, wherever transformers first looks into it
            raise UserError(f"{folder} does not hold an encoder that transformers can load: {_first_line(error)}"
                            ) from None
        self.model.eval().requires_grad_(False).to(self.device)
        if self.longest < 2 * (len(self.before) + len(self.after)) + HEADING_SHARE:
            raise UserError(f"the encoder in {folder} reads {self.longest} tokens at once; that is too few")

    @property
    def precision(self) -> str:
        """Name of the arithmetic: float32 or bfloat16."""
        return str(self.dtype).removeprefix("torch.")

    def encode(self, texts: Sequence[str], sentences: Sequence[Sequence[Sentence]]) -> list[EncodedText]:
        """Encode texts, each with its sentences; equal texts once. A result does not depend on the other texts."""
        keys = [(text, tuple(tagged)) for text, tagged in zip(texts, sentences, strict=True)]
        distinct = list(dict.fromkeys(keys))
        encoded = dict(zip(distinct, self._encode([text for text, _ in distinct], [tagged for _, tagged in distinct]),
                           strict=True))
        return [encoded[key] for key in keys]

    def _encode(self, texts: list[str], sentences: list[tuple[Sentence, ...]]) -> list[EncodedText]:
        if not texts:
            return []
        ids, offsets = zip(*(self._tokenize(text) for text in texts), strict=True)
        owners = [_owners(ranges, tagged) for ranges, tagged in zip(offsets, sentences, strict=True)]
        windows = [window for text in range(len(texts)) for window in self._windows(text, ids[text], owners[text])]
        vectors = [np.zeros((len(owner), self.dim), np.float32) for owner in owners]
        firsts: list[list[Floats]] = [[] for _ in texts]
        for window, output in self._run(windows):
            vectors[window.text][window.start:window.end] = output[
                window.skip:window.skip + window.end - window.start]
            firsts[window.text].append(output[0])
        return [
            EncodedText(vectors[i], offsets[i], owners[i],
                        np.stack(firsts[i]) if self.before and firsts[i] else np.zeros((0, self.dim), np.float32),
                        len(firsts[i]))
            for i in range(len(texts))
        ]

    def _tokenize(self, text: str) -> tuple[list[int], NDArray[np.int32]]:
        """Token ids and their character ranges in the text as it was before normalisation."""
        read, origin = normalisation.matscibert(text) if self.normalise else (text, None)
        tokens = self.tokenizer(read, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        # byte-level tokenizers count the blank before a word as its own
        spans = [(start + len(read[start:end]) - len(read[start:end].lstrip()), end)
                 for start, end in tokens["offset_mapping"]]
        offsets = np.array(spans, np.int32).reshape(-1, 2)
        return tokens["input_ids"], offsets if origin is None else normalisation.ranges(offsets, origin)

    def _windows(self, text: int, ids: list[int], owner: NDArray[np.int32]) -> Iterator[_Window]:
        room = self.longest - len(self.before) - len(self.after)
        heading = ids[:min(int((owner == 0).sum()), room // HEADING_SHARE)]
        for start, end in cut_windows(owner, room, room - len(heading)):
            front = [*self.before, *(heading if start else [])]
            yield _Window(text, start, end, [*front, *ids[start:end], *self.after], len(front))

    def _run(self, windows: list[_Window]) -> Iterator[tuple[_Window, Floats]]:
        """Each window with the vectors of all its tokens."""
        if self.device.type == "cpu":
            with one_thread():
                for window in windows:
                    yield window, self._forward(np.array([window.ids], np.int64), None)[0]
            return
        lengths = (*(length for length in BUCKETS if length < self.longest), self.longest)
        key = functools.partial(_bucket, lengths)
        for bucket, group in itertools.groupby(sorted(windows, key=key), key=key):
            rows, members = max(1, TOKENS_PER_PASS // bucket), list(group)
            for part in (members[first:first + rows] for first in range(0, len(members), rows)):
                ids = np.full((rows, bucket), self.tokenizer.pad_token_id or 0, np.int64)
                mask = np.zeros((rows, bucket), np.int64)
                mask[:, 0] = 1  # an empty row still needs one key, or its softmax is not a number
                for row, window in enumerate(part):
                    ids[row, :len(window.ids)] = window.ids
                    mask[row, :len(window.ids)] = 1
                output = self._forward(ids, mask)
                for row, window in enumerate(part):
                    yield window, output[row]

    def _forward(self, ids: NDArray[np.int64], mask: NDArray[np.int64] | None) -> Floats:
        with errors_of_torch(), self.torch.inference_mode():
            masked = {} if mask is None else {"attention_mask": self.torch.from_numpy(mask).to(self.device)}
            output: Floats = self.model(input_ids=self.torch.from_numpy(ids).to(self.device),
                                        **masked).last_hidden_state.float().cpu().numpy()
        return output


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _bucket(lengths: Sequence[int], window: _Window) -> int:
    return next(length for length in lengths if length >= len(window.ids))


def _positions(model: Any) -> int:
    """Tokens that the encoder has positions for. RoBERTa and its kin count positions from behind the padding index."""
    count = int(getattr(model.config, "max_position_embeddings", MAX_LENGTH))
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return count if padding is None else count - padding - 1


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the encoder was trained with, in front of a text and behind it."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    start = next(k for k in range(len(full)) if full[k:k + len(bare)] == bare)
    return full[:start], full[start + len(bare):]


def _owners(offsets: NDArray[np.int32], sentences: Sequence[Sentence]) -> NDArray[np.int32]:
    """Index of each token's sentence: the last one that starts no later than the token."""
    starts = np.array([s.start for s in sentences], np.int64)
    return np.maximum(np.searchsorted(starts, offsets[:, 0], side="right") - 1, 0).astype(np.int32)


def cut_windows(owner: NDArray[np.int32], first: int, later: int) -> list[tuple[int, int]]:
    """Token ranges that cover a text: as many whole sentences as fit; a longer sentence is cut at tokens.

    Args:
        owner: `[n_tokens]`, index of each token's sentence.
        first: tokens that fit into the first window.
        later: tokens that fit into each later one, which holds the heading as well.
    """
    edges = [*np.flatnonzero(np.diff(owner, prepend=-1)).tolist(), len(owner)] if len(owner) else [0]
    windows: list[tuple[int, int]] = []
    start = 0

    def room() -> int:
        return later if start else first

    for left, right in itertools.pairwise(edges):
        if right - start <= room():
            continue
        if left > start:
            windows.append((start, left))
            start = left
        while right - start > room():
            windows.append((start, start + room()))
            start = windows[-1][1]
    if start < len(owner):
        windows.append((start, len(owner)))
    return windows


@functools.lru_cache(maxsize=1)
def load(params: EncoderParams) -> TextEncoder:
    """Load once per process."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return TextEncoder(params.folder(), params)
