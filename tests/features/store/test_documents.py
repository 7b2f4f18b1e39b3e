"""JSON files that hold their own digest."""

import random
from pathlib import Path

from features.store import documents
from features.store.sums import Damaged

CONTENT = {"test": {"mae": 0.0307, "mae_high": None}, "unit": "log10(GPa)", "cautions": ["Ä"], "by": {3: [1, 2]}}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    documents.write(path, CONTENT)
    assert documents.read(path) == {**CONTENT, "by": {"3": [1, 2]}}
    assert documents.read(tmp_path / "none.json") is None
    path.write_text('{"mae": 1}')
    assert documents.read(path) == {"mae": 1}  # as earlier versions wrote it


def test_no_flipped_bit_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    documents.write(path, CONTENT)
    sound, rng = path.read_bytes(), random.Random(0)  # noqa: S311 (made here)
    read = documents.read(path)
    for _ in range(400):
        content = bytearray(sound)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            assert documents.read(path) == read or documents.DIGEST.encode() not in content
        except Damaged:
            continue  # noticed
