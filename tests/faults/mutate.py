"""Files as accidents and attackers make them: one seed, one file, from whole ones."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

NUMBERS = (b"0", b"-1", b"1", b"1e308", b"-1e308", b"1e-320", b"nan", b"inf", b"-inf", b"99999999999999999999", b"0.5",
           b"1e9", b"-0", b"3.0000000001", b"1" * 400, b"1/3", b"1/0", b"", b"2147483648", b"1e5")
"""What stands where a number stood."""
PIECES = (b"\0", b"\x1b[31m", b"\xff\xfe", b"\xef\xbb\xbf", b"'", b'"', b";\n", b"\n", b"\r\n", b"\t", b"#", b"{", b"]",
          b",", "é".encode("latin-1"), "Å".encode(), b"../", b"<script>", b"loop_\n", b"data_\n", b"?", b".",
          b"&a [*a, *a]", b"- ", b": ", b"!!python/object:os.system ")
NUMBER = re.compile(rb"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
TOKEN = re.compile(rb"[^\s,;:\"']+")
LONGEST = 1 << 20


def mutated(originals: Sequence[bytes], seed: object) -> bytes:
    """One of the originals, changed one to five times."""
    chance = random.Random(str(seed))
    content = chance.choice(originals)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        content = chance.choice(WAYS)(content, chance, originals)[:LONGEST]
    return content


def _flip(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    made = bytearray(content)
    for _ in range(chance.choice((1, 1, 4, 16))):
        if made:
            made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
    return bytes(made)


def _number(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    found = list(NUMBER.finditer(content))
    if not found:
        return content
    one = chance.choice(found)
    return content[:one.start()] + chance.choice(NUMBERS) + content[one.end():]


def _swap(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    found = list(TOKEN.finditer(content))
    if len(found) < 2:
        return content
    one, other = sorted(chance.sample(found, 2), key=lambda match: match.start())
    return (content[:one.start()] + other[0] + content[one.end():other.start()] + one[0] + content[other.end():])


def _insert(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(PIECES) * chance.choice((1, 1, 1, 50)) + content[at:]


def _lines(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at = chance.randrange(len(lines))
    end = min(len(lines), at + chance.choice((1, 1, 2, 5, 20)))
    how = chance.randrange(4)
    if how == 0:
        return b"".join(lines[:at] + lines[end:])
    if how == 1:
        return b"".join(lines[:end] + lines[at:end] * chance.choice((1, 1, 2, 200)) + lines[end:])
    if how == 2:
        return b"".join(lines[:at] + lines[at:end][::-1] + lines[end:])
    chance.shuffle(lines)
    return b"".join(lines)


def _splice(content: bytes, chance: random.Random, originals: Sequence[bytes]) -> bytes:
    other = chance.choice(originals)
    return content[:chance.randrange(len(content) + 1)] + other[chance.randrange(len(other) + 1):]


def _cut(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return content[:chance.randrange(len(content) + 1)]


def _encoded(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(chance.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-7")), "replace")


def _nested(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    depth = chance.choice((10, 1000, 50_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")")))
    at = chance.randrange(len(content) + 1)
    return content[:at] + opening * depth + closing * depth + content[at:]


WAYS: tuple[Callable[[bytes, random.Random, Sequence[bytes]], bytes], ...] = (
    _flip, _number, _number, _number, _swap, _insert, _lines, _lines, _splice, _cut, _encoded, _nested)
