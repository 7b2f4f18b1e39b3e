"""Bytes that somebody dropped, as a crystal's text: bounded, and never written anywhere."""

from __future__ import annotations

import hashlib
import zlib

from features.crystal_files import decode, named_format
from features.errors import RowError
from model.prediction.inputs import Given
from model.serve.limits import MB

GZIP = b"\x1f\x8b"
WITH_GZIP_HEADER = 31
"""`wbits` of zlib."""
ARCHIVES = {b"PK\x03\x04": "a ZIP archive", b"BZh": "packed by bzip2", b"\xfd7zXZ": "packed by xz",
            b"7z\xbc\xaf": "a 7-Zip archive", b"\x28\xb5\x2f\xfd": "packed by zstd"}


def digest_of(name: str, raw: bytes) -> str:
    """What a dropped file is found again by: its bytes, and the format that its name stands for."""
    return hashlib.sha256(f"{named_format(name)}\0".encode() + raw).hexdigest()


def given(name: str, raw: bytes, most: int) -> Given:
    """A file as it was dropped, with its text or the reason why it has none. The name is a label, and no path.

    `most`: bytes of the text, unpacked.
    """
    try:
        return Given(name, decode(_unpacked(raw, most)), name)
    except RowError as error:
        return Given(name, error=f"{error.kind}: {error}")


def _unpacked(raw: bytes, most: int) -> bytes:
    for begins, what in ARCHIVES.items():
        if raw.startswith(begins):
            raise RowError("unreadable", f"the file is {what}: drop the crystal files that are in it")
    if not raw.startswith(GZIP):
        return raw
    result = bytearray()
    try:
        while raw:  # one stream of gzip may follow another
            stream = zlib.decompressobj(WITH_GZIP_HEADER)
            result += stream.decompress(raw, most + 1 - len(result))
            if len(result) > most:
                raise RowError("too_large", f"unpacked the file is larger than {most / MB:g} MB")
            if not stream.eof:
                raise RowError("unreadable", "the packed file is cut off")
            raw = stream.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise RowError("unreadable", f"the packed file is damaged ({error})") from None
    return bytes(result)
