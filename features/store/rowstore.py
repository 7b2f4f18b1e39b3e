"""The row store: everything ever computed, by fingerprint. Append-only Parquet segments below `data/.rowstore/`.

A segment is written beside its place and renamed into it, so a half-written one is never seen. Its name holds a digest
of its bytes, which is checked when a run begins, and its chunks are checked again whenever they are read: what is
damaged is dropped, and its rows are computed again. (Earlier versions gave random names: the first run takes their
segments as they are and renames them.) The store survives crashes, branch switches and parameter flips, and may be
deleted at any time: it only saves work.

Rows of a segment stand in the order of their ids' positions, and its footer says which positions each row group covers,
so that a part of a table is read from few row groups. Many small segments are merged into one (`compact`).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import UserError
from features.store import placement
from features.store.files import beside, remove, remove_drafts
from features.store.sums import Damaged, Sums, Verified, measure, parquet
from features.view import FINGERPRINT, Reject

REJECT_SCHEMA = pa.schema([
    pa.field("material_id", pa.string()),
    pa.field("error", pa.string()),
    pa.field("message", pa.string()),
])
RANGES = "positions"
"""Key in a segment's footer: first and last position of each row group."""
GROUP_ROWS = 256
WINDOW_ROWS = 1024
"""Rows that are sorted at once when segments are merged."""
MERGED = 32
"""Merge once this many segments of similar size exist."""
DIGITS = 40
"""Of the sha256 in a segment's name; those of earlier versions have 32, which are random."""
_NAME = re.compile(r"(rows|rejects)-([0-9a-f]{8})-([0-9a-f]{8})-(?:[0-9a-f]{32}|([0-9a-f]{40}))\.parquet")
"""Kind, first and last position, digest."""


def marks(fingerprints: Sequence[bytes]) -> pa.Array:
    """Fingerprints as the store takes and gives them, in 32 bytes each."""
    return pa.array(fingerprints, pa.binary(32))


class Lost(Exception):  # noqa: N818 (nobody sees it: a run computes the rows again)
    """A segment was damaged while a run read it. It is dropped, so that its rows are missing from now on."""


