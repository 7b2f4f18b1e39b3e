"""The facts of a description: which characters state one thing, what kind of thing it is, and of which atoms.

The tokenizer of `features.words` reads a text as mentions, the smallest pieces that nobody can strike half of. A fact
is a run of mentions within a sentence that state one thing together: "six equivalent O(1)" alone, but "edges with four
equivalent Ti(1)O6 octahedra", or both ends of a bond with its lengths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.paraphraser.vocabulary import COMPONENT_SHAPES, SYSTEMS
from features.sentences import Sentence
from features.words.tokenizer import Token
from features.words.vocabulary import ATOMIC_NUMBERS, id_of_term
from model.input.batch import Ints
from model.records import Fact

KINDS = ("formula", "prototype", "crystal system", "space group", "dimensionality", "component", "orientation",
         "number of sites", "site", "charge", "coordination", "neighbours", "polyhedron", "connectivity", "tilt",
         "bond length", "other")
Place = tuple[str, int]
"""Element and number of a site's label; 0 for a label without a number."""

_SHARED = {id_of_term(one) for one in ("corner", "edge", "face")}
_LENGTHS = {id_of_term(one) for one in ("shorter", "longer")}
_TILT = {id_of_term("tilt")}
_SYSTEMS = {id_of_term(one) for one in SYSTEMS}
_COMPONENTS = {id_of_term(one) for one in COMPONENT_SHAPES}
_TERMS = {id_of_term("dimensional"): "dimensionality", id_of_term("direction"): "orientation",
          id_of_term("inequivalent"): "number of sites", id_of_term("isolated"): "component"}
_LEADING = {id_of_term("distorted"), id_of_term("mixture"), id_of_term("not")}
"""What says nothing but of that which follows."""
_SYMBOL = "|".join(sorted(ATOMIC_NUMBERS, key=lambda symbol: (-len(symbol), symbol)))
_LABEL = re.compile(rf"(?<![A-Za-z])({_SYMBOL})(?:[\d.]*[+-])?\((\d+(?:,\d+)*)\)")


@dataclass(frozen=True)
class Unit(Fact):
    """A fact or a mention, with the tokens that come from it."""

    rows: Ints
    """Indices of its tokens."""


@dataclass(frozen=True)
class Parsed:
    """A text as facts and as mentions, both in the order of the text; none overlap."""

    facts: list[Unit]
    mentions: list[Unit]


def parse(tokens: Sequence[Token], text: str, tagged: Sequence[Sentence],
          sites: Sequence[Mapping[str, Any]] | None = None) -> Parsed:
    """The facts and mentions of a text.

    Args:
        tokens: of the text, by `features.words.tokenizer.tokenize`.
        text: the description.
        tagged: its sentences.
        sites: column `sites` of `descriptions`, which says what atoms a label stands for; without it nobody can say.
    """
    atoms_of = _atoms_of(sites)
    facts: list[Unit] = []
    mentions: list[Unit] = []
    subject: tuple[int, ...] = ()
    for number in range(len(tagged)):
        own = _mentions(tokens, number)
        subject = _subject(own, text, atoms_of) or (() if tagged[number].region == "global" else subject)
        for group, into in ((_grouped(own, tokens), facts), (((one.kind, [one]) for one in own), mentions)):
            for kind, members in group:
                start, end = members[0].start, max(one.end for one in members)
                atoms = _atoms(text[start:end], atoms_of) or (() if kind in KINDS[:7] else subject)
                rows = np.sort(np.concatenate([one.rows for one in members]))
                into.append(Unit(start, end, kind, number, atoms, rows))
    return Parsed(facts, mentions)


def mentioned(tokens: Sequence[Token]) -> list[list[int]]:
    """Indices of the tokens of each mention, in the order of the text.

    Tokens whose characters overlap are one mention: of "two inequivalent Ca", calcium's reach from the number on.
    """
    groups: list[list[int]] = []
    end = -1
    for index in sorted(range(len(tokens)), key=lambda index: tokens[index].start):
        if tokens[index].start < end:
            groups[-1].append(index)
        else:
            groups.append([index])
        end = max(end, tokens[index].end)
    return groups


