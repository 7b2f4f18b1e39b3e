"""The fixed vocabulary of tokens. An id never depends on the data: it is an atomic number, a place in a list, a hash.

Ids, in this order: 0 for a hidden token, atomic numbers, the terms of the field, the parts of space group symbols, and
buckets into which all other words are hashed. To add a term, append it to its list and raise the version of the view.
"""

from __future__ import annotations

import hashlib
import re

from features.paraphraser.vocabulary import COMPONENT_SHAPES, ELEMENTS, GEOMETRIES, SHAPES, SYSTEMS

HIDDEN = 0
"""Id of a token that is not shown; no text has it."""
ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(ELEMENTS, start=1)}

KINDS = ("element", "site", "neighbour", "bond", "polyhedron", "charge", "length", "angle", "count", "geometry",
         "shape", "term", "symmetry", "prototype", "word")
"""Role of a token. `element`, `polyhedron`: an element of the compound's formula (value: its share of the atoms) or of
the formula of a polyhedron or component (its amount). `site`, `neighbour`: an element at the site spoken of or bound to
it (how many). `bond`: an end of a bond whose length follows."""

_NUMBERS_OF = ("length", "angle", "count", "charge", "coordinate", "dimensional", "from", "to")
_TERMS = ("corner", "edge", "face", "inequivalent", "distorted", "shorter", "longer", "isolated", "mixture", "tilt",
          "not", "like", "derived", "direction")
TERMS = (*_NUMBERS_OF, *_TERMS, *GEOMETRIES, *sorted(set(SHAPES.values())), *SYSTEMS, *COMPONENT_SHAPES)

_AXES = ("1", "-1", "2", "-2", "3", "-3", "4", "-4", "6", "-6", "2_1", "3_1", "3_2", "4_1", "4_2", "4_3", "6_1", "6_2",
         "6_3", "6_4", "6_5")
_PLANES = ("m", "a", "b", "c", "d", "e", "n")
SYMMETRY = ("P", "A", "B", "C", "I", "F", "R", *_AXES, *_PLANES,
            *(f"{axis}/{plane}" for axis in _AXES if axis[0] != "-" for plane in _PLANES))
"""Parts of short Hermann-Mauguin symbols: centring, axes, planes, axes with a plane across them."""
SYMMETRY_PART = re.compile(r"[A-Z]|-?\d(?:_\d)?(?:/[a-z])?|[a-z]")

BUCKETS = 512
_FIRST_TERM = 119
_FIRST_SYMMETRY = _FIRST_TERM + len(TERMS)
_FIRST_BUCKET = _FIRST_SYMMETRY + len(SYMMETRY)
SIZE = _FIRST_BUCKET + BUCKETS
"""Number of ids."""

_ID_OF_TERM = {term: _FIRST_TERM + place for place, term in enumerate(TERMS)}
_ID_OF_SYMMETRY = {part: _FIRST_SYMMETRY + place for place, part in enumerate(SYMMETRY)}


def id_of_term(term: str) -> int:
    """Id of a term of the field; `KeyError` for any other word."""
    return _ID_OF_TERM[term]


def id_of_symmetry(part: str) -> int:
    """Id of a part of a space group's symbol; a part that no short symbol has is hashed like a word."""
    return _ID_OF_SYMMETRY.get(part) or id_of_word(part)


def id_of_word(word: str) -> int:
    """Bucket of any other word, whatever its case."""
    digest = hashlib.sha256(word.lower().encode()).digest()
    return _FIRST_BUCKET + int.from_bytes(digest[:8], "big") % BUCKETS
