"""From the sentences of a description to tokens.

A number is never a token of its own where it belongs to something: a count is the value of what is counted ("six O(1)"
is one token, oxygen with the value 6), a length the value of the token `length`. Labels of sites are names and say
nothing: of "Fe3+(2)" the element stays, and its charge. Words that merely join facts are dropped.

Each token knows the characters that it comes from: those of the whole mention, so that the elements of a formula, the
ends of a bond, the parts of a space group's symbol and the words of a prototype's name each share one place; with a
count, all from the count to what is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from features.paraphraser.vocabulary import (
    COMPONENT_SHAPES,
    ELEMENTS,
    GEOMETRIES,
    NORMAL_FORM,
    ORDINALS,
    PLAIN,
    SHAPES,
    SYSTEMS,
    space_groups,
)
from features.sentences import Sentence
from features.words.traced import Span, Traced
from features.words.vocabulary import (
    ATOMIC_NUMBERS,
    SYMMETRY_PART,
    id_of_symmetry,
    id_of_term,
    id_of_word,
)


class Token(NamedTuple):
    """A token, the number that belongs to it, its role, the sentence it stands in, and where it comes from."""

    id: int
    value: float | None
    """Å, degrees, elementary charges, a number of things, or of formulas a share; `None` where there is no number."""
    kind: str
    sentence: int
    start: int
    """First character of the mention in the text."""
    end: int
    """Character behind the last."""


def _any(words: Sequence[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))


_SYMBOL = _any(list(ELEMENTS))
_LABEL = rf"(?:{_SYMBOL})(?:[\d.]*[+-](?![\w(]))?(?:\(\d+(?:,\d+)*\))?"
_CHARGED = rf"(?:{_SYMBOL})(?:[\d.]*[+-])?(?:\(\d+(?:,\d+)*\))?"
_FORMULA = r"(?:\(?[A-Z][a-z]?(?:\(\d+(?:,\d+)*\))?[\d.]*(?:\)[\d.]*)?)+"
_NUMBER = r"\d+(?:\.\d+)?"
_MENTION = re.compile(
    rf"(?P<length>(?:(?P<low>{_NUMBER})(?: ?Å)? ?(?:-|to|and) ?)?(?P<high>{_NUMBER}) ?Å)"
    rf"|(?P<angle>(?:(?P<least>{_NUMBER}) ?°? ?(?:-|to|and) ?)?(?P<most>{_NUMBER}) ?°)"
    r"|(?P<direction>\(-?\d+, ?-?\d+, ?-?\d+\))"
    r"|(?P<sharing>(?<![\w-])(?i:corner|edge|face)s?(?![a-z]))"
    rf"|(?P<geometry>(?<![\w-])(?:{_any(GEOMETRIES)})(?![\w-]))"
    r"|(?P<coordination>(?<![\w-])\d+-coordinate(?![\w-]))"
    r"|(?P<dimension>(?<![\w-])\d-dimensional(?![\w-]))"
    rf"|(?P<bond>(?<![\w-])(?P<one>{_CHARGED})-(?P<other>{_CHARGED})(?![\w(]))"
    rf"|(?P<shape>(?<![\w-])(?:{_any(list(SHAPES))})(?![\w-]))"
    rf"|(?P<component>(?<![\w-])(?:{_any(COMPONENT_SHAPES)})s?(?![\w-]))"
    rf"|(?P<label>(?<![\w-])(?:{_LABEL})(?![\w(\d-]))"
    rf"|(?P<formula>(?<![\w-])(?=[A-Za-z(),.]*\d|[A-Z][a-z]?\(?[A-Z]){_FORMULA}(?![\w(-]))"
    rf"|(?P<ordinal>(?<![\w-])(?:{_any(ORDINALS)})(?![\w-]))"
    r"|(?P<count>(?<![\w.-])\d+(?![\w-]|[.,]\d))"
    rf"|(?P<system>(?<![\w-])(?:{_any(SYSTEMS)})(?![\w-]))"
    r"|(?P<tilt>(?<![\w-])(?:un)?tilt(?:s|ed|ing)?(?![\w-]))"
    r"|(?P<negation>(?<![\w-])(?:not|no|without)(?![\w-]))"
    r"|(?P<term>(?<![\w-])(?i:inequivalent|distorted|shorter|longer|isolated|mixture)(?![\w-]))"
    r"|(?P<word>[A-Za-z][\w'-]*)")
_PARTS = re.compile(rf"(?P<symbol>{_SYMBOL})(?:\(\d+(?:,\d+)*\))?(?P<amount>[\d.]*)|(?P<open>\()|\)(?P<times>[\d.]*)")
_CHARGE = re.compile(r"[A-Z][a-z]?(?P<size>[\d.]*)(?P<sign>[+-])")
_DROPPED = PLAIN | {"equivalent", "both", "single", "lengths"}


def tokenize(text: str, sentences: Sequence[Sentence], prototype: str | None = None) -> list[Token]:
    """The tokens of a text, sentence by sentence.

    Args:
        text: a description or a paraphrase of it.
        sentences: character ranges, in order.
        prototype: name of the prototype that the description gives: it is looked for before elements are abbreviated,
            since Tungsten is a prototype as well.
    """
    tokens: list[Token] = []
    for number, sentence in enumerate(sentences):
        reader = _Sentence(Traced.of(text, sentence.start, sentence.end), prototype, sentence.region == "global")
        tokens += (Token(*said, number, *span) for said, span in reader.read())
    return tokens


def columns(tokens: Sequence[Token], sentences: Sequence[Sentence]) -> dict[str, list[Any]]:
    """A text's columns of the table `text_tokens`."""
    return {
        "token_ids": [token.id for token in tokens],
        "token_values": [token.value for token in tokens],
        "token_kinds": [token.kind for token in tokens],
        "token_sentences": [token.sentence for token in tokens],
        "regions": [sentence.region for sentence in sentences],
    }


