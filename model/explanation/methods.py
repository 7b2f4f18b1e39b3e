"""What a prediction rests on: modalities, regions, sentences, tokens.

A *change* is the prediction from everything minus the prediction without one piece, in the learned unit: positive if
the piece raises the prediction. Tokens are removed from the mean that makes their sentence's vector; the frozen
encoder's context of the others stays. *Attention* is that of the cross-attention, averaged over heads and atoms; for
tokens it is read by showing the trained layer token vectors in place of sentence vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features import text_encoder
from features.sentences import REGIONS, Sentence
from model.checkpoint import Trained
from model.inference import as_text
from model.input.batch import StructureBatch, Text, collate_texts
from model.nets.fusion import Tokens
from model.records import Explanation

WEIGHTS_AT_ONCE = 2_000_000
"""Variants of a text times atoms times sentences in one pass: attention weights of a head, what bounds the memory."""


@torch.no_grad()
def explain(trained: Trained, encoder: text_encoder.TextEncoder, material_id: str, crystal: StructureBatch,
            text: str, tagged: list[Sentence], true: float | None, outside: str) -> Explanation:
    """Explain the prediction for one crystal and its description; `true` and `outside` are handed on."""
    device, net = trained.device, trained.net
    encoded = encoder.encode([text], [tagged])[0]
    spoken = as_text(encoded, tagged)
    regions = spoken.regions
    atoms = net.structure_tokens(crystal.to(device))

    def predict(words: Tokens, shown: Tokens = atoms) -> tuple[NDArray[np.float64], Tensor | None]:
        at_once = max(1, WEIGHTS_AT_ONCE // (shown.mask.shape[1] * words.mask.shape[1]))
        values, weights = [], None
        for first in range(0, len(words.mask), at_once):
            part = Tokens(words.values[first:first + at_once], words.mask[first:first + at_once])
            many = len(part.mask)
            prediction = net.fuse(Tokens(shown.values.expand(many, -1, -1), shown.mask.expand(many, -1)), part)
            values.append(trained.natural(prediction.fused).numpy())
            weights = prediction.attention if first == 0 else weights
        return np.concatenate(values), weights

    def words_of(texts: Sequence[Text | None]) -> Tokens:
        result: Tokens = net.text_branch(collate_texts(texts, encoded.tokens.shape[1]).to(device))
        return result

    whole = words_of([spoken])
    values, attention = predict(whole)
    full = float(values[0])
    no_atoms = Tokens(atoms.values, torch.zeros_like(atoms.mask))
    nothing = Tokens(whole.values, torch.zeros_like(whole.mask))
    rows: list[dict[str, Any]] = []

    def add(kind: str, labels: Sequence[str], spans: Sequence[tuple[int, int] | None], without: Sequence[float],
            weights: Sequence[float] | None) -> None:
        for index, (label, span, value) in enumerate(zip(labels, spans, without, strict=True)):
            if not math.isfinite(value):  # the model predicts nothing without any text
                continue
            rows.append({"material_id": material_id, "kind": kind, "index": index, "label": label,
                         "start": span[0] if span else None, "end": span[1] if span else None,
                         "change": full - float(value), "attention": weights[index] if weights else None})

    add("modality", ["structure", "text"], [None, None],
        [float(predict(whole, no_atoms)[0][0]), float(predict(nothing)[0][0])], None)
    region_of = torch.from_numpy(regions).to(device)
    keep_regions = torch.stack([whole.mask[0] & (region_of != region) for region in range(len(REGIONS))])
    add("region", REGIONS, [None] * len(REGIONS), predict(_masked(whole, keep_regions))[0].tolist(), None)
    keep_others = whole.mask & ~torch.eye(len(tagged), dtype=torch.bool, device=device)
    add("sentence", [text[s.start:s.end] for s in tagged], [(s.start, s.end) for s in tagged],
        predict(_masked(whole, keep_others))[0].tolist(), _mean_attention(attention))
    token_words = words_of([Text(encoded.tokens, regions[encoded.sentence_of])])
    spans = [(int(start), int(end)) for start, end in encoded.offsets]
    add("token", [text[start:end] for start, end in spans], spans,
        [float(v) for part in _without_tokens(spoken, encoded) for v in predict(words_of(part))[0]],
        _mean_attention(predict(token_words)[1]))
    return Explanation(material_id, text, tagged, full, true, outside, rows)


def _masked(words: Tokens, keep: Tensor) -> Tokens:
    return Tokens(words.values.expand(len(keep), -1, -1), keep)


def _mean_attention(attention: Tensor | None) -> list[float] | None:
    """Mean over heads and atoms of one crystal's attention."""
    return None if attention is None else attention[0].mean(dim=(0, 1)).double().cpu().tolist()


def _without_tokens(spoken: Text, encoded: text_encoder.EncodedText) -> Iterator[list[Text]]:
    """The text without each of its tokens in turn, 64 at a time."""
    counts = np.bincount(encoded.sentence_of, minlength=len(spoken.vectors))
    texts = []
    for token, sentence in enumerate(encoded.sentence_of):
        vectors, regions = spoken.vectors.copy(), spoken.regions
        if counts[sentence] > 1:
            n = float(counts[sentence])
            vectors[sentence] = (vectors[sentence] * n - encoded.tokens[token]) / (n - 1)
        else:
            vectors, regions = np.delete(vectors, sentence, axis=0), np.delete(regions, sentence)
        texts.append(Text(vectors, regions))
        if len(texts) == 64:
            yield texts
            texts = []
    if texts:
        yield texts
