"""Rules that change the words of a description and none of its facts.

Each rule knows one kind of sentence that Robocrystallographer writes and a few other ways to say the same. Numbers,
formulas, site labels and space groups are carried over as they stand. `facts` lists what a sentence states; a
rewording that does not state exactly the same is not used.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_SITE = r"(?P<site>\S+)"
_PREFIX = r"(?P<prefix>(?:In the \w+(?:-\w+)* \S+ site, )?)"
_BOND = r"(?P<bond>\S+-\S+)"

RULES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple((re.compile(pattern), ways) for pattern, ways in (
    (r"(?P<f>\S+) is (?P<m>.+) structured and crystallizes in the (?P<c>\w+) (?P<g>\S+) space group\.", (
        "{f} adopts the {m} structure and has the {c} space group {g}.",
        "With the {c} space group {g}, {f} takes the {m} structure.",
        "The crystal structure of {f} is {m}, in the {c} {g} space group.",
        "{f}, which belongs to the {c} space group {g}, is of {m} type.",
    )),
    (r"(?P<f>\S+) crystallizes in the (?P<c>\w+) (?P<g>\S+) space group\.", (
        "The space group of {f} is {g}, which is {c}.",
        "{f} has a {c} crystal structure with space group {g}.",
        "Crystals of {f} are {c}, and their space group is {g}.",
    )),
    (r"The structure consists of (?P<x>.+)\.", (
        "The structure is made up of {x}.",
        "The crystal is built from {x}.",
        "{x} make up the structure.",
    )),
    (r"The structure is (?P<d>\w+)-dimensional and consists of (?P<x>.+)\.", (
        "Built from {x}, the structure is {d}-dimensional.",
        "The {d}-dimensional structure is made up of {x}.",
    )),
    (r"There are (?P<n>[\w-]+) inequivalent (?P<e>\S+) sites\.", (
        "{e} occupies {n} inequivalent sites.",
        "The structure has {n} inequivalent sites of {e}.",
        "{n} inequivalent {e} sites exist.",
    )),
    (_PREFIX + _SITE + r" is bonded in (?P<a>an?) (?P<g>.+) geometry to (?P<x>.+)\.", (
        "{prefix}{site} has {a} {g} coordination by {x}.",
        "{prefix}the neighbors of {site} are {x}, in {a} {g} arrangement.",
        "{prefix}{site} is coordinated by {x} in {a} {g} geometry.",
        "{prefix}{x} surround {site} in {a} {g} geometry.",
    )),
    (_PREFIX + _SITE + r" is bonded to (?P<x>.+) to form (?P<p>.+)\.", (
        "{prefix}{site} forms {p}, being bonded to {x}.",
        "{prefix}bonded to {x}, {site} forms {p}.",
        "{prefix}{site} is coordinated by {x}, which gives {p}.",
        "{prefix}bonds of {site} with {x} make up {p}.",
    )),
    (r"The " + _BOND + r" bond length is (?P<d>[\d.]+ Å)\.", (
        "The {bond} bond measures {d}.",
        "The length of the {bond} bond is {d}.",
        "The {bond} bond is {d} long.",
    )),
    (r"(?P<q>All|Both) " + _BOND + r" bond lengths are (?P<d>[\d.]+ Å)\.", (
        "{q} {bond} bonds measure {d}.",
        "{q} {bond} bonds are {d} long.",
        "{q} bonds of type {bond} have a length of {d}.",
    )),
    (r"There (?:is|are) (?P<n>[\w-]+) shorter \((?P<d>[\d.]+ Å)\) and (?P<m>[\w-]+) longer \((?P<e>[\d.]+ Å)\) "
     + _BOND + r" bond lengths?\.", (
        "The {bond} bonds differ: {n} shorter ({d}) and {m} longer ({e}).",
        "The lengths of {bond} bonds are {d} for {n} shorter and {e} for {m} longer.",
        "Among {bond} bonds, {m} longer ({e}) stand beside {n} shorter ({d}).",
    )),
    (r"There are a spread of " + _BOND + r" bond distances ranging from (?P<r>[\d.]+-[\d.]+ Å)\.", (
        "{bond} bonds have lengths in the range {r}.",
        "The lengths of {bond} bonds are spread over {r}.",
        "The {bond} distances lie between the limits {r}.",
    )),
    (r"The corner-sharing octahedra are not tilted\.", (
        "There is no tilt of the corner-sharing octahedra.",
        "Corner-sharing octahedra stand side by side without tilt.",
    )),
    (r"The corner-sharing octahedral tilt angles (?P<v>are|range from) (?P<d>[\d.°-]+)\.", (
        "Corner-sharing octahedra have tilt angles that {v} {d}.",
        "For the corner-sharing octahedral network, tilt angles {v} {d}.",
    )),
))

_TERMS = re.compile(
    # counts
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    r"eighteen|nineteen|twenty|thirty|forty|fifty|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)\b"
    # and the field's terms, by their stems
    r"|(?:in)?equivalent|distorted|shorter|longer|corner|edge|face|tilt|sheet|ribbon|cluster|framework|linear|planar|"
    r"angular|tetrahedr|octahedr|cuboctahedr|bipyramid|pyramid|cubic|cube|square|trigonal|tetragonal|hexagonal|"
    r"orthorhombic|monoclinic|triclinic|pentagonal|body-centered|mixture|dimensional|direction"
)
_PLAIN = frozenset({"the", "there", "all", "both", "with", "crystals", "built", "bonded", "bonds", "among", "for",
                    "corner", "structure", "crystal"})
"""Words a sentence may open with that state nothing."""
_TOKEN = re.compile(r"[^\s,;()]+(?:\(\d+\))?(?:-[^\s,;()]+(?:\(\d+\))?)?")
_NEGATION = re.compile(r"\b(?:not|no|without)\b", re.IGNORECASE)


def facts(text: str) -> Counter[str]:
    """What a text states, as a multiset: numbers, formulas, labels, names, space groups, counts, the field's terms."""
    found: Counter[str] = Counter()
    for token in _TOKEN.findall(text):
        word = token.rstrip(".:")
        low = word.lower()
        terms = [term for part in low.split("-") if (term := _TERMS.match(part))]
        found.update(term[0] for term in terms)
        if any(ch.isdigit() for ch in word) or (word != low and not terms and low not in _PLAIN):
            found[word] += 1
    found["not"] = len(_NEGATION.findall(text))
    return +found


def reword(sentence: str, salt: str) -> str:
    """Say one sentence in other words, chosen by `salt`; unchanged if no rule fits or a fact would change."""
    for pattern, ways in RULES:
        found = pattern.fullmatch(sentence)
        if found:
            words = pick(ways, salt).format(**found.groupdict())
            words = words[0].upper() + words[1:] if sentence[0].isupper() and not found.groupdict().get("prefix") \
                and _starts_with_plain_word(words) else words
            return words if facts(words) == facts(sentence) else sentence
    return sentence


def _starts_with_plain_word(text: str) -> bool:
    return text.split(" ", 1)[0].isalpha() and text[0].islower()


def pick(options: Sequence[T], salt: str) -> T:
    """One of the options, by a hash of `salt`."""
    return options[_number(salt) % len(options)]


def shuffled(items: Sequence[T], salt: str) -> list[T]:
    """The items in an order that depends on `salt` alone."""
    keyed = sorted(range(len(items)), key=lambda index: _number(f"{salt}:{index}"))
    return [items[index] for index in keyed]


def _number(salt: str) -> int:
    return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "big")