def amounts(formula: str) -> dict[str, float]:
    """Amount of each element of a formula such as `Mg3(AlO2)4`; labels of sites in it are skipped."""
    stack: list[dict[str, float]] = [{}]
    for part in _PARTS.finditer(formula):
        if part["open"]:
            stack.append({})
        elif part["symbol"]:
            stack[-1][part["symbol"]] = stack[-1].get(part["symbol"], 0.0) + _amount(part["amount"])
        elif len(stack) > 1:
            for symbol, amount in stack.pop().items():
                stack[-1][symbol] = stack[-1].get(symbol, 0.0) + amount * _amount(part["times"])
    result: dict[str, float] = {}
    for level in stack:
        for symbol, amount in level.items():
            result[symbol] = result.get(symbol, 0.0) + amount
    return result


def _amount(digits: str) -> float:
    return float(digits.strip(".")) if digits.strip(".") else 1.0


Said = tuple[int, float | None, str]


class _Sentence:
    """One sentence, read from the left."""

    def __init__(self, words: Traced, prototype: str | None, heading: bool) -> None:
        self.before: list[tuple[Said, Span]] = []
        self.heading = heading
        if prototype and heading:
            words = self._without_prototype(words, prototype)
        for pattern, by in NORMAL_FORM:
            words = words.sub(pattern, by)
        if "space group" in words.text:
            words = self._without_space_group(words)
        self.words = words
        self.place: Span = (0, 0)
        """Of the next token, in `words`; it begins at a count that the token takes."""
        self.count: re.Match[str] | None = None
        self.named = self.inequivalent = False

    def _without_prototype(self, words: Traced, prototype: str) -> Traced:
        """The prototype's name becomes tokens and is taken out: it may look like an element or a formula."""
        match = re.search(rf"(?<![\w-]){re.escape(prototype)}(-like|-derived)?(?![\w-])", words.text)
        if match is None:
            return words
        ids = [id_of_word(word) for word in prototype.split()] + ([id_of_term(match[1][1:])] if match[1] else [])
        self.before += [((token, None, "prototype"), words.span(*match.span())) for token in ids]
        return words.replaced(*match.span(), " known ")

    def _without_space_group(self, words: Traced) -> Traced:
        """The symbol nearest to the words "space group" becomes tokens and is taken out: it looks like a formula."""
        place = words.text.index("space group")
        symbols = [m for m in re.finditer(r"(?<![\w-])[A-Z][\w/-]*", words.text) if m[0] in space_groups()]
        if not symbols:
            return words
        nearest = min(symbols, key=lambda m: max(m.start() - place, place - m.end()))
        self.before += [((id_of_symmetry(part), None, "symmetry"), words.span(*nearest.span()))
                        for part in SYMMETRY_PART.findall(nearest[0])]
        return words.replaced(*nearest.span(), "")

    def read(self) -> Iterator[tuple[Said, Span]]:
        """Each token, and the characters of the text that it comes from."""
        yield from self.before
        for mention in _MENTION.finditer(self.words.text):
            self.place = mention.span()
            for said in getattr(self, f"_{mention.lastgroup}")(mention):
                yield said, self.words.span(*self.place)
        for said in self._left_over():
            yield said, self.words.span(*self.place)

    def _left_over(self) -> Iterator[Said]:
        """A count of which nobody says what it counts."""
        if self.count is not None:
            self.place = self.count.span()
            yield id_of_term("count"), float(self.count[0]), "count"
        self.count = None

    def _taken(self) -> float | None:
        count, self.count = self.count, None
        if count is None:
            return None
        self.place = count.start(), self.place[1]
        return float(count[0])

    def _count(self, mention: re.Match[str]) -> Iterator[Said]:
        yield from self._left_over()
        self.count = mention

    def _range(self, low: str | None, high: str, kind: str) -> Iterator[Said]:
        if low is None:
            yield id_of_term(kind), float(high), kind
        else:
            yield id_of_term("from"), float(low), kind
            yield id_of_term("to"), float(high), kind

    def _length(self, mention: re.Match[str]) -> Iterator[Said]:
        yield from self._range(mention["low"], mention["high"], "length")

    def _angle(self, mention: re.Match[str]) -> Iterator[Said]:
        yield from self._range(mention["least"], mention["most"], "angle")

    def _direction(self, _: re.Match[str]) -> Iterator[Said]:
        yield id_of_term("direction"), None, "term"

    def _sharing(self, mention: re.Match[str]) -> Iterator[Said]:
        yield id_of_term(mention[0].lower().rstrip("s")), None, "term"

    def _geometry(self, mention: re.Match[str]) -> Iterator[Said]:
        yield id_of_term(mention[0]), None, "geometry"

    def _coordination(self, mention: re.Match[str]) -> Iterator[Said]:
        yield id_of_term("coordinate"), float(mention[0].split("-")[0]), "geometry"

    def _dimension(self, mention: re.Match[str]) -> Iterator[Said]:
        yield id_of_term("dimensional"), float(mention[0][0]), "term"

    def _bond(self, mention: re.Match[str]) -> Iterator[Said]:
        for end in (mention["one"], mention["other"]):
            yield ATOMIC_NUMBERS[_symbol(end)], None, "bond"

    def _shape(self, mention: re.Match[str]) -> Iterator[Said]:
        yield id_of_term(SHAPES[mention[0]]), self._taken(), "shape"

    def _component(self, mention: re.Match[str]) -> Iterator[Said]:
        yield id_of_term(mention[0].removesuffix("s")), self._taken(), "term"

    def _label(self, mention: re.Match[str]) -> Iterator[Said]:
        if self.heading and "(" not in mention[0]:
            yield from self._formula(mention)
            return
        number = ATOMIC_NUMBERS[_symbol(mention[0])]
        if self.named:  # "In the second Ca site, Ca(2)": said again at once
            self.named = False
        else:
            bound = self.count is not None and not self.inequivalent
            yield number, self._taken(), "neighbour" if bound else "site"
            charge = _CHARGE.match(mention[0])
            if charge:
                size = _amount(charge["size"])
                yield id_of_term("charge"), size if charge["sign"] == "+" else -size, "charge"

    def _formula(self, mention: re.Match[str]) -> Iterator[Said]:
        parts = amounts(mention[0])
        whole = sum(parts.values()) if self.heading else 1.0
        for symbol in sorted(parts, key=ATOMIC_NUMBERS.__getitem__):
            yield ATOMIC_NUMBERS[symbol], parts[symbol] / whole, "element" if self.heading else "polyhedron"

    def _ordinal(self, _: re.Match[str]) -> Iterator[Said]:
        self.named = True
        return iter(())

    def _system(self, mention: re.Match[str]) -> Iterator[Said]:
        yield id_of_term(mention[0]), None, "symmetry"

    def _tilt(self, mention: re.Match[str]) -> Iterator[Said]:
        if mention[0].startswith("un"):
            yield id_of_term("not"), None, "term"
        yield id_of_term("tilt"), None, "term"

    def _negation(self, _: re.Match[str]) -> Iterator[Said]:
        yield id_of_term("not"), None, "term"

    def _term(self, mention: re.Match[str]) -> Iterator[Said]:
        word = mention[0].lower()
        self.inequivalent = word == "inequivalent"
        yield id_of_term(word), self._taken() if word in ("shorter", "longer") else None, "term"

    def _word(self, mention: re.Match[str]) -> Iterator[Said]:
        if mention[0].lower() not in _DROPPED:
            yield id_of_word(mention[0]), None, "word"


def _symbol(label: str) -> str:
    match = re.match(_SYMBOL, label)
    if match is None:
        raise ValueError(f"{label} is no label of a site")
    return match[0]
