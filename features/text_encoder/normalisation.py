"""Text normalisation of MatSciBERT: what its authors did to every text before the tokenizer.

Gupta et al., npj Computational Materials 8, 102 (2022): accents are stripped, characters are brought to the few forms
that the vocabulary knows, and what it does not know becomes a blank. Here for the characters that occur in descriptions
of crystals (the authors' table has more, of other alphabets and of mathematics), with the place that each character
came from, so that tokens still point into the original text.
"""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

_FORMS = str.maketrans({
    **dict.fromkeys("\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{MINUS SIGN}\N{MACRON}", "-"),
    **dict.fromkeys("\N{RIGHT SINGLE QUOTATION MARK}\N{PRIME}\N{ACUTE ACCENT}", "'"),
    **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
    **dict.fromkeys("\N{RING OPERATOR}\N{WHITE BULLET}\N{RING ABOVE}\N{MASCULINE ORDINAL INDICATOR}", "°"),
    **dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)),
    **dict(zip("¹²³⁺⁻", "123+-", strict=True)),
    "·": ".", "\N{MICRO SIGN}": "μ", "…": "...",
})
DROPPED = ("Mn", "Cf", "Cc")  # accents, and characters that print nothing
_KNOWN = frozenset("°×±÷≤≥≈→←√∞αβγδεζηθκλμνξπρστφχψωΔΣΩ—‘")
"""Characters beyond ASCII that stay."""


def matscibert(text: str) -> tuple[str, NDArray[np.int32]]:
    """The normalised text, and for each of its characters (and the end) the index of the one it came from."""
    letters: list[str] = []
    origin: list[int] = []
    for index, character in enumerate(text):
        bare = "".join(c for c in unicodedata.normalize("NFD", character) if unicodedata.category(c) not in DROPPED)
        plain = "".join(c if c.isascii() or c in _KNOWN else " " for c in bare.translate(_FORMS))
        letters.append(plain)
        origin += [index] * len(plain)
    return "".join(letters), np.array([*origin, len(text)], np.int32)


def ranges(offsets: NDArray[np.int32], origin: NDArray[np.int32]) -> NDArray[np.int32]:
    """`[n, 2]` half-open ranges of the normalised text as ranges of the original."""
    return np.stack([origin[offsets[:, 0]], origin[offsets[:, 1] - 1] + 1], axis=1)