def _mentions(tokens: Sequence[Token], sentence: int) -> list[Unit]:
    first = next((index for index, token in enumerate(tokens) if token.sentence == sentence), len(tokens))
    own = [token for token in tokens[first:] if token.sentence == sentence]
    return [Unit(min(own[row].start for row in group), max(own[row].end for row in group),
                 _kind([own[row] for row in group]), sentence, (), np.array(group) + first)
            for group in mentioned(own)]


def _kind(tokens: Sequence[Token]) -> str:
    """What a mention states by itself."""
    ids, kinds = {token.id for token in tokens}, {token.kind for token in tokens}
    if kinds & {"length", "bond"} or ids & _LENGTHS:
        return "bond length"
    if ids & _TILT or "angle" in kinds:
        return "tilt"
    if ids & _SHARED:
        return "connectivity"
    if "symmetry" in kinds:
        return "crystal system" if ids & _SYSTEMS else "space group"
    named = next((_TERMS[one] for one in ids if one in _TERMS), None)
    if named:
        return named
    if ids & _COMPONENTS:
        return "component"
    if ids & _LEADING:
        return ""
    of_kind = {"element": "formula", "prototype": "prototype", "geometry": "coordination", "neighbour": "neighbours",
               "polyhedron": "polyhedron", "shape": "polyhedron", "charge": "charge", "site": "site"}
    return next((name for kind, name in of_kind.items() if kind in kinds), "other")


def _grouped(mentions: Sequence[Unit], tokens: Sequence[Token]) -> Iterator[tuple[str, list[Unit]]]:
    """Runs of mentions that state one thing together, and what kind of thing."""
    kinds = {one.kind for one in mentions}
    run: list[Unit] = []
    kind = ""
    for one in mentions:
        own = "tilt" if "tilt" in kinds and one.kind in ("connectivity", "polyhedron", "coordination", "tilt", "") \
            else one.kind
        if own == "other" and "bond length" in kinds and all(tokens[row].kind == "count" for row in one.rows):
            own = "bond length"  # "three shorter (1.95 Å) and three longer": how many of each
        if run and kind and not _goes_on(kind, own, run):
            yield kind, run
            run, kind = [], ""
        run.append(one)
        kind = kind or own
    if run:
        yield kind or "other", run


def _goes_on(kind: str, following: str, run: Sequence[Unit]) -> bool:
    """Whether a mention belongs to the fact that has begun."""
    if kind == "connectivity":  # "edges with four equivalent TiO6 octahedra"; after its shape the next one begins
        shaped = any(one.kind == "polyhedron" for one in run)
        return following in ("connectivity", "polyhedron", "") and not (shaped and following != "polyhedron")
    if kind in ("site", "coordination"):  # "Ti(1)", then "distorted octahedral"
        return False
    return following == kind and kind in ("bond length", "tilt", "polyhedron", "prototype", "formula", "space group",
                                          "orientation", "charge")


def _atoms_of(sites: Sequence[Mapping[str, Any]] | None) -> dict[Place, tuple[int, ...]]:
    found: dict[Place, set[int]] = {}
    for site in sites or ():
        for label in (*site["labels"], 0):
            found.setdefault((site["element"], label), set()).update(site.get("atoms") or ())
    return {place: tuple(sorted(atoms)) for place, atoms in found.items()}


def _atoms(words: str, atoms_of: Mapping[Place, tuple[int, ...]]) -> tuple[int, ...]:
    """Of the labels in these words."""
    places = [(match[1], int(label)) for match in _LABEL.finditer(words) for label in match[2].split(",")]
    return tuple(sorted({atom for place in places for atom in atoms_of.get(place, ())}))


def _subject(mentions: Sequence[Unit], text: str, atoms_of: Mapping[Place, tuple[int, ...]]) -> tuple[int, ...]:
    """Atoms of the site that a sentence speaks of first."""
    for one in mentions:
        if one.kind in ("site", "charge"):  # "Ca(1)", or of texts with charges and no labels "Ca2+"
            words = text[one.start:one.end]
            bare = re.search(rf"(?<![A-Za-z])({_SYMBOL})(?![a-z(])", words)
            return _atoms(words, atoms_of) or (atoms_of.get((bare[1], 0), ()) if bare else ())
    return ()
