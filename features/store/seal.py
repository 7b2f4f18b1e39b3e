"""A Parquet file's digest of itself, in its footer: for files that stand alone, without a list of sums beside them.

The digest is the sha256 of the file with zeros in its own place. Parquet's footer is plain bytes, so that neither
sealing nor checking needs to understand the file, and every reader of Parquet reads a sealed one as any other.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

KEY = "file_sha256"
"""Key of the digest in the footer."""
BLANK = "0" * 64
_SEAL = re.compile(KEY.encode() + rb"[^0-9a-f]{1,4}([0-9a-f]{64})")  # Thrift puts type and length between the two


def seal(path: Path) -> None:
    """Write the digest into a file whose footer holds `KEY: BLANK`."""
    content = path.read_bytes()
    place = _place(content)
    if place is None:
        raise ValueError(f"{path} has no place for a seal")
    with path.open("r+b") as file:
        file.seek(place.start(1))
        file.write(hashlib.sha256(content).hexdigest().encode())


def is_whole(content: bytes) -> bool | None:
    """Whether a file is what was sealed; None if it bears no seal."""
    place = _place(content)
    if place is None:
        return None
    start, end = place.span(1)
    blank = b"".join((content[:start], BLANK.encode(), content[end:]))
    return hashlib.sha256(blank).hexdigest().encode() == content[start:end]


def _place(content: bytes) -> re.Match[bytes] | None:
    return _SEAL.search(content, max(0, content.rfind(KEY.encode())))
