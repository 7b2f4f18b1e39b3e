"""What a text about a crystal states, as a set of facts, whoever wrote it.

A fact is a tuple of strings that says what it is about: a bond length belongs to its bond, its count and its site, a
neighbour to its site, a shared edge to the polyhedra that share it. Two texts say the same if their sets are equal. The
parser knows the terms of the field and several ways to say each; it is strict about what it does not know: every
number, formula, label, name and negation that it cannot place is a fact of its own (`other`), so that a text with a
stray number, or without one, is never equal.

Facts are found clause by clause (a full stop or a semicolon ends one). A label without a number of atoms before it
("Ti(1)", "Ti") is the site that this clause and the following ones speak of; "six O(1)" are its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from features.paraphrase.vocabulary import (
    COMPONENT_SHAPES,
    ELEMENTS,
    GEOMETRIES,
    ORDINALS,
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
    rf"(?P<length>(?:between )?{_NUMBER}(?: ?Å)?(?: ?[-–] ?| to | and ){_NUMBER} ?Å|{_NUMBER} ?Å)"
    rf"|(?P<angle>{_NUMBER} ?°?(?: ?[-–] ?| to | and ){_NUMBER} ?°|{_NUMBER} ?°)"
    r"|(?P<direction>\(-?\d+, ?-?\d+, ?-?\d+\))"
    rf"|(?P<sharing>{_KIND}(?:(?:, and |, | and ){_KIND})*-sharing)"
    rf"|(?P<kind>\b{_KIND}\b)"
    rf"|(?P<geometry>\b(?:{_GEOMETRY}|\d+-coordinate)(?![\w]))"
    rf"|(?P<bond>\b{_LABEL}-{_LABEL}(?![\w(]))"
    rf"|(?P<shape>\b(?:{_SHAPE})\b)"
    rf"|(?P<component>\b(?:{'|'.join(COMPONENT_SHAPES)})s?\b)"
    rf"|(?P<label>\b{_LABEL}(?![\w(\d]))"
    rf"|(?P<formula>\b(?=[A-Za-z(),.]*\d|[A-Z][a-z]?\(?[A-Z]){_FORMULA}(?![\w(]))"
    r"|(?P<dimension>\b\d-dimensional\b)"
    rf"|(?P<ordinal>\b(?:{'|'.join(ORDINALS)})\b)"
    r"|(?P<count>(?<![\w.])\d+(?![\w.]|-))"
    r"|(?P<word>\b(?:equivalent|inequivalent|distorted|shorter|longer|isolated|undistorted|non-equivalent)\b)"
    rf"|(?P<system>\b(?:{'|'.join(SYSTEMS)})\b)"
    r"|(?P<tilt>\b(?:un)?tilt\w*)"
    r"|(?P<negation>\b(?:not|no|never|without|neither|none|nor)\b|n't\b)"
    r"|(?P<loose>[^\s;,()]*\d[^\s;,()]*|(?<!^)\b[A-Z][\w-]*)")
_CLAUSE = re.compile(r"(?<=\.)\s+(?=\S)|;\s+")


@dataclass
class _Reader:
    """Where a text has got to, and what it has stated so far."""

    found: set[Fact] = field(default_factory=set)
    component: str = ""
    site: str = ""
    """Label of the site spoken of, after its ordinal where it has one."""

    def say(self, *fact: str) -> None:
        self.found.add(fact)

    def here(self) -> str:
        return f"{self.component}{self.site}"


def facts(text: str, names: Sequence[str] = ()) -> frozenset[Fact]:
    """The facts of a text. `names` are names of prototypes, such as `prototype_names` finds, to be looked for."""
    reader = _Reader()
    for name in names:  # before elements are abbreviated: Tungsten is a prototype as well
        found = re.search(rf"(?<!\w){re.escape(name)}(-like|-derived)?(?!\w)", text)
        if found:
            reader.say("prototype", name, found[1] or "")
            text = f"{text[:found.start()]}known{text[found.end():]}"
    text = normalise(text)
    for clause in _CLAUSE.split(text):
        _read(clause.strip(), reader)
    return frozenset(reader.found)


_PROTOTYPE = re.compile(r"^\S+ is (.+?)(?:-like|-derived)? structured and ")


def prototype_names(description: str) -> tuple[str, ...]:
    """Names of prototypes that a description of Robocrystallographer gives in its first sentence."""
    found = _PROTOTYPE.match(description)
    return (found[1],) if found else ()


def _read(clause: str, reader: _Reader) -> None:
    clause = re.sub(r"^[A-Z](?=[a-z]{2})", lambda m: m[0].lower(), clause)  # a word, no symbol
    heading = "space group" in clause
    if heading:
        clause = _without_space_group(clause, reader)
    mentions = [(m.lastgroup or "", m[0], m.start(), m.end()) for m in _MENTION.finditer(clause)]
    if heading:
        mentions = list(_heading(mentions, reader))
    if "inequivalent" in clause or "non-equivalent" in clause:
        mentions = list(_site_count(mentions, reader))
    elif any(kind == "ordinal" for kind, *_ in mentions):
        mentions = list(_ordinal(clause, mentions, reader))
    if any(kind == "tilt" for kind, *_ in mentions):
        mentions = list(_tilt(mentions, reader))
    _site(clause, mentions, reader)


Mention = tuple[str, str, int, int]


def _without_space_group(clause: str, reader: _Reader) -> str:
    """The symbol nearest to the words "space group" is stated and taken out: it looks like a formula."""
    place = clause.index("space group")
    symbols = [m for m in re.finditer(r"[A-Z][\w/-]*", clause) if m[0] in space_groups()]
    if not symbols:
        return clause
    nearest = min(symbols, key=lambda m: max(m.start() - place, place - m.end()))
    reader.say("space group", nearest[0])
    return clause[:nearest.start()] + clause[nearest.end():]


def _heading(mentions: list[Mention], reader: _Reader) -> Iterator[Mention]:
    """Formula and crystal system; the rest is passed on."""
    for mention in mentions:
        kind, words, *_ = mention
        if kind == "system" or words in SYSTEMS:
            reader.say("system", words)
        elif kind in ("formula", "label"):
            reader.say("formula", words)
        else:
            yield mention


def _site_count(mentions: list[Mention], reader: _Reader) -> Iterator[Mention]:
    """"There are two inequivalent Ca sites": a new element begins, and with it a new context."""
    count = next((words for kind, words, *_ in mentions if kind == "count"), "")
    label = next((words for kind, words, *_ in mentions if kind == "label"), "")
    reader.say("sites", reader.component, label, count)
    reader.site = ""
    for mention in mentions:
        if mention[1] not in (count, label, "inequivalent", "non-equivalent"):
            yield mention


def _ordinal(clause: str, mentions: list[Mention], reader: _Reader) -> Iterator[Mention]:
    """"In the first Ca site, Ca(1) ...": which of several sites."""
    place = next(i for i, mention in enumerate(mentions) if mention[0] == "ordinal")
    after = mentions[place + 1:place + 2]
    if not after or after[0][0] != "label" or not re.match(r"\W*\w*\W*site", clause[after[0][3]:]):
        yield from mentions
        return
    reader.site = f"{mentions[place][1]} {after[0][1]}: "
    yield from (mention for i, mention in enumerate(mentions) if i not in (place, place + 1))


def _tilt(mentions: list[Mention], reader: _Reader) -> Iterator[Mention]:
    """Tilts of corner-sharing octahedra."""
    angles = [words for kind, words, *_ in mentions if kind == "angle"]
    shared = {one for kind, words, *_ in mentions if kind in ("sharing", "kind")
              for one in re.findall(r"corner|edge|face", words)}
    shapes = {words[:8] for kind, words, *_ in mentions if kind in ("shape", "geometry")}  # octahedra, octahedral
    of = " ".join(sorted(shared) + sorted(shapes))
    for angle in angles:
        reader.say("tilt", reader.here(), of, _range(angle))
    untilted = any(kind == "negation" or words.startswith("untilt") for kind, words, *_ in mentions)
    if untilted or not angles:
        reader.say("tilt", reader.here(), of, "none" if untilted else "some")
    for mention in mentions:
        if mention[0] not in ("angle", "tilt", "negation", "sharing", "kind", "shape", "geometry"):
            yield mention


def _site(clause: str, mentions: list[Mention], reader: _Reader) -> None:
    """A site, its neighbours, geometry, polyhedra, what these share; bond lengths; components."""
    subject = _subject(mentions)
    if subject is not None:
        label = mentions[subject][1]
        stem = reader.site.split(": ")[0]
        if reader.site.endswith(": "):
            reader.site += label
        elif reader.site.split(": ")[-1] != label:
            reader.site = label
        reader.say("site", reader.component, stem if ": " in reader.site else "", label)
    count = kind = role = formula = bond = ""
    bonds = [words for what, words, *_ in mentions if what == "bond"]
    equivalent = distorted = False
    for index, (what, words, start, _) in enumerate(mentions):
        here = reader.here()
        if index == subject:
            continue
        if what == "count":
            count, equivalent = words, False
        elif what == "word":
            if words == "equivalent":
                equivalent = True
            elif words in ("shorter", "longer"):
                role = words
            elif words == "isolated":
                reader.say("isolated", here)
            else:
                distorted = distorted or words == "distorted"
                if words == "undistorted":
                    reader.say("undistorted", here)
        elif what == "label":
            if count:
                reader.say("neighbour", here, count, "equivalent" if equivalent else "", words)
                count, equivalent = "", False
            elif is_component(mentions, index):
                formula = words
            else:
                reader.say("other", here, words)
        elif what == "formula":
            formula = words
            if not is_formula(words):
                reader.say("other", here, words)
        elif what == "shape":
            shape = SHAPES[words]
            if count:
                reader.say("shared", here, kind, count, "equivalent" if equivalent else "", formula, shape)
            else:
                reader.say("polyhedron", here, formula, shape)
            count, equivalent, formula = "", False, ""
        elif what == "component":
            single = words.rstrip("s") if words.rstrip("s") in COMPONENT_SHAPES else words
            if not formula:
                continue
            if re.search(r"\bin (?:the|each|\d+ of the)\b[^,;]*$", clause[:start], re.IGNORECASE) or \
                    (re.match(r"(?:In|Within) ", clause) and "consist" not in clause):
                reader.component = f"{count} {formula} {single} | "
                reader.site = "" if subject is None else reader.site
                reader.say("in component", reader.component)
            else:
                reader.say("component", count, formula, single)
            count, formula = "", ""
        elif what == "geometry":
            reader.say("geometry", here, words)
        elif what == "sharing":
            for one in re.findall(r"corner|edge|face", words):
                reader.say("sharing", here, one)
        elif what == "kind":
            kind = words.rstrip("s")
        elif what == "bond":
            bond = words
        elif what == "length":
            reader.say("length", here, bond or (bonds[0] if len(bonds) == 1 else ""), count, role, _range(words))
            count = role = ""
        elif what == "angle":
            reader.say("angle", here, _range(words))
        elif what == "dimension":
            reader.say("dimension", words)
        elif what == "direction":
            reader.say("direction", words.replace(" ", ""))
        elif what == "negation":
            if not any(w == "isolated" for _, w, *_ in mentions):
                reader.say("negation", here)
        elif what in ("system", "ordinal", "loose", "tilt"):
            reader.say("other", here, words.rstrip(".:"))
    if distorted:
        reader.say("distorted", reader.here())
    if count:
        reader.say("other", reader.here(), count)


def _subject(mentions: list[Mention]) -> int | None:
    """Index of the site that a clause speaks of: the first label that nobody counts."""
    counted = False
    for index, (what, *_) in enumerate(mentions):
        if what == "count":
            counted = True
        elif what == "label":
            if not counted and not is_component(mentions, index):
                return index
            counted = False
        elif what in ("shape", "component", "length"):
            counted = False
    return None


def is_component(mentions: list[Mention], index: int) -> bool:
    """Whether a label is the formula of a component or of a polyhedron ("C sheets")."""
    following = mentions[index + 1:index + 2]
    return bool(following) and following[0][0] in ("component", "shape") and "(" not in mentions[index][1]


def _range(words: str) -> str:
    """A value or a range with its unit, written in one way."""
    unit = words[-1]
    return "-".join(re.findall(_NUMBER, words)) + unit
