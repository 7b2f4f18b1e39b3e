"""A text, whole and with pieces left out, as the network's text branch reads it: vectors of sentences, or words.

Of a text as vectors, a row is a token of the frozen encoder. It is taken out of the mean that makes its sentence's
vector; what the encoder's other tokens heard of it stays. Of a text as words, a row is a mention: the characters that
say one thing, such as "Ca5Sb3", "six equivalent Sb(1)", "Ca(1)-Sb(1)", "3.11-3.71 Å", "P6_3/mcm" or "eight equivalent
Ti(1)O6 octahedra". All tokens that come from them leave together, since nobody can strike out half a formula, the
number of things without the things, or one end of a bond.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from features import sentences, text_encoder
from features.sentences import Sentence
from features.words.tokenizer import Token, columns, tokenize
from model.checkpoint import Trained
from model.inference import as_text, load_encoder
from model.input.batch import Ints, Text, TextBatch, collate_texts
from model.input.words import WordBatch, Words

TEXTS_AT_ONCE = 64
TOKENS_AT_ONCE = 50_000
"""Words of all variants in one pass; each takes a few kB."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Variants(ABC):
    """One text, and all that is asked of it."""

    text: str
    tagged: list[Sentence]
    spans: list[Span]
    """Characters of each row that can be left out, in the order of the text; none overlap."""
    at_once: int
    """As many copies as may be in one batch."""

    @abstractmethod
    def copies(self, many: int) -> TextBatch | WordBatch:
        """The whole text so many times, each with one place for every sentence."""

    @abstractmethod
    def without(self, rows: range) -> TextBatch | WordBatch:
        """A copy for each of these rows of `spans`, without it."""

    @abstractmethod
    def by_token(self) -> TextBatch | None:
        """The text with its tokens in place of its sentences, if the network can be shown that."""


@dataclass(frozen=True)
class OfVectors(Variants):
    """A text as the frozen encoder's vectors."""

    spoken: Text
    encoded: text_encoder.EncodedText

    @classmethod
    def read(cls, encoder: text_encoder.TextEncoder, text: str, tagged: list[Sentence]) -> OfVectors:
        """Encode a text."""
        encoded = encoder.encode([text], [tagged])[0]
        spans = [(int(start), int(end)) for start, end in encoded.offsets]
        return cls(text, tagged, spans, TEXTS_AT_ONCE, as_text(encoded, tagged), encoded)

    def copies(self, many: int) -> TextBatch:
        return self._collate([self.spoken] * many)

    def without(self, rows: range) -> TextBatch:
        return self._collate([self._without(row) for row in rows])

    def by_token(self) -> TextBatch:
        return self._collate([Text(self.encoded.tokens, self.spoken.regions[self.encoded.sentence_of])])

    def _without(self, token: int) -> Text:
        vectors, regions = self.spoken.vectors.copy(), self.spoken.regions
        sentence = self.encoded.sentence_of[token]
        n = float((self.encoded.sentence_of == sentence).sum())
        if n == 1:
            return Text(np.delete(vectors, sentence, axis=0), np.delete(regions, sentence))
        vectors[sentence] = (vectors[sentence] * n - self.encoded.tokens[token]) / (n - 1)
        return Text(vectors, regions)

    def _collate(self, texts: Sequence[Text]) -> TextBatch:
        return collate_texts(texts, self.encoded.tokens.shape[1])


@dataclass(frozen=True)
class OfWords(Variants):
    """A text as words and numbers."""

    words: Words
    """Of this one text."""
    row_of: Ints
    """`[tokens]`, the row that each token belongs to."""

    @classmethod
    def read(cls, text: str, tagged: list[Sentence], prototype: str | None) -> OfWords:
        """Tokenise a text as the view `text_tokens` does."""
        tokens = tokenize(text, tagged, prototype)
        spans, row_of = mentions(tokens)
        return cls(text, tagged, spans, max(1, TOKENS_AT_ONCE // max(1, len(tokens))),
                   Words.of([columns(tokens, tagged)]), row_of)

    def copies(self, many: int) -> WordBatch:
        return self.words.batch(np.zeros(many, np.int64))

    def without(self, rows: range) -> WordBatch:
        stays = self.row_of[None, :] != np.array(rows)[:, None]
        return self.copies(len(rows)).only(torch.from_numpy(stays.reshape(-1)))

    def by_token(self) -> None:
        return None


def mentions(tokens: Sequence[Token]) -> tuple[list[Span], Ints]:
    """The characters of each mention in the order of the text, and the mention that each token belongs to.

    Tokens whose characters overlap are one mention: of "two inequivalent Ca", calcium's reach from the number on.
    """
    spans: list[Span] = []
    row_of = np.zeros(len(tokens), np.int64)
    for index in sorted(range(len(tokens)), key=lambda index: tokens[index].start):
        start, end = tokens[index].start, tokens[index].end
        if spans and start < spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((start, end))
        row_of[index] = len(spans) - 1
    return spans, row_of


def reader(trained: Trained) -> Callable[[Mapping[str, Any]], Variants]:
    """What reads a row of the table `descriptions` (`text`, `sentences`, `mineral`) as the model does."""
    if trained.params.text == "words":
        return lambda row: OfWords.read(row["text"], sentences.from_rows(row["sentences"]), row["mineral"])
    encoder = load_encoder(trained)
    return lambda row: OfVectors.read(encoder, row["text"], sentences.from_rows(row["sentences"]))
