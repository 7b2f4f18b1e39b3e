"""The row store: everything ever computed, by fingerprint. Append-only Parquet segments below `data/.rowstore/`.

A segment is written beside its place and renamed into it, so a half-written one is never seen. The store survives
crashes, branch switches and parameter flips, and may be deleted at any time: it only saves work.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import placement
from features.errors import UserError
from features.progress import say
from features.view import FINGERPRINT, Reject

REJECT_SCHEMA = pa.schema([
    pa.field("material_id", pa.string()),
    pa.field("error", pa.string()),
    pa.field("message", pa.string()),
])
LOSS = "its rows are computed again"


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
        lock = filelock.FileLock(self.top / "lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(f"another run is computing '{self.top.name}'; wait for it or stop it") from None
        try:
            for leftover in self.folder.glob("*.tmp"):
                leftover.unlink()
            yield
        finally:
            lock.release()

    def known(self) -> tuple[set[bytes], dict[bytes, Reject]]:
        """Fingerprints of all finished rows, and all rejects by fingerprint."""
        rows: set[bytes] = set()
        for segment in self._segments("rows"):
            if (table := read_sound(segment, LOSS, [FINGERPRINT])) is not None:
                rows.update(table[FINGERPRINT].to_pylist())
        rejects: dict[bytes, Reject] = {}
        for segment in self._segments("rejects"):
            table = read_sound(segment, LOSS)
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
        found: list[pa.Table] = []
        seen: set[bytes] = set()
        for segment in self._segments("rows"):
            first, last = (int(text, 16) for text in segment.stem.split("-")[1:3])
            if last < low or first >= high:
                continue
            table = read_sound(segment, LOSS, [FINGERPRINT])
            if table is None:
                continue
            marks = table[FINGERPRINT]
            keep = pc.is_in(marks, value_set=values)
            if not pc.any(keep).as_py():
                continue
            here = set(pc.filter(marks, keep).to_pylist())
            if here & seen:  # the same unit computed twice: take the first segment's rows
                keep = pc.and_(keep, pc.invert(pc.is_in(marks, value_set=pa.array(list(seen), pa.binary(32)))))
            seen |= here
            if (whole := read_sound(segment, LOSS)) is None:
                raise UserError(f"row store: {segment.name} was damaged and is dropped; run again to compute its rows")
            found.append(whole.filter(keep).drop_columns([FINGERPRINT]))
        return pa.concat_tables(found) if found else self.schema.empty_table()

    def _segments(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}-*.parquet"))

    def _append(self, kind: str, table: pa.Table, fingerprints: list[bytes], material_ids: list[str]) -> None:
        where = placement.positions(material_ids)
        table = table.append_column(FINGERPRINT, pa.array(fingerprints, pa.binary(32)))
        name = f"{kind}-{where.min():08x}-{where.max():08x}-{uuid.uuid4().hex}.parquet"
        write_beside(table, self.folder / name)


def read_sound(path: Path, loss: str, columns: list[str] | None = None) -> pa.Table | None:
    """A file that only saves work. None if it is not there, or if it is damaged: then it is removed, and `loss` says
    what that costs. Raises `OSError` for trouble of the disk.
    """
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        return None
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's trouble, not the file's
            raise
        say(f"{path.name} is damaged and dropped, {loss} ({error})")
        path.unlink(missing_ok=True)
        return None


def write_beside(table: pa.Table, path: Path, *, row_group_size: int = 4096) -> None:
    """Write a Parquet file beside its place and rename it into it. The bytes depend on the table alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        pq.write_table(table, draft, compression="zstd", compression_level=3, row_group_size=row_group_size,
                       write_statistics=True, version="2.6", store_schema=True)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
