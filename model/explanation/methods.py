"""What a prediction rests on: modalities, regions, sentences, tokens.

A *change* is the prediction from everything minus the prediction without one piece, in the learned unit: positive if
the piece raises the prediction. What is left out is not heard by the rest of the text either, as far as the network
makes the text's vectors itself (`variants` says what a token is, and how it is left out). *Attention* is that of the
cross-attention, averaged over heads and atoms. That of tokens is read by showing the trained layer token vectors in
place of sentence vectors; a network that reads words has one vector for a sentence, and none for a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from features.sentences import REGIONS
from model.checkpoint import Trained
from model.explanation.variants import Span, Variants
from model.input.batch import StructureBatch, TextBatch
from model.input.words import WordBatch
from model.nets.fusion import Tokens
from model.records import Explanation

WEIGHTS_AT_ONCE = 2_000_000
"""Variants of a text times sentences times what attends to them, atoms or sentences, in one pass: attention weights of
a head, what bounds the memory beside `Variants.at_once`."""


class _Crystal:
    """One crystal before the network: the structure is read once, the text in as many variants as are asked for."""

    def __init__(self, trained: Trained, crystal: StructureBatch) -> None:
        self.trained = trained
        self.atoms = trained.net.structure_tokens(crystal.to(trained.device))
        self.n_atoms = len(crystal.numbers)

    def predict(self, texts: TextBatch | WordBatch, hidden: Tensor | None = None,
                with_structure: bool = True) -> tuple[list[float], list[float] | None]:
        """Fused prediction for each text, and the attention that the first one's sentences get.

        `hidden`: `[texts, sentences]`, True for what is left out and heard by nobody.
        """
        device = self.trained.device
        words = self.trained.net.text_tokens(texts.to(device), None if hidden is None else hidden.to(device))
        atoms = [_repeated(one, len(texts.mask), with_structure) for one in self.atoms]
        prediction = self.trained.net.fuse(atoms, words)
        weights = prediction.attention
        return self.trained.natural(prediction.fused).tolist(), \
            None if weights is None else weights[0].mean(dim=(0, 1)).double().cpu().tolist()


def _repeated(atoms: Tokens, many: int, shown: bool) -> Tokens:
    return Tokens(atoms.values.expand(many, -1, -1), (atoms.mask & shown).expand(many, -1))


@torch.no_grad()
def explain(trained: Trained, material_id: str, crystal: StructureBatch, said: Variants, true: float | None,
            outside: str) -> Explanation:
    """Explain the prediction for one crystal and its description; `true` and `outside` are handed on."""
    shown = _Crystal(trained, crystal)
    text, tagged = said.text, said.tagged
    count = len(tagged)
    at_once = max(1, min(said.at_once, WEIGHTS_AT_ONCE // (count * max(count, shown.n_atoms))))
    (full,), attention = shown.predict(said.copies(1))

    def without_sentences(hidden: Tensor) -> list[float]:
        return [value for part in hidden.split(at_once)
                for value in shown.predict(said.copies(len(part)), part)[0]]

    def without_tokens() -> list[float]:
        rows = range(len(said.spans))
        return [value for first in rows[::at_once]
                for value in shown.predict(said.without(rows[first:first + at_once]))[0]]

    rows: list[dict[str, Any]] = []

    def add(kind: str, labels: Sequence[str], spans: Sequence[Span | None], without: Sequence[float],
            weights: Sequence[float] | None = None) -> None:
        for index, (label, span, value) in enumerate(zip(labels, spans, without, strict=True)):
            if not math.isfinite(value):  # the model predicts nothing without any text
                continue
            rows.append({"material_id": material_id, "kind": kind, "index": index, "label": label,
                         "start": span[0] if span else None, "end": span[1] if span else None,
                         "change": full - value, "attention": weights[index] if weights else None})

    (no_structure,), _ = shown.predict(said.copies(1), with_structure=False)
    no_text = without_sentences(torch.ones(1, count, dtype=torch.bool))
    add("modality", ["structure", "text"], [None, None], [no_structure, *no_text])
    of_region = torch.tensor([[sentence.region == region for sentence in tagged] for region in REGIONS])
    add("region", REGIONS, [None] * len(REGIONS), without_sentences(of_region))
    places = [(sentence.start, sentence.end) for sentence in tagged]
    add("sentence", [text[start:end] for start, end in places], places,
        without_sentences(torch.eye(count, dtype=torch.bool)), attention)
    by_token = said.by_token()
    add("token", [text[start:end] for start, end in said.spans], said.spans, without_tokens(),
        None if by_token is None else shown.predict(by_token)[1])
    return Explanation(material_id, text, tagged, full, true, outside, rows)
