"""A Parquet file's digest of itself, in its footer: for files that stand alone, without a list of sums beside them.

The digest is the sha256 of the file with zeros in its own place. Parquet's footer is plain bytes, so that neither
sealing nor checking needs to understand the file, and every reader of Parquet reads a sealed one as any other.

Files of versions before seals have none, and nothing else tells them from sealed ones. So that damage does not make a
sealed file one of them, a seal is known by any two of three: what stands before its key, the key, what stands behind
it. Only damage to two of these at once hides a seal, and any other damage with it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

KEY = "file_sha256"
"""Key of the digest in the footer."""
BLANK = "0" * 64
_BEFORE, _BEHIND = rb"\x18\x0b", rb"\x18\x40"  # Thrift's type and length of a key and of its value
_SEAL = re.compile(_BEFORE + KEY.encode() + _BEHIND + rb"([0-9a-f]{64})")
_TRACE = re.compile(rb"%b%b|%b%b|%b.{%d}%b[0-9a-f]{64}" % (
    _BEFORE, KEY.encode(), KEY.encode(), _BEHIND, _BEFORE, len(KEY), _BEHIND), re.DOTALL)


def seal(path: Path) -> None:
    """Write the digest into a file whose footer holds `KEY: BLANK`."""
    content = path.read_bytes()
    place = _place(content)
    if place is None:
        raise ValueError(f"{path} has no place for a seal")
    with path.open("r+b") as file:
        file.seek(place.start(1))
        file.write(hashlib.sha256(content).hexdigest().encode())


def is_sealed(end: bytes) -> bool:
    """Whether this end of a file bears a seal, sound or damaged."""
    return _TRACE.search(end) is not None


def is_whole(content: bytes) -> bool:
    """Whether a file that bears a seal is what was sealed."""
    place = _place(content)
    if place is None:
        return False
    start, end = place.span(1)
    blank = b"".join((content[:start], BLANK.encode(), content[end:]))
    return hashlib.sha256(blank).hexdigest().encode() == content[start:end]


def _place(content: bytes) -> re.Match[bytes] | None:
    return _SEAL.search(content, max(0, content.rfind(KEY.encode()) - 2))
