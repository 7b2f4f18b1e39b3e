"""Dropped bytes as texts: bounded, whatever they are packed in."""

import gzip
import zlib

import pytest

from model.serve.uploads import digest_of, given

TEXT = b"data_x\n_cell_length_a 3.0 # \xc3\x85\n"


def test_packed_and_plain_are_the_same_text() -> None:
    packed = gzip.compress(TEXT)
    for raw in (TEXT, packed, gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:])):
        one = given("../a.cif", raw, 1000)
        assert one.error is None
        assert one.text == TEXT.decode()
        assert (one.name, one.says) == ("../a.cif", "../a.cif")


def test_unpacking_stops_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = 0, zlib.decompressobj

    class Counts:
        def __init__(self, wbits: int) -> None:
            self.stream = real(wbits)

        def decompress(self, raw: bytes, most: int) -> bytes:
            nonlocal made
            made += len(part := self.stream.decompress(raw, most))
            return part

    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    monkeypatch.setattr("model.serve.uploads.zlib.decompressobj", Counts)
    one = given("a.cif.gz", bomb, 1_000_000)
    assert one.error == "too_large: unpacked the file is larger than 1 MB"
    assert made == 1_000_001


@pytest.mark.parametrize(("raw", "why"), [
    (gzip.compress(TEXT, mtime=0)[:-12], "the packed file is cut off"),
    (b"\x1f\x8bnothing", "the packed file is damaged"),
    (b"PK\x03\x04....", "the file is a ZIP archive: drop the crystal files that are in it"),
    (b"BZh91AY&SY", "the file is packed by bzip2"),
    (b"\0\0\0", "the file is not text"),
])
def test_what_cannot_be_read_is_said(raw: bytes, why: str) -> None:
    one = given("a.cif", raw, 1000)
    assert one.text == ""
    assert why in str(one.error)


def test_a_digest_is_that_of_content_and_format() -> None:
    assert digest_of("a.cif", TEXT) == digest_of("elsewhere/b.CIF", TEXT)
    assert digest_of("a.cif", TEXT) != digest_of("POSCAR", TEXT)
    assert digest_of("a.cif", TEXT) != digest_of("a.cif", TEXT + b"\n")
