"""Sentences of a description: where they are in the text and what they speak about."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from features.rules import Mask, arrays, lengths

REGIONS = ("global", "semiglobal", "local")
"""`global`: formula, prototype, crystal system, space group, dimensionality. `semiglobal`: components, connectivity,
tilts. `local`: the surroundings and bonds of one site."""

_END = re.compile(r"(?<=\.)\s+(?=\S)")  # in these texts a full stop before a blank ends a sentence; decimals have none
_GLOBAL = re.compile(r"crystallizes in the|space group|-dimensional")
_SEMIGLOBAL = re.compile(r"structure consists of|-sharing|\bshare |tilt")


class Sentence(NamedTuple):
    """Half-open range of characters in the text, and its region."""

    start: int
    end: int
    region: str


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Character ranges of the sentences; together with the blanks between them they cover the text."""
    ranges = []
    start = 0
    for blank in _END.finditer(text):
        ranges.append((start, blank.start()))
        start = blank.end()
    if text[start:].strip():
        ranges.append((start, len(text)))
    return ranges


def region_of(sentence: str) -> str:
    """What a sentence of a robocrys description speaks about."""
    if _GLOBAL.search(sentence):
        return "global"
    return "semiglobal" if _SEMIGLOBAL.search(sentence) else "local"


def tag(text: str) -> list[Sentence]:
    """Split a description into tagged sentences."""
    return [Sentence(start, end, region_of(text[start:end])) for start, end in split_sentences(text)]


def join(parts: list[tuple[str, str]]) -> tuple[str, list[Sentence]]:
    """Put (sentence, region) pairs together into a text and its tagged sentences."""
    sentences = []
    position = 0
    for words, region in parts:
        sentences.append(Sentence(position, position + len(words), region))
        position += len(words) + 1
    return " ".join(words for words, _ in parts), sentences


SENTENCES_TYPE = pa.list_(pa.struct([
    pa.field("start", pa.int32()),
    pa.field("end", pa.int32()),
    pa.field("region", pa.string()),
]))


def _astray(rows: pa.RecordBatch) -> Mask:
    """Which texts have no sentences, or one that is empty, lies outside of the text or has no known region."""
    lists = rows["sentences"]
    flat, owners = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    start, end = (pc.struct_field(flat, name).fill_null(-1).to_numpy(zero_copy_only=False) for name in ("start", "end"))
    known = pc.is_in(pc.struct_field(flat, "region"), value_set=pa.array(REGIONS)).to_numpy(zero_copy_only=False)
    characters = pc.utf8_length(rows["text"]).fill_null(0).to_numpy(zero_copy_only=False)
    result: Mask = lengths(lists) == 0
    result[owners[(start < 0) | (end <= start) | (end > characters[owners]) | ~known]] = True
    return result


COVER = arrays(f"sentences are character ranges of text, at least one, each with a region: {', '.join(REGIONS)}",
               ("text", "sentences"), _astray)


def to_rows(sentences: list[Sentence]) -> list[dict[str, Any]]:
    """The form in which tables hold sentences."""
    return [sentence._asdict() for sentence in sentences]


def from_rows(rows: list[dict[str, Any]]) -> list[Sentence]:
    """The inverse of `to_rows`."""
    return [Sentence(row["start"], row["end"], row["region"]) for row in rows]
