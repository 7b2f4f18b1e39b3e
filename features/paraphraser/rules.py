"""Rules that change the words of a description and none of its facts.

Each rule knows one kind of sentence that Robocrystallographer writes and a few other ways to say the same. Sites and
bond lengths change places where order carries no meaning, sentences are merged and split, numbers are written as words
or digits. Everything is chosen by a hash of a salt. Whether the facts are the same is not trusted to the rules:
`features.paraphraser.fact_parser` reads the result.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TypeVar

from features.paraphraser.vocabulary import ELEMENTS, NUMBER_WORDS

T = TypeVar("T")
Part = tuple[str, str]  # words of a sentence, its region

_SITE = r"(?P<site>\S+)"
_PREFIX = r"(?P<prefix>(?:In the \w+(?:-\w+)* \S+ site, )?)"
_BOND = r"(?P<bond>\S+-\S+)"

RULES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple((re.compile(pattern), ways) for pattern, ways in (
    (r"(?P<f>\S+) is (?P<m>.+) structured and crystallizes in the (?P<c>\w+) (?P<g>\S+) space group\.", (
        "{f} adopts the {m} structure and has the {c} space group {g}.",
        "With the {c} space group {g}, {f} takes the {m} structure.",
        "The crystal structure of {f} is {m}, in the {c} {g} space group.",
        "{f}, which belongs to the {c} space group {g}, is of {m} type.",
        "The {c} compound {f} (space group {g}) has the structure of {m}.",
    )),
    (r"(?P<f>\S+) crystallizes in the (?P<c>\w+) (?P<g>\S+) space group\.", (
        "The space group of {f} is {g}, which is {c}.",
        "{f} has {c} symmetry, with space group {g}.",
        "Crystals of {f} are {c}, and their space group is {g}.",
        "{f} forms {c} crystals of space group {g}.",
    )),
    (r"The structure consists of (?P<x>.+)\.", (
        "The structure is made up of {x}.",
        "The crystal is built from {x}.",
        "{x} make up the structure.",
    )),
    (r"The structure is (?P<d>\w+)-dimensional and consists of (?P<x>.+)\.", (
        "Built from {x}, the structure is {d}-dimensional.",
        "The {d}-dimensional structure is made up of {x}.",
        "This {d}-dimensional crystal contains {x}.",
    )),
    (r"There are (?P<n>[\w-]+) inequivalent (?P<e>\S+) sites\.", (
        "{e} occupies {n} inequivalent sites.",
        "The structure has {n} inequivalent sites of {e}.",
        "Inequivalent {e} sites exist: {n}.",
        "Atoms of {e} sit on {n} inequivalent sites.",
    )),
    (_PREFIX + _SITE + r" is bonded in (?P<a>an?) (?P<g>.+) geometry to (?P<x>.+)\.", (
        "{prefix}{site} has {a} {g} coordination by {x}.",
        "{prefix}the neighbors of {site} are {x}, in {a} {g} arrangement.",
        "{prefix}{site} is coordinated by {x} in {a} {g} geometry.",
        "{prefix}{site} is surrounded by {x} in {a} {g} geometry.",
        "{prefix}around {site} there are {x}. The environment is {g}.",
    )),
    (_PREFIX + _SITE + r" is bonded to (?P<x>.+) to form (?P<p>.+)\.", (
        "{prefix}{site} forms {p}, being bonded to {x}.",
        "{prefix}bonded to {x}, {site} forms {p}.",
        "{prefix}{site} is coordinated by {x}, which gives {p}.",
        "{prefix}{site} has bonds with {x}. It forms {p}.",
        "{prefix}{site} binds {x}; the result is {p}.",
    )),
    (r"The " + _BOND + r" bond length is (?P<d>[\d.]+ Å)\.", (
        "The {bond} bond measures {d}.",
        "The length of the {bond} bond is {d}.",
        "The {bond} bond is {d} long.",
        "{bond}: {d}.",
    )),
    (r"(?P<q>All|Both) " + _BOND + r" bond lengths are (?P<d>[\d.]+ Å)\.", (
        "{q} {bond} bonds measure {d}.",
        "{q} {bond} bonds are {d} long.",
        "{q} bonds of type {bond} have a length of {d}.",
        "Each {bond} distance is {d}.",
    )),
    (r"There (?:is|are) (?P<n>[\w-]+) shorter \((?P<d>[\d.]+ Å)\) and (?P<m>[\w-]+) longer \((?P<e>[\d.]+ Å)\) "
     + _BOND + r" bond lengths?\.", (
        "The {bond} bonds come as {n} shorter ({d}) and {m} longer ({e}).",
        "Of the {bond} bonds, {n} shorter (at {d}) stand beside {m} longer (at {e}).",
        "Among {bond} bonds, {m} longer ({e}) stand beside {n} shorter ({d}).",
        "{bond} distances fall into {n} shorter at {d} and {m} longer at {e}.",
    )),
    (r"There are a spread of " + _BOND + r" bond distances ranging from (?P<r>[\d.]+-[\d.]+ Å)\.", (
        "{bond} bonds have lengths in the range {r}.",
        "The lengths of {bond} bonds are spread over {r}.",
        "The {bond} distances lie within {r}.",
    )),
    (r"The corner-sharing octahedra are not tilted\.", (
        "There is no tilt of the corner-sharing octahedra.",
        "Corner-sharing octahedra stand side by side without tilt.",
        "The octahedra, which share corners, are untilted.",
    )),
    (r"The corner-sharing octahedral tilt angles (?P<v>are|range from) (?P<d>[\d.°-]+)\.", (
        "Corner-sharing octahedra have tilt angles that {v} {d}.",
        "For the corner-sharing octahedral network, tilt angles {v} {d}.",
        "The tilts of the corner-sharing octahedra {v} {d}.",
    )),
))

def paraphrase(original: Sequence[Part], salt: str) -> list[Part]:
    """Reorder what has no order, say each sentence in other words, merge and split; regions stay with their words."""
    ordered = reorder(list(original), salt)
    parts = [(reword(words, f"{salt}:{index}"), region) for index, (words, region) in enumerate(ordered)]
    return [(write_numbers(words, salt), region) for words, region in _merge(_split(parts), salt)]


def reword(sentence: str, salt: str) -> str:
    """Say one sentence in other words, chosen by `salt`; unchanged if no rule fits."""
    for pattern, ways in RULES:
        match = pattern.fullmatch(sentence)
        if match:
            words = _capital(pick(ways, salt).format(**match.groupdict()))
            return words.replace("-coordinate coordination", "-coordinate environment")
    return sentence


def _capital(words: str) -> str:
    return words[0].upper() + words[1:] if re.match(r"[a-z]+\b(?!\()", words) else words


def _split(parts: Sequence[Part]) -> list[Part]:
    return [(sentence, region) for words, region in parts for sentence in re.split(r"(?<=\.) (?=It |The e)", words)]


def _merge(parts: Sequence[Part], salt: str) -> list[Part]:
    """Join some neighbouring sentences about bond lengths, or about one site, with a semicolon."""
    result: list[Part] = []
    for index, (words, region) in enumerate(parts):
        before = result[-1] if result else None
        if (before and before[1] == region == "local" and _BONDS.search(words) and before[0].endswith(".")
                and len(before[0]) < 160 and _number(f"{salt}:merge:{index}") % 2):
            same = _BONDS.search(before[0]) and _ONE_LENGTH.fullmatch(words)
            second = f"{same[1]}: {same[2]}." if same and pick((True, False), f"{salt}:short:{index}") else words
            result[-1] = f"{before[0][:-1]}; {_small(second)}", region
        else:
            result.append((words, region))
    return result


_BONDS = re.compile(r"\b(?:bonds?|distances?|lengths?)\b|^\S+-\S+: ")


_ONE_LENGTH = re.compile(r"(?:The |All |Both |Each )(?:bonds of type |length of the )?([A-Z]\S*-[A-Z]\S*) "
                         r"(?:bonds? |distance )?(?:measures?|is|are|have a length of) ([\d.]+ Å)(?: long)?\.")
"""What can be said in short after another bond: the words need not be repeated."""


def _small(words: str) -> str:
    """A sentence as the second half of another one."""
    return words[0].lower() + words[1:] if re.match(r"(?:The|All|Both|Each|Of|Among|There)\b", words) else words


_ABOVE_ONE = sorted((word for word, number in NUMBER_WORDS.items() if number > 1), key=lambda word: -len(word))
_COUNT = re.compile(r"(?<=[ (])(?:" + "|".join(_ABOVE_ONE) + r")(?= |$)", re.IGNORECASE)
_COORDINATE = re.compile(r"(?<![\w-])(\d+)-coordinate\b")
_ELEMENT_SITES = re.compile(r"(?<=inequivalent )([A-Z][a-z]?)(?= sites)|(?<=sites of )([A-Z][a-z]?)(?=\.)|"
                            r"(?<=Atoms of )([A-Z][a-z]?)(?= sit)")
_WORD_OF = {number: word for word, number in NUMBER_WORDS.items()}


def write_numbers(words: str, salt: str) -> str:
    """Counts in words or digits, "twelve-coordinate" or "12-coordinate", elements by symbol or name, Å or angstroms."""
    if pick((True, False), f"{salt}:digits"):
        words = _COUNT.sub(lambda m: str(NUMBER_WORDS[m[0].lower()]), words)
    if pick((True, False), f"{salt}:coordinate"):
        words = _COORDINATE.sub(lambda m: f"{_WORD_OF[int(m[1])]}-coordinate" if int(m[1]) in _WORD_OF else m[0], words)
    words = re.sub(r"\ban? (?=(8|11|18|ei|el)?\w*-coordinate)", lambda m: "an " if m[1] else "a ", words)
    if pick((True, False), f"{salt}:elements"):
        words = _ELEMENT_SITES.sub(lambda m: ELEMENTS.get(m[0], m[0]), words)
    return words.replace(" Å", " angstroms") if pick((True, False, False), f"{salt}:unit") else words


_NUMBERED = re.compile(r"In (?:the|each|\w+ of the) ")
_LENGTHS = re.compile(r"\bbond (?:lengths?|distances)\b")
_SITE_START = re.compile(r"There are [\w-]+ inequivalent|In the |"
                         r"[A-Z][a-z]?(?:[\d.]*[+-])?(?:\(\S+\))? is (?:bonded|isolated)")
_COMPONENT = re.compile(r"In (?:the|each|[\w-]+ of the) \S+ (?:sheet|ribbon|cluster|framework|molecule|atom)s?, ")


def reorder(parts: list[Part], salt: str) -> list[Part]:
    """Put the sites of a crystal, and the bond lengths of a site, into another order.

    The heading stays first. Where a site is spoken of by its number ("In the second Ti site"), or a sentence opens a
    component ("In each MoS2 sheet"), order carries meaning and is kept.
    """
    first = next((i for i, part in enumerate(parts) if _SITE_START.match(part[0])), len(parts))
    heading, body = parts[:first], parts[first:]
    if any(_COMPONENT.match(words) for words, _ in body):
        return heading + _shuffle_lengths(body, salt)
    blocks: list[list[Part]] = []
    for part in body:
        opens = _SITE_START.match(part[0]) and not _NUMBERED.match(part[0])
        if opens or not blocks:
            blocks.append([part])
        else:
            blocks[-1].append(part)
    # "There are two inequivalent Ti sites" holds the numbered sites that follow it in one block, and a plain site
    # opens the next one; so whole blocks can change places.
    mixed = shuffled(blocks, f"{salt}:blocks")
    return heading + [part for block in mixed for part in _shuffle_lengths(block, salt)]


def _shuffle_lengths(parts: list[Part], salt: str) -> list[Part]:
    """Shuffle each run of neighbouring sentences about bond lengths."""
    result: list[Part] = []
    run: list[Part] = []
    for part in [*parts, ("", "")]:
        if part[0] and _LENGTHS.search(part[0]):
            run.append(part)
            continue
        result += shuffled(run, f"{salt}:{len(result)}")
        run = []
        if part[0]:
            result.append(part)
    return result


def pick(options: Sequence[T], salt: str) -> T:
    """One of the options, by a hash of `salt`."""
    return options[_number(salt) % len(options)]


def shuffled(items: Sequence[T], salt: str) -> list[T]:
    """The items in an order that depends on `salt` alone."""
    keyed = sorted(range(len(items)), key=lambda index: _number(f"{salt}:{index}"))
    return [items[index] for index in keyed]


def _number(salt: str) -> int:
    return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "big")
