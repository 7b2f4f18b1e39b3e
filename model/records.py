"""What a stage hands to its pages and its table: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from features.sentences import Sentence
from features.view import column

ATTRIBUTIONS = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("kind", pa.string(), "modality, region, sentence or token"),
    column("index", pa.int32(), "number within the kind, from 0, in the order of the text"),
    column("label", pa.string(), "what it is: the words themselves, or the name of a region or modality"),
    column("start", pa.int32(), "first character in the description; null for what has no place"),
    column("end", pa.int32(), "character behind the last"),
    column("change", pa.float64(), "prediction with everything minus prediction without this, in the learned unit"),
    column("attention", pa.float64(), "mean weight of the cross-attention; null for other fusions, and for "
           "tokens of a model that reads words"),
])


@dataclass(frozen=True)
class Explanation:
    """All about one prediction."""

    material_id: str
    text: str
    tagged: list[Sentence]
    predicted: float
    """In the learned unit."""
    true: float | None
    outside: str
    """In words, what of the crystal no training crystal reaches; empty if there is nothing."""
    rows: list[dict[str, Any]]
    """As in `ATTRIBUTIONS`."""