class RowStore:
    """The segments of one view and one schema of it."""

    def __init__(self, folder: Path, schema: pa.Schema, version: int) -> None:
        shape = hashlib.sha256(schema.to_string(show_field_metadata=False).encode()).hexdigest()[:12]
        self.top = folder
        self.folder = folder / f"v{version}-{shape}"
        self.schema = schema.remove_metadata()
        self.damaged: set[str] = set()
        """Names of the segments that were found damaged."""
        self._sums: dict[str, Sums] = {}
        """Of each segment that was checked as a whole."""
        self._held = False

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
            self._held = True
            self._rename_earlier()
            yield
        finally:
            self._held = False
            lock.release()

    def finished(self) -> tuple[pa.Array, dict[bytes, Reject]]:
        """Fingerprints of all finished rows, some of them more than once, and all rejects by fingerprint, without those
        of damaged segments."""
        rows = [marks([])]
        for segment in self._segments("rows"):
            with contextlib.suppress(Lost), self._open(segment) as file:
                rows += file.read([FINGERPRINT])[FINGERPRINT].chunks
        rejects: dict[bytes, Reject] = {}
        for segment in sorted(self._segments("rejects"), key=_moment):  # of several reasons the last one counts
            with contextlib.suppress(Lost), self._open(segment) as file:
                for row in file.read([FINGERPRINT, *REJECT_SCHEMA.names]).to_pylist():
                    mark = row.pop(FINGERPRINT)
                    rejects[mark] = Reject(**row)
        return pa.concat_arrays(rows), rejects

    def append_rows(self, rows: pa.Table, fingerprints: pa.Array) -> None:
        """Add finished rows as one segment."""
        if len(rows):
            self._append("rows", rows.cast(self.schema), fingerprints, rows["material_id"].to_pylist())

    def append_rejects(self, rejects: list[Reject], fingerprints: pa.Array) -> None:
        """Add rejects as one segment."""
        if rejects:
            table = pa.Table.from_pylist([vars(reject) for reject in rejects], schema=REJECT_SCHEMA)
            self._append("rejects", table, fingerprints, [reject.material_id for reject in rejects])

    def read(self, wanted: pa.Array, low: int, high: int) -> pa.Table:
        """The rows with these fingerprints, whose ids have positions in [low, high). A fingerprint counts once.

        Raises `Lost` if a segment is damaged, or if there is no row for one of the fingerprints.
        """
        pieces: list[pa.Table] = []
        seen = marks([])
        for segment in self._segments("rows"):
            first, last = _range(segment)
            if last < low or first >= high:
                continue
            with self._open(segment) as file:
                table = _read_range(file, _range(segment), low, high, wanted)
            table, seen = _first_only(table, seen)
            pieces.append(table.drop_columns([FINGERPRINT]))
        if len(seen) < pc.count_distinct(wanted).as_py():
            raise Lost("a segment is no longer there")
        return pa.concat_tables(pieces) if pieces else self.schema.empty_table()

    def compact(self) -> None:
        """Merge segments of about one size where there are many of them, so that reading a part opens few files.

        Needs the lock. A kill leaves rows twice at worst, which changes nothing. Damaged segments are dropped.
        """
        while True:
            tiers: dict[int, list[Path]] = {}
            for segment in self._segments("rows"):
                with contextlib.suppress(Lost):
                    tiers.setdefault(int(math.log(max(1, self._rows_of(segment)), MERGED)), []).append(segment)
            full = [tier[first:first + MERGED] for tier in tiers.values()
                    for first in range(0, len(tier) - MERGED + 1, MERGED)]
            if not full:
                return
            for segments in full:
                with contextlib.suppress(Lost):
                    self._merge(segments)

    def _merge(self, segments: list[Path]) -> None:
        low, high = min(_range(path)[0] for path in segments), max(_range(path)[1] for path in segments) + 1
        windows = -(-sum(map(self._rows_of, segments)) // WINDOW_ROWS)  # positions are hashes: each holds about as many
        bounds = [low + (high - low) * number // windows for number in range(windows + 1)]

        def tables() -> Iterator[pa.Table]:
            for start, end in itertools.pairwise(bounds):
                seen = marks([])
                pieces = []
                for path in segments:
                    with self._open(path) as file:
                        table, seen = _first_only(_read_range(file, _range(path), start, end), seen)
                    pieces.append(table)
                yield pa.concat_tables(pieces)

        merged = self._write("rows", tables(), low, high - 1)
        for path in segments:  # the one that replaces them is on the disk; it may be one of them, if it held all rows
            if path.name != merged:
                path.unlink()

    def _rows_of(self, segment: Path) -> int:
        with self._open(segment) as file:
            return int(file.metadata.num_rows)

    @contextlib.contextmanager
    def _open(self, segment: Path) -> Iterator[pq.ParquetFile]:
        """An open segment. One that is damaged is dropped, if this run holds the view, and `Lost` is raised."""
        try:
            if segment.name not in self._sums:
                sums, digest = measure(segment)
                named = _NAME.fullmatch(segment.name)
                if named and named[4] not in (None, digest[:DIGITS]):
                    raise Damaged(segment, "its bytes are not those that its name tells of")
                self._sums[segment.name] = sums
            with parquet(segment, Verified.of(segment, self._sums[segment.name])) as file:
                yield file
        except FileNotFoundError:
            if self._held:  # else the run that holds the view has merged it
                self.damaged.add(segment.name)
            raise Lost(segment.name) from None
        except (Damaged, IsADirectoryError):
            self.damaged.add(segment.name)
            if self._held:
                remove(segment)
            raise Lost(segment.name) from None

    def _rename_earlier(self) -> None:
        """Name the segments of earlier versions after their bytes, so that from now on damage to them is noticed."""
        for path in self.folder.glob("r*.parquet"):
            if (named := _NAME.fullmatch(path.name)) and named[4] is None and path.is_file():
                path.replace(path.with_name(f"{named[1]}-{named[2]}-{named[3]}-{measure(path)[1][:DIGITS]}.parquet"))

    def _segments(self, kind: str) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"{kind}-*.parquet") if _NAME.fullmatch(path.name)
                      and (self._held or path.name not in self.damaged))

    def _append(self, kind: str, table: pa.Table, fingerprints: pa.Array, material_ids: list[str]) -> None:
        where = placement.positions(material_ids)
        table = table.append_column(FINGERPRINT, fingerprints)
        self._write(kind, iter([table]), int(where.min()), int(where.max()))

    def _write(self, kind: str, tables: Iterator[pa.Table], low: int, high: int) -> str:
        """One segment of tables whose positions ascend from one to the next; its name."""
        name = ""

        def place(draft: Path) -> Path:
            nonlocal name
            sums, digest = measure(draft)
            name = f"{kind}-{low:08x}-{high:08x}-{digest[:DIGITS]}.parquet"
            self._sums[name] = sums
            return self.folder / name

        with beside(self.folder / f"{kind}-{low:08x}-{high:08x}.parquet", place) as draft:
            first = next(tables)
            ranges: list[tuple[int, int]] = []
            schema = first.schema.remove_metadata()  # what was read from a segment bears the ranges of that one
            with pq.ParquetWriter(draft, schema, compression="zstd", compression_level=3,
                                  write_page_checksum=True) as writer:
                for table in itertools.chain([first], tables):
                    if not len(table):
                        continue  # it would make an empty row group
                    where = placement.positions(table["material_id"].to_pylist())
                    order = np.argsort(where, kind="stable")
                    table, where = table.take(pa.array(order)), where[order]
                    for start in range(0, len(table), GROUP_ROWS):
                        group = where[start:start + GROUP_ROWS]
                        ranges.append((int(group[0]), int(group[-1])))
                    writer.write_table(table.replace_schema_metadata(None), row_group_size=GROUP_ROWS)
                writer.add_key_value_metadata({RANGES: json.dumps(ranges)})
        return name


