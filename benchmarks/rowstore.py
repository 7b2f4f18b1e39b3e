"""`python -m benchmarks.rowstore`: reading the parts of a table from a row store, before and after it was merged.

Fills a row store with `--rows` rows in segments of 256, as a long run leaves them, and reads `--parts` of the table's
parts before and all of them after `compact`; prints the seconds for all parts (before: as many times more) and their
ratio.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.figures import Figure, show
from features.store import placement
from features.store.rowstore import RowStore
from features.store.rowstore import marks as as_marks

SEGMENT = 256
SCHEMA = pa.schema([("material_id", pa.string()), ("text", pa.string())])


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--parts", type=int, default=4)
    arguments = parser.parse_args()
    ids = [f"mp-{number}" for number in range(arguments.rows)]
    marks = [hashlib.sha256(material_id.encode()).digest() for material_id in ids]
    parts = placement.number_of_parts(len(ids))
    wanted: list[list[bytes]] = [[] for _ in range(parts)]
    for mark, part in zip(marks, placement.part_of(ids, parts), strict=True):
        wanted[part].append(mark)
    with tempfile.TemporaryDirectory() as folder:
        store = RowStore(Path(folder), SCHEMA, 1)
        fill(store, ids, marks)
        before = seconds(store, wanted, arguments.parts) * parts / arguments.parts
        began = time.perf_counter()
        store.compact()
        merging = time.perf_counter() - began
        after = seconds(store, wanted, parts)
    sys.exit(show(f"row store: {arguments.rows:,} rows, {parts} parts", [
        Figure("reading all parts, merged segments to unmerged", before / after, "times", least=5, key="rowstore.ratio",
               note=f"{after:.1f} and {before:.1f} s; merging took {merging:.1f} s")]))


def fill(store: RowStore, ids: list[str], marks: list[bytes]) -> None:
    """Two kilobytes a row, in random order."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(ids))
    for first in range(0, len(ids), SEGMENT):
        chosen = [int(number) for number in order[first:first + SEGMENT]]
        rows = {"material_id": [ids[number] for number in chosen], "text": [rng.bytes(1000).hex() for _ in chosen]}
        store.append_rows(pa.table(rows, schema=SCHEMA), as_marks([marks[number] for number in chosen]))


def seconds(store: RowStore, wanted: list[list[bytes]], parts: int) -> float:
    """Time to read the first parts."""
    began = time.perf_counter()
    for part in range(parts):
        rows = store.read(as_marks(wanted[part]), *placement.part_range(part, len(wanted)))
        if len(rows) != len(wanted[part]):
            raise AssertionError(f"part {part}: {len(rows)} of {len(wanted[part])} rows")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
