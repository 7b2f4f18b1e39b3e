"""A text as sentences that can be exchanged for those of other crystals, whole or a fact at a time.

A *piece* is one sentence as the networks read it: words, or a vector of the frozen encoder. A *variant* of a text is a
list of pieces, its own and others'. Nothing is left out of a text for good: what an effect takes away, something of
another crystal replaces, and only where no other has a thing of the kind does its place stay empty.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from features import sentences, text_encoder
from features.sentences import Sentence
from features.words.tokenizer import Token, columns, tokenize
from model.checkpoint import Trained
from model.explanation.facts import Parsed, Unit, parse
from model.forward import as_text, load_encoder
from model.input.batch import Ints, Text, TextBatch, Texts, spans
from model.input.words import WordBatch, Words


@dataclass(frozen=True, eq=False)
class Piece:
    """One sentence; the same object wherever it stands."""

    region: int
    """Index into `features.sentences.REGIONS`."""


@dataclass(frozen=True, eq=False)
class WordPiece(Piece):
    """As words and numbers."""

    ids: Ints
    kinds: Ints
    values: NDArray[np.float32]
    """`[tokens]` each, as in `model.input.words.Words`."""
    cuts: dict[int, WordPiece] = field(default_factory=dict, init=False, repr=False)
    """Its first tokens by their number: cut twice alike, it is the same piece, which is then read once."""

    def first(self, most: int) -> WordPiece:
        """Its first tokens; itself where it has no more."""
        if len(self.ids) <= most:
            return self
        if most not in self.cuts:
            self.cuts[most] = self.only(np.arange(most))
        return self.cuts[most]

    def only(self, rows: Ints) -> WordPiece:
        """Those of its tokens, in that order."""
        return WordPiece(self.region, self.ids[rows], self.kinds[rows], self.values[rows])


NO_WORDS = WordPiece(0, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class VectorPiece(Piece):
    """As a vector of the frozen encoder."""

    vector: NDArray[np.floating[Any]]
    """`[dim]`."""


def nothing(text_dim: int) -> Piece:
    """A sentence that says nothing, as networks read those of vectors of that length, or of words where it is 1."""
    return VectorPiece(0, np.zeros(text_dim, np.float32)) if text_dim > 1 else NO_WORDS


@dataclass(frozen=True)
class Change:
    """A unit of a text, and what stands in its place."""

    unit: Unit
    by: tuple[Reading, Unit] | None
    """A unit of another text; None leaves the place empty."""


@dataclass(frozen=True)
class Reading(ABC):
    """One description, read."""

    text: str
    tagged: list[Sentence]
    parsed: Parsed
    pieces: list[Piece]
    """One for each sentence."""

    @abstractmethod
    def variants(self, changes: Sequence[Sequence[Change]]) -> list[list[Piece]]:
        """The text once for each list of changes, with those of the list made in it."""

    def of_region(self, region: int) -> list[Piece]:
        """Its sentences of one region."""
        return [piece for piece in self.pieces if piece.region == region]


@dataclass(frozen=True)
class WordReading(Reading):
    """As words: tokens are taken out and put in."""

    edits: dict[Any, WordPiece] = field(default_factory=dict, compare=False, repr=False)
    """Sentences with changes in them: the same changes are the same piece, which is then read once."""

    def variants(self, changes: Sequence[Sequence[Change]]) -> list[list[Piece]]:
        first = np.cumsum([0, *(len(piece.ids) for piece in self._words())])
        result = []
        for listed in changes:
            pieces = list(self.pieces)
            for sentence in {change.unit.sentence for change in listed}:
                mine = [change for change in listed if change.unit.sentence == sentence]
                key = (sentence, *(_place(change.unit) + (
                    () if change.by is None else (id(change.by[0]), *_place(change.by[1]))) for change in mine))
                if key not in self.edits:
                    self.edits[key] = _edited(self._words()[sentence], mine, int(first[sentence]))
                pieces[sentence] = self.edits[key]
            result.append(pieces)
        return result

    def _words(self) -> list[WordPiece]:
        return self.pieces  # type: ignore[return-value]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Self:
        """A row of `descriptions` (`text`, `sentences`, `mineral`, `sites` if there are any)."""
        tagged, tokens = _tokens(row)
        words = Words.of([columns(tokens, tagged)])
        starts = np.searchsorted(words.sentences, np.arange(len(tagged) + 1))
        pieces: list[Piece] = [WordPiece(int(region), words.ids[a:b], words.kinds[a:b], words.values[a:b])
                               for region, a, b in zip(words.regions, starts[:-1], starts[1:], strict=True)]
        return cls(row["text"], tagged, parse(tokens, row["text"], tagged, row.get("sites")), pieces)


@dataclass(frozen=True)
class VectorReading(Reading):
    """As vectors: characters are exchanged, and the text is encoded anew."""

    encoder: text_encoder.TextEncoder
    encoded: text_encoder.EncodedText

    def variants(self, changes: Sequence[Sequence[Change]]) -> list[list[Piece]]:
        edited = [rewritten(self, listed) for listed in changes]
        encoded = self.encoder.encode([text for text, _ in edited], [tagged for _, tagged in edited])
        return [_vector_pieces(as_text(one, tagged)) for one, (_, tagged) in zip(encoded, edited, strict=True)]

    @classmethod
    def read(cls, row: Mapping[str, Any], encoder: text_encoder.TextEncoder) -> Self:
        """The same, with the encoder that the model was trained with."""
        tagged, tokens = _tokens(row)
        encoded = encoder.encode([row["text"]], [tagged])[0]
        return cls(row["text"], tagged, parse(tokens, row["text"], tagged, row.get("sites")),
                   _vector_pieces(as_text(encoded, tagged)), encoder, encoded)


def rewritten(reading: Reading, changes: Sequence[Change]) -> tuple[str, list[Sentence]]:
    """The text with the changes made in its characters, and its sentences."""
    text, tagged = reading.text, list(reading.tagged)
    for change in sorted(changes, key=lambda change: -change.unit.start):  # from the right: places stay
        unit = change.unit
        words = "" if change.by is None else change.by[0].text[change.by[1].start:change.by[1].end]
        longer = len(words) - (unit.end - unit.start)
        text = text[:unit.start] + words + text[unit.end:]
        tagged = [Sentence(one.start + longer * (number > unit.sentence),
                           one.end + longer * (number >= unit.sentence), one.region)
                  for number, one in enumerate(tagged)]
    return text, tagged


def _tokens(row: Mapping[str, Any]) -> tuple[list[Sentence], list[Token]]:
    tagged = sentences.from_rows(row["sentences"])
    return tagged, tokenize(row["text"], tagged, row["mineral"])


def _vector_pieces(text: Text) -> list[Piece]:
    return [VectorPiece(int(region), vector) for vector, region in zip(text.vectors, text.regions, strict=True)]


def _place(unit: Unit) -> tuple[int, int]:
    """A fact and a mention may begin at the same place."""
    return unit.start, unit.end


def _edited(piece: WordPiece, changes: Sequence[Change], first: int) -> WordPiece:
    """A sentence in which the tokens of other units stand where those of its own stood first."""
    parts = []
    gone = np.concatenate([change.unit.rows for change in changes]) - first
    begins = {int(change.unit.rows.min()) - first: change for change in changes}
    own = np.ones(len(piece.ids), bool)
    own[gone] = False
    stays = np.flatnonzero(own)
    edges = sorted({0, *begins, len(piece.ids)})
    for start, stop in itertools.pairwise(edges):
        change = begins.get(start)
        if change is not None and change.by is not None:
            other, unit = change.by
            parts.append(_of_text(other, unit.rows))
        parts.append(piece.only(stays[(stays >= start) & (stays < stop)]))
    return WordPiece(piece.region, *(np.concatenate([getattr(part, name) for part in parts])
                                     for name in ("ids", "kinds", "values")))


def _of_text(reading: Reading, rows: Ints) -> WordPiece:
    """Tokens of one sentence of a text by their places in the text."""
    first = 0
    for piece in reading.pieces:
        if not isinstance(piece, WordPiece):
            raise TypeError("words can only be exchanged for words")
        if rows[0] < first + len(piece.ids):
            return piece.only(rows - first)
        first += len(piece.ids)
    raise IndexError(f"the text has no token {rows[0]}")


def joined(variants: Sequence[Sequence[Piece]], text_dim: int) -> Texts | Words:
    """Variants end to end, as data sets hold texts; `text_dim` is that of the vectors, and 1 for words."""
    flat = [piece for variant in variants for piece in variant]
    counts = np.array([len(variant) for variant in variants], np.int64)
    regions, starts = np.array([piece.region for piece in flat], np.int64), np.cumsum([0, *counts])
    if text_dim > 1:
        vectors: list[VectorPiece] = flat  # type: ignore[assignment]
        return Texts(np.array([piece.vector for piece in vectors], np.float32).reshape(-1, text_dim), regions, starts)
    words: list[WordPiece] = [*flat, NO_WORDS]  # type: ignore[list-item]
    ids, kinds, values = (np.concatenate([getattr(piece, name) for piece in words])
                          for name in ("ids", "kinds", "values"))
    lengths = np.array([len(piece.ids) for piece in words[:-1]], np.int64)
    return Words(ids, kinds, values, np.repeat(spans(np.zeros_like(counts), counts), lengths),
                 np.cumsum([0, *lengths])[starts], regions, starts)


def collate(variants: Sequence[Sequence[Piece]], text_dim: int) -> TextBatch | WordBatch:
    """Variants as a batch."""
    return joined(variants, text_dim).batch(np.arange(len(variants)))


def cut(variant: Sequence[Piece], most: int | None) -> list[Piece]:
    """A variant's first tokens, as networks with `train.words.most` read it."""
    if most is None:
        return list(variant)
    left, result = most, []
    for piece in variant:
        if isinstance(piece, WordPiece):
            piece = piece.first(left)
            left -= len(piece.ids)
        result.append(piece)
    return result


def reader(trained: Trained) -> Callable[[Mapping[str, Any]], Reading]:
    """What reads a row of the table `descriptions` (`text`, `sentences`, `mineral`, `sites`) as the model does."""
    if trained.params.text == "words":
        return WordReading.read
    encoder = load_encoder(trained)
    return lambda row: VectorReading.read(row, encoder)


