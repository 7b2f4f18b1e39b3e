"""Which facts carry the property: effects of facts over many crystals, by what they state."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from features.paraphraser.vocabulary import GEOMETRIES, SHAPES
from features.words.tokenizer import amounts
from model.explanation.facts import Unit
from model.explanation.faithfulness import Measured
from model.explanation.game import Floats

SUPPORT = 10
"""Crystals that must state a thing for a row: fewer make no interval."""
_SHAPE = re.compile(rf"\b({'|'.join(SHAPES)})\b")
_GEOMETRY = re.compile("|".join(sorted(map(re.escape, GEOMETRIES), key=lambda name: (-len(name), name))))
_POLYHEDRON = re.compile(r"([A-Z][a-z]?)(?:\(\d+(?:,\d+)*\))?(?=[A-Z(])\S* (?=\w)")
_LABEL = re.compile(r"([A-Z][a-z]?)(?:[\d.]*[+-])?\(\d+(?:,\d+)*\)")


def labels(unit: Unit, words: str) -> Iterator[str]:
    """What a fact states, without numbers of sites, atoms or Å: one thing or several, each once."""
    if unit.kind == "formula":
        yield from (f"formula with {symbol}" for symbol in sorted(amounts(words)))
    elif unit.kind == "bond length":
        pair = re.findall(r"([A-Z][a-z]?)(?:[\d.]*[+-])?(?:\(\d+(?:,\d+)*\))?-([A-Z][a-z]?)", words)
        yield from sorted({f"{'–'.join(sorted(ends))} bond" for ends in pair})
    elif unit.kind == "neighbours":
        yield from sorted({f"bonded to {symbol}" for symbol in _LABEL.findall(words)})
    elif unit.kind in ("connectivity", "polyhedron"):
        shape = _SHAPE.search(words)
        solid = SHAPES[shape[1]] if shape else "polyhedron"
        yield from (f"{kind}-sharing {solid}" for kind in ("corner", "edge", "face") if kind in words)
        of = _POLYHEDRON.search(words)
        if of and shape:
            yield f"{solid} of {of[1]}"
    elif unit.kind == "coordination":
        geometry = _GEOMETRY.search(words) or re.search(r"\d+-coordinate", words)
        yield geometry[0] if geometry else words
    elif unit.kind == "tilt":
        yield "octahedra not tilted" if "not" in words else "tilted octahedra"
    elif unit.kind == "component":
        yield re.sub(r"s$", "", words.split()[-1])
    elif unit.kind == "site":
        yield from sorted({f"{symbol} site" for symbol in _LABEL.findall(words)})
    elif unit.kind == "number of sites":
        yield "several inequivalent sites of an element"
    elif unit.kind in ("prototype", "crystal system", "space group", "dimensionality", "orientation"):
        yield words


def aggregate(method: str, faithful: bool | None,
              crystals: Iterable[tuple[str, Sequence[Unit], Floats]]) -> list[dict[str, Any]]:
    """Rows of `model.records.FACT_EFFECTS`, those with the surest effect first.

    `crystals`: description, facts and their effects. A crystal that states a thing several times counts once, with the
    sum.
    """
    summed: dict[tuple[str, str], list[float]] = defaultdict(list)
    for text, facts, effects in crystals:
        mine: dict[tuple[str, str], float] = defaultdict(float)
        for unit, effect in zip(facts, effects, strict=True):
            for label in labels(unit, text[unit.start:unit.end]):
                mine[unit.kind, label] += float(effect)
        for key, value in mine.items():
            summed[key].append(value)
    rows = []
    for (kind, label), values in sorted(summed.items()):
        if len(values) >= SUPPORT:
            measured = Measured.of(np.array(values))
            rows.append({"method": method, "fact": kind, "label": label, "effect": measured.mean, "low": measured.low,
                         "high": measured.high, "crystals": len(values),
                         "share_raised": float(np.mean(np.array(values) > 0)), "faithful": faithful})
    return sorted(rows, key=_surely, reverse=True)


def _surely(row: Mapping[str, Any]) -> float:
    """How far from zero the nearer end of the interval is; below 0 if it holds zero."""
    return float(max(row["low"], -row["high"]))
