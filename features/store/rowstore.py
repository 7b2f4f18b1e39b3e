"""The row store: everything ever computed, by fingerprint. Append-only Parquet segments below `data/.rowstore/`.

A segment is written beside its place and renamed into it, so a half-written one is never seen. The store survives
crashes, branch switches and parameter flips, and may be deleted at any time: it only saves work.

Rows of a segment stand in the order of their ids' positions, and its footer says which positions each row group covers,
so that a part of a table is read from few row groups. Many small segments are merged into one (`compact`).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import UserError
from features.progress import say
from features.store import placement
from features.store.files import beside, remove_drafts
from features.view import FINGERPRINT, Reject

REJECT_SCHEMA = pa.schema([
    pa.field("material_id", pa.string()),
    pa.field("error", pa.string()),
    pa.field("message", pa.string()),
])
LOSS = "its rows are computed again"
RANGES = "positions"
"""Key in a segment's footer: first and last position of each row group."""
GROUP_ROWS = 256
WINDOW_ROWS = 1024
"""Rows that are sorted at once when segments are merged."""
MERGED = 32
"""Merge once this many segments of similar size exist."""
T = TypeVar("T")


class RowStore:
    """The segments of one view and one schema of it."""

    def __init__(self, folder: Path, schema: pa.Schema, version: int) -> None:
        shape = hashlib.sha256(schema.to_string(show_field_metadata=False).encode()).hexdigest()[:12]
        self.top = folder
        self.folder = folder / f"v{version}-{shape}"
        self.schema = schema.remove_metadata()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the view for this run; a second run at once is told so and ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.top / "lock", timeout=1)  # somebody may just be looking whether it is held
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(f"another run is computing '{self.top.name}'; wait for it or stop it") from None
        try:
            remove_drafts(self.folder)
            yield
        finally:
            lock.release()

    def finished(self) -> tuple[set[bytes], dict[bytes, Reject]]:
        """Fingerprints of all finished rows, and all rejects by fingerprint."""
        rows: set[bytes] = set()
        for segment in self._segments("rows"):
            table = read_sound(segment, LOSS, lambda path: pq.read_table(path, columns=[FINGERPRINT]))
            rows.update([] if table is None else table[FINGERPRINT].to_pylist())
        rejects: dict[bytes, Reject] = {}
        for segment in self._segments("rejects"):
            table = read_sound(segment, LOSS, pq.read_table)
            for row in [] if table is None else table.to_pylist():
                mark = row.pop(FINGERPRINT)
                rejects[mark] = Reject(**row)
        return rows, rejects

    def append_rows(self, rows: pa.Table, fingerprints: list[bytes]) -> None:
        """Add finished rows as one segment."""
        if len(rows):
            self._append("rows", rows.cast(self.schema), fingerprints, rows["material_id"].to_pylist())

    def append_rejects(self, rejects: list[Reject], fingerprints: list[bytes]) -> None:
        """Add rejects as one segment."""
        if rejects:
            table = pa.Table.from_pylist([vars(reject) for reject in rejects], schema=REJECT_SCHEMA)
            self._append("rejects", table, fingerprints, [reject.material_id for reject in rejects])

    def read(self, wanted: list[bytes], low: int, high: int) -> pa.Table:
        """The rows with these fingerprints, whose ids have positions in [low, high). A fingerprint counts once."""
        values = pa.array(wanted, pa.binary(32))
        pieces: list[pa.Table] = []
        seen: set[bytes] = set()
        for segment in self._segments("rows"):
            first, last = _range(segment)
            if last < low or first >= high:
                continue
            table = read_sound(segment, LOSS, lambda path: _read_range(path, low, high, values))
            if table is None:
                raise UserError(f"row store: {segment.name} was damaged and is dropped; run again to compute its rows")
            pieces.append(_first_only(table, seen).drop_columns([FINGERPRINT]))
        return pa.concat_tables(pieces) if pieces else self.schema.empty_table()

    def compact(self) -> None:
        """Merge segments of about one size where there are many of them, so that reading a part opens few files.

        Needs the lock. A kill leaves rows twice at worst, which changes nothing.
        """
        while True:
            tiers: dict[int, list[Path]] = {}
            for segment in self._segments("rows"):
                metadata = read_sound(segment, LOSS, pq.read_metadata)
                if metadata is not None:
                    tiers.setdefault(int(math.log(max(1, metadata.num_rows), MERGED)), []).append(segment)
            full = [tier for tier in tiers.values() if len(tier) >= MERGED]
            if not full:
                return
            for tier in full:
                for first in range(0, len(tier) - MERGED + 1, MERGED):
                    self._merge(tier[first:first + MERGED])

    def _merge(self, segments: list[Path]) -> None:
        low, high = min(_range(path)[0] for path in segments), max(_range(path)[1] for path in segments) + 1
        rows = sum(pq.read_metadata(path).num_rows for path in segments)
        windows = -(-rows // WINDOW_ROWS)  # positions are hashes, so that each holds about as many
        bounds = [low + (high - low) * number // windows for number in range(windows + 1)]

        def tables() -> Iterator[pa.Table]:
            for start, end in itertools.pairwise(bounds):
                seen: set[bytes] = set()
                pieces = [_first_only(_read_range(path, start, end), seen) for path in segments]
                yield pa.concat_tables(pieces)

        try:
            self._write("rows", tables(), low, high - 1)
        except (pa.ArrowInvalid, OSError) as error:
            if not is_damage(error):
                raise
            for path in segments:  # one of them is damaged: it is dropped, and the others stay
                read_sound(path, LOSS, pq.read_table)
            raise UserError("row store: a segment was damaged and is dropped; run again to compute its rows") from None
        for path in segments:  # the one that replaces them is on the disk
            path.unlink()

    def _segments(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}-*.parquet"))

    def _append(self, kind: str, table: pa.Table, fingerprints: list[bytes], material_ids: list[str]) -> None:
        where = placement.positions(material_ids)
        table = table.append_column(FINGERPRINT, pa.array(fingerprints, pa.binary(32)))
        self._write(kind, iter([table]), int(where.min()), int(where.max()))

    def _write(self, kind: str, tables: Iterator[pa.Table], low: int, high: int) -> None:
        """One segment of tables whose positions ascend from one to the next."""
        with beside(self.folder / f"{kind}-{low:08x}-{high:08x}-{uuid.uuid4().hex}.parquet") as draft:
            first = next(tables)
            ranges: list[tuple[int, int]] = []
            with pq.ParquetWriter(draft, first.schema, compression="zstd", compression_level=3) as writer:
                for table in itertools.chain([first], tables):
                    if not len(table):
                        continue  # it would make an empty row group
                    where = placement.positions(table["material_id"].to_pylist())
                    order = np.argsort(where, kind="stable")
                    table, where = table.take(pa.array(order)), where[order]
                    for start in range(0, len(table), GROUP_ROWS):
                        group = where[start:start + GROUP_ROWS]
                        ranges.append((int(group[0]), int(group[-1])))
                    writer.write_table(table, row_group_size=GROUP_ROWS)
                writer.add_key_value_metadata({RANGES: json.dumps(ranges)})


def _range(segment: Path) -> tuple[int, int]:
    """First and last position of a segment."""
    first, last = (int(text, 16) for text in segment.stem.split("-")[1:3])
    return first, last


def _read_range(segment: Path, low: int, high: int, wanted: pa.Array | None = None) -> pa.Table:
    """The rows of a segment with positions in [low, high), or of those the ones with the wanted fingerprints."""
    with pq.ParquetFile(segment) as file:
        ranges = json.loads((file.metadata.metadata or {}).get(RANGES.encode(), b"null"))
        if ranges is None:  # written before row groups were in order
            ranges = [_range(segment)] * file.num_row_groups
        groups = [number for number, (first, last) in enumerate(ranges) if first < high and last >= low]
        if wanted is not None:
            keep = pc.is_in(file.read_row_groups(groups, [FINGERPRINT])[FINGERPRINT], value_set=wanted)
            if not pc.any(keep).as_py():
                return file.schema_arrow.empty_table()
            return file.read_row_groups(groups).filter(keep)
        table = file.read_row_groups(groups)
    where = placement.positions(table["material_id"].to_pylist())
    return table.filter(pa.array((where >= low) & (where < high)))


def _first_only(table: pa.Table, seen: set[bytes]) -> pa.Table:
    """Without the fingerprints that were seen before, which are then those of this table too."""
    marks = table[FINGERPRINT]
    here = set(marks.to_pylist())
    if here & seen:  # a unit computed twice: its rows are those of the first segment
        table = table.filter(pc.invert(pc.is_in(marks, value_set=pa.array(list(seen), pa.binary(32)))))
    seen |= here
    return table


def is_damage(error: Exception) -> bool:
    """Whether reading failed for what is in the file, and not for trouble of the disk."""
    return isinstance(error, pa.ArrowInvalid) or (isinstance(error, OSError) and error.errno is None)


def read_sound(path: Path, loss: str, read: Callable[[Path], T]) -> T | None:
    """What `read` makes of a file that only saves work. None if it is not there, or if it is damaged: then it is
    removed, and `loss` says what that costs. Raises `OSError` for trouble of the disk.
    """
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except (pa.ArrowInvalid, OSError) as error:
        if not is_damage(error):
            raise
        say(f"{path.name} is damaged and dropped, {loss} ({error})")
        path.unlink(missing_ok=True)
        return None
