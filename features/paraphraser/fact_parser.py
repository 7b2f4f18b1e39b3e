"""What a text about a crystal states, as a set of facts, whoever wrote it.

A fact is a tuple of strings that says what it is about: a bond length belongs to its bond, its count and its site, a
neighbour to its site, a shared edge to the polyhedra that share it. Two texts say the same if their sets are equal. The
parser knows the terms of the field and several ways to say each; it is strict about what it does not know: every
number, formula, label and name that it cannot place, and every word beyond the few that merely join facts (`PLAIN`), is
a fact of its own (`other`), so that nothing can be claimed, weakened or turned round unseen.

Facts are read clause by clause (a full stop or a semicolon ends one). A label without a number of atoms before it
("Ti(1)", "Ti") is the site that this clause and the following ones speak of; "six O(1)" are its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from features.paraphraser.vocabulary import (
    COMPONENT_SHAPES,
    ELEMENTS,
    GEOMETRIES,
    ORDINALS,
    PLAIN,
    SHAPES,
    SYSTEMS,
    is_formula,
    normalise,
    space_groups,
)

Fact = tuple[str, ...]

_SYMBOL = "|".join(sorted(ELEMENTS, key=lambda s: (-len(s), s)))
_LABEL = rf"(?:{_SYMBOL})(?:[\d.]*[+-](?![\w(]))?(?:\(\d+(?:,\d+)*\))?"
_FORMULA = r"(?:\(?[A-Z][a-z]?(?:\(\d+(?:,\d+)*\))?[\d.]*(?:\)[\d.]*)?)+"
_NUMBER = r"\d+(?:\.\d+)?"
_SHAPE = "|".join(sorted(SHAPES, key=lambda s: (-len(s), s)))
_GEOMETRY = "|".join(re.escape(name) for name in sorted(GEOMETRIES, key=lambda s: (-len(s), s)))
_KIND = r"(?:corner|edge|face)s?"

_MENTION = re.compile(
    rf"(?P<length>(?:between {_NUMBER}(?: ?Å)? and |{_NUMBER}(?: ?Å)?(?: ?- ?| to )|){_NUMBER} ?Å(?![\w²³^⁻/]))"
    rf"|(?P<angle>(?:between {_NUMBER} ?°? and |{_NUMBER} ?°?(?: ?- ?| to )|){_NUMBER} ?°(?!\w))"
    r"|(?P<direction>\(-?\d+, ?-?\d+, ?-?\d+\))"
    rf"|(?P<sharing>(?<![\w-]){_KIND}(?:(?:, and |, | and ){_KIND})*-sharing)"
    rf"|(?P<kind>(?<![\w-]){_KIND}(?![\w-]))"
    rf"|(?P<geometry>(?<![\w-])(?:{_GEOMETRY}|\d+-coordinate)(?![\w-]))"
    rf"|(?P<bond>(?<![\w-]){_LABEL}-{_LABEL}(?![\w(-]))"
    rf"|(?P<shape>(?<![\w-])(?:{_SHAPE})(?![\w-]))"
    rf"|(?P<component>(?<![\w-])(?:{'|'.join(COMPONENT_SHAPES)})s?(?![\w-]))"
    rf"|(?P<label>(?<![\w-]){_LABEL}(?![\w(\d-]))"
    rf"|(?P<formula>(?<![\w-])(?=[A-Za-z(),.]*\d|[A-Z][a-z]?\(?[A-Z]){_FORMULA}(?![\w(-]))"
    r"|(?P<dimension>(?<![\w-])\d-dimensional(?![\w-]))"
    rf"|(?P<ordinal>(?<![\w-])(?:{'|'.join(ORDINALS)})(?![\w-]))"
    r"|(?P<count>(?<![\w.-])\d+(?![\w-]|[.,]\d))"
    r"|(?P<term>(?<![\w-])(?:equivalent|inequivalent|distorted|shorter|longer|isolated|mixture)(?![\w-]))"
    rf"|(?P<system>(?<![\w-])(?:{'|'.join(SYSTEMS)})(?![\w-]))"
    r"|(?P<tilt>(?<![\w-])(?:un)?tilt(?:s|ed|ing)?(?![\w-]))"
    r"|(?P<negation>(?<![\w-])(?:not|no|without)(?![\w-]))"
    r"|(?P<loose>[^\s;,()]*\d[^\s;,()]*|[A-Za-z][\w'-]*|[~<>±≈≠²³^%])")
_CLAUSE = re.compile(r"(?<=\.)\s+(?=\S)|;\s+(?!(?:and )?(?:\d|\(|(?:an? )?(?:corner|edge|face)))")
"""A full stop; a semicolon, unless it stands between members of a list that have commas of their own."""


@dataclass
class _Reader:
    """Where a text has got to, and what it has stated so far."""

    stated: set[Fact] = field(default_factory=set)
    component: str = ""
    site: str = ""
    """Label of the site spoken of, after its ordinal where it has one."""

    def say(self, *fact: str) -> None:
        self.stated.add(fact)

    def here(self) -> str:
        return f"{self.component}{self.site}"


def facts(text: str, names: Sequence[str] = ()) -> frozenset[Fact]:
    """The facts of a text. `names` are names of prototypes, such as `prototype_names` finds, to be looked for."""
    reader = _Reader()
    for name in names:  # before elements are abbreviated: Tungsten is a prototype as well
        match = re.search(rf"(?<![\w-]){re.escape(name)}(-like|-derived)?(?![\w-])", text)
        if match:
            reader.say("prototype", name, match[1] or "")
            text = f"{text[:match.start()]}known{text[match.end():]}"
    for clause in _CLAUSE.split(normalise(text)):
        _read(clause.strip(), reader)
    return frozenset(reader.stated)


_PROTOTYPE = re.compile(r"^\S+ is (.+?)(?:-like|-derived)? structured and ")


def prototype_names(description: str) -> tuple[str, ...]:
    """Names of prototypes that a description of Robocrystallographer gives in its first sentence."""
    match = _PROTOTYPE.match(description)
    return (match[1],) if match else ()


@dataclass(frozen=True)
class _Mention:
    kind: str
    words: str
    start: int
    end: int


def _read(clause: str, reader: _Reader) -> None:
    first = re.match(r"[A-Z][a-z-]*(?![\w(])", clause)
    if first and first[0] not in ELEMENTS and _is_known(first[0].lower()):
        clause = clause[0].lower() + clause[1:]
    heading = "space group" in clause
    if heading:
        clause = _without_space_group(clause, reader)
    mentions = [_Mention(m.lastgroup or "", m[0], m.start(), m.end()) for m in _MENTION.finditer(clause)
                if m.lastgroup != "loose" or m[0].rstrip(".:") not in PLAIN]
    if heading:
        mentions = list(_heading(mentions, reader))
    if any(mention.words == "inequivalent" for mention in mentions):
        mentions = list(_site_count(mentions, reader))
    elif any(mention.kind == "ordinal" for mention in mentions):
        mentions = list(_ordinal(clause, mentions, reader))
    if any(mention.kind == "tilt" for mention in mentions):
        mentions = list(_tilt(mentions, reader))
    _Clause(clause, mentions, reader).read()


def _is_known(word: str) -> bool:
    mention = _MENTION.match(word)
    return word in PLAIN or (mention is not None and mention.lastgroup != "loose" and mention.end() == len(word))


def _without_space_group(clause: str, reader: _Reader) -> str:
    """The symbol nearest to the words "space group" is stated and taken out: it looks like a formula."""
    place = clause.index("space group")
    symbols = [m for m in re.finditer(r"(?<![\w-])[A-Z][\w/-]*", clause) if m[0] in space_groups()]
    if not symbols:
        return clause
    nearest = min(symbols, key=lambda m: max(m.start() - place, place - m.end()))
    reader.say("space group", nearest[0])
    return clause[:nearest.start()] + clause[nearest.end():]


def _heading(mentions: list[_Mention], reader: _Reader) -> Iterator[_Mention]:
    """Formula and crystal system; the rest is passed on."""
    for mention in mentions:
        if mention.kind == "system":
            reader.say("system", mention.words)
        elif mention.kind in ("formula", "label"):
            reader.say("formula", mention.words)
        else:
            yield mention


def _site_count(mentions: list[_Mention], reader: _Reader) -> Iterator[_Mention]:
    """"There are two inequivalent Ca sites": a new element begins, and with it a new context."""
    count = next((m for m in mentions if m.kind == "count"), None)
    label = next((m for m in mentions if m.kind == "label"), None)
    reader.say("sites", reader.component, label.words if label else "", count.words if count else "")
    reader.site = ""
    yield from (m for m in mentions if m not in (count, label) and m.words != "inequivalent")


def _ordinal(clause: str, mentions: list[_Mention], reader: _Reader) -> Iterator[_Mention]:
    """"In the first Ca site, Ca(1) ...": which of several sites."""
    place = next(i for i, mention in enumerate(mentions) if mention.kind == "ordinal")
    after = mentions[place + 1:place + 2]
    if not after or after[0].kind != "label" or not re.match(r"\W*sites?\b", clause[after[0].end:]):
        yield from mentions
        return
    reader.site = f"{mentions[place].words} {after[0].words}: "
    yield from (mention for i, mention in enumerate(mentions) if i not in (place, place + 1))


def _tilt(mentions: list[_Mention], reader: _Reader) -> Iterator[_Mention]:
    """Tilts of corner-sharing octahedra; a doubled negation is not read."""
    angles = [m.words for m in mentions if m.kind == "angle"]
    shared = {one for m in mentions if m.kind in ("sharing", "kind")
              for one in re.findall(r"corner|edge|face", m.words)}
    shapes = {m.words[:8] for m in mentions if m.kind in ("shape", "geometry")}  # octahedra, octahedral
    of = " ".join(sorted(shared) + sorted(shapes))
    for angle in angles:
        reader.say("tilt", reader.here(), of, _range(angle))
    denied = sum(m.kind == "negation" or m.words.startswith("untilt") for m in mentions)
    if denied or not angles:
        reader.say("tilt", reader.here(), of, "none" if denied == 1 else f"denied {denied} times")
    yield from (m for m in mentions
                if m.kind not in ("angle", "tilt", "negation", "sharing", "kind", "shape", "geometry"))


class _Clause:
    """A site, its neighbours, geometry, polyhedra, what these share; bond lengths; components. Read from the left."""

    def __init__(self, text: str, mentions: list[_Mention], reader: _Reader) -> None:
        self.text, self.mentions, self.reader = text, mentions, reader
        self.count = self.role = self.kind = self.formula = self.bond = ""
        self.equivalent = self.distorted = self.kind_placed = False
        bonds = [m.words for m in mentions if m.kind == "bond"]
        self.only_bond = bonds[0] if len(bonds) == 1 else ""

    def say(self, kind: str, *rest: str) -> None:
        """A fact about the site spoken of."""
        self.reader.say(kind, self.reader.here(), *rest)

    def read(self) -> None:
        """State what the clause says."""
        subject = self._subject()
        if subject is not None:
            self._open(self.mentions[subject].words)
        for index, mention in enumerate(self.mentions):
            if index != subject:
                getattr(self, f"_{mention.kind}")(mention, index)
        self._place_kind()
        if self.distorted:
            self.say("distorted", "")
        for left in (self.count, self.role):
            if left:
                self.say("other", left)

    def _subject(self) -> int | None:
        """Index of the site that the clause speaks of: the first label that nobody counts."""
        counted = False
        for index, mention in enumerate(self.mentions):
            if mention.kind == "count":
                counted = True
            elif mention.kind == "label":
                if not counted and not self._is_formula_of_something(index):
                    return index
                counted = False
            elif mention.kind in ("shape", "component", "length"):
                counted = False
        return None

    def _open(self, label: str) -> None:
        reader = self.reader
        if reader.site.endswith(": "):
            reader.site += label
        elif reader.site.split(": ")[-1] != label:
            reader.site = label
        self.say("site")

    def _is_formula_of_something(self, index: int) -> bool:
        """Whether a label is the formula of a component or of a polyhedron ("C sheets")."""
        following = self.mentions[index + 1:index + 2]
        return bool(following) and following[0].kind in ("component", "shape") and "(" not in self.mentions[index].words

    def _count(self, mention: _Mention, _: int) -> None:
        if self.count:
            self.say("other", self.count)
        self.count, self.equivalent = mention.words, False

    def _term(self, mention: _Mention, index: int) -> None:
        if mention.words == "equivalent":
            self.equivalent = True
        elif mention.words in ("shorter", "longer"):
            self.role = mention.words
        elif mention.words == "distorted":
            self.distorted = True
        elif index and self.mentions[index - 1].kind == "negation":
            self.say("other", f"not {mention.words}")
        else:
            self.say(mention.words)

    def _label(self, mention: _Mention, index: int) -> None:
        if self._is_formula_of_something(index):
            self.formula = mention.words
        elif self.count:
            self.say("neighbour", self._take_count(), mention.words)
        else:
            self.say("other", mention.words)

    def _take_count(self) -> str:
        counted = f"{self.count} equivalent" if self.equivalent else self.count
        self.count, self.equivalent = "", False
        return counted

    def _formula(self, mention: _Mention, _: int) -> None:
        self.formula = mention.words
        if not is_formula(mention.words):
            self.say("other", mention.words)

    def _shape(self, mention: _Mention, _: int) -> None:
        shape = SHAPES[mention.words]
        if self.count:
            self.say("shared", self.kind, self._take_count(), self.formula, shape)
            self.kind_placed = True
        else:
            self.say("polyhedron", self.formula, shape)
        self._bind_distorted(f"{self.formula} {shape}")
        self.formula = ""

    def _bind_distorted(self, to: str) -> None:
        if self.distorted:
            self.say("distorted", to)
        self.distorted = False

    def _geometry(self, mention: _Mention, _: int) -> None:
        self.say("geometry", mention.words)
        self._bind_distorted(mention.words)

    def _component(self, mention: _Mention, _: int) -> None:
        single = mention.words.removesuffix("s")
        if not self.formula:
            self.say("other", mention.words)
        elif re.search(r"\bin (?:the|each|\d+ of the)\b[^,;]*$", self.text[:mention.start]):
            self.reader.component = f"{self.count} {self.formula} {single} | "
            self.reader.site = self.reader.site.split(": ")[-1]
            self.say("in component")
        else:
            self.reader.say("component", self.count, self.formula, single)
        self.count = self.formula = ""

    def _sharing(self, mention: _Mention, _: int) -> None:
        for one in re.findall(r"corner|edge|face", mention.words):
            self.say("sharing", one)

    def _kind(self, mention: _Mention, _: int) -> None:
        self._place_kind()
        self.kind, self.kind_placed = mention.words.rstrip("s"), False

    def _place_kind(self) -> None:
        """Corners, edges or faces of which nobody says with how many polyhedra they are shared."""
        if self.kind and not self.kind_placed:
            self.say("sharing", self.kind)

    def _bond(self, mention: _Mention, _: int) -> None:
        self.bond = mention.words

    def _length(self, mention: _Mention, _: int) -> None:
        self.say("length", self.bond or self.only_bond, self.count, self.role, _range(mention.words))
        self.count = self.role = ""

    def _angle(self, mention: _Mention, _: int) -> None:
        self.say("angle", _range(mention.words))

    def _dimension(self, mention: _Mention, _: int) -> None:
        self.reader.say("dimension", mention.words)

    def _direction(self, mention: _Mention, _: int) -> None:
        self.reader.say("direction", mention.words.replace(" ", ""))

    def _negation(self, _mention: _Mention, _: int) -> None:
        self.say("negation")

    def _loose(self, mention: _Mention, _: int) -> None:
        self.say("other", mention.words.rstrip(".:"))

    _system = _ordinal = _tilt = _loose


def _range(words: str) -> str:
    """A value or a range with its unit, written in one way."""
    return "-".join(re.findall(_NUMBER, words)) + words[-1]