def _moment(segment: Path) -> int:
    """When a segment was written; 0 if it is no longer there."""
    try:
        return segment.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _range(segment: Path) -> tuple[int, int]:
    """First and last position of a segment."""
    first, last = (int(text, 16) for text in segment.stem.split("-")[1:3])
    return first, last


def _read_range(file: pq.ParquetFile, whole: tuple[int, int], low: int, high: int,
                wanted: pa.Array | None = None) -> pa.Table:
    """The rows of a segment with positions in [low, high), or of those the ones with the wanted fingerprints."""
    ranges = json.loads((file.metadata.metadata or {}).get(RANGES.encode(), b"null"))
    if ranges is None:  # written before row groups were in order
        ranges = [whole] * file.num_row_groups
    groups = [number for number, (first, last) in enumerate(ranges) if first < high and last >= low]
    if wanted is not None:
        keep = pc.is_in(file.read_row_groups(groups, [FINGERPRINT])[FINGERPRINT], value_set=wanted)
        if not pc.any(keep).as_py():
            return file.schema_arrow.empty_table()
        return file.read_row_groups(groups).filter(keep)
    table = file.read_row_groups(groups)
    where = placement.positions(table["material_id"].to_pylist())
    return table.filter(pa.array((where >= low) & (where < high)))


def _first_only(table: pa.Table, seen: pa.Array) -> tuple[pa.Table, pa.Array]:
    """Without the fingerprints that were seen before, and those with the ones of this table."""
    again = pc.is_in(table[FINGERPRINT], value_set=seen)
    if pc.any(again).as_py():  # a unit computed twice: its rows are those of the first segment
        table = table.filter(pc.invert(again))
    return table, pa.concat_arrays([seen, pc.unique(table[FINGERPRINT])])
