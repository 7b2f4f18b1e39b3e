"""Sums of what lies on disk, so that a damaged file is noticed before a row of it is believed.

A published folder holds `sums.json`: of each of its files the size and the CRC-32 of each chunk, and a digest of all
that. `verified` opens one of its files, and each chunk is checked when it is first read, so that a reader of few
columns checks little more than it reads. A file that stands alone may bear a seal (`features.store.seal`) instead.
What has neither was written by a version before these sums, and is read as it is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import stat
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import UserError
from features.progress import say
from features.store import seal
from features.store.files import DRAFT, write_text

SUMS = "sums.json"
CHUNK = 256 << 10
"""Bytes that have one sum. A CRC-32 finds every error of up to 32 bits in a row, and misses one of 4·10⁹ others."""
T = TypeVar("T")


class Damaged(UserError):  # noqa: N818 (a state of a file, as callers name it)
    """A stored file is not what was written."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is damaged ({' '.join(why.split())}); `python -m pipelines repair` mends it")
        self.path, self.why = path, why

    def __reduce__(self) -> tuple[type[Damaged], tuple[Path, str]]:  # it travels between processes
        return type(self), (self.path, self.why)


@dataclass(frozen=True)
class Sums:
    """What a file was when it was written."""

    size: int
    crc32: tuple[int, ...]
    """Of each chunk."""


def measure(path: Path) -> tuple[Sums, str]:
    """The sums of a file as it is, and its sha256."""
    size, sums, digest = 0, [], hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            size += len(piece)
            sums.append(zlib.crc32(piece))
            digest.update(piece)
    return Sums(size, tuple(sums)), digest.hexdigest()


def write(folder: Path, measured: Mapping[str, Sums] | None = None) -> None:
    """Write `sums.json` for the files that lie in a folder, some of which may have been measured before. Its bytes
    depend on theirs alone."""
    known = measured or {}
    content = {path.name: [sums.size, [f"{crc:08x}" for crc in sums.crc32]]
               for path in sorted(folder.iterdir()) if path.is_file() and path.name != SUMS
               and not path.name.endswith(DRAFT) for sums in [known.get(path.name) or measure(path)[0]]}
    write_text(folder / SUMS, json.dumps({"chunk": CHUNK, "files": content, "sha256": _digest(content)},
                                         separators=(",", ":")) + "\n")


def listed(folder: Path) -> list[str] | None:
    """Names of the files that a folder had when it was published; None if it does not say. Raises `Damaged`."""
    try:
        content = (folder / SUMS).read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise Damaged(folder / SUMS, "it is a folder") from None
    return sorted(_parsed(folder / SUMS, content))


def digest(folder: Path) -> str | None:
    """Digest of the names and bytes of a published folder's files, as they were when it was published; None if it does
    not say. Raises `Damaged`."""
    return None if listed(folder) is None else str(json.loads((folder / SUMS).read_bytes())["sha256"])


def verified(path: Path) -> Verified:
    """A file, to be read. Raises `Damaged`, now or from `read`, where it is not what was written, and
    `FileNotFoundError` if it is neither there nor missing.
    """
    # both are opened in one folder, even where a new version of it takes its place in between
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sums = _sums_in(folder, path)
        descriptor = os.open(path.name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        if sums is None:
            raise
        raise Damaged(path, "it is missing") from None
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged(path, "it is no file")
    file = Verified(path, descriptor, sums)
    if sums is None:
        file.check_seal()
    return file


def again(file: Checked) -> Verified | None:
    """A file that was opened before, with what has been checked of it; None if it is not the same any more."""
    try:
        opened = Verified(file.path, os.open(file.path, os.O_RDONLY | os.O_CLOEXEC), None)
    except OSError:
        return None
    if opened.identity != file.identity:
        opened.close()
        return None
    opened.use(file)
    return opened


def read(path: Path) -> bytes:
    """A file, whole. Raises as `verified` does."""
    with contextlib.closing(verified(path)) as file:
        return file.read()


def damages(folder: Path) -> Iterator[Damaged]:
    """All that is wrong with a published folder, each of its files read whole. Without sums: what cannot be read."""
    try:
        published = listed(folder)  # whatever else lies there is somebody's own
    except Damaged as damage:
        yield damage
        return
    there = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    for name in there if published is None else published:
        try:
            with contextlib.closing(verified(folder / name)) as file:
                while file.read(16 * CHUNK):
                    """All of it is read, and nothing of it is kept."""
            if published is None and name.endswith(".parquet"):
                with parquet(folder / name) as content:
                    for group in range(content.num_row_groups):
                        content.read_row_group(group)
        except Damaged as damage:
            yield damage


@dataclass(frozen=True)
class Checked:
    """What is known of an open file, beyond its being open."""

    path: Path
    identity: tuple[int, ...]
    """Device, inode, size and time of the last change."""
    sums: Sums | None
    sound: bytearray
    """1 for each chunk that was checked."""


class Verified:
    """An open file whose chunks are checked when they are first read. Threads may share it, and seek before they read:
    each has a place of its own."""

    mode = "rb"
    _descriptor = -1  # until it is open

    def __init__(self, path: Path, descriptor: int, sums: Sums | None) -> None:
        self._descriptor = descriptor
        self._path, self._sums = path, sums
        self._place = threading.local()
        state = os.fstat(descriptor)
        self.size = state.st_size
        self.identity = state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns
        if sums is not None and self.size != sums.size:
            self.close()
            raise Damaged(path, f"it has {self.size} bytes, {sums.size} were written")
        self._sound = bytearray(len(sums.crc32) if sums is not None else 0)

    @classmethod
    def of(cls, path: Path, sums: Sums) -> Verified:
        """A file whose sums the caller knows."""
        return cls(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC), sums)

    @property
    def checked(self) -> Checked:
        """What is known of it, for `again`; it grows as the file is read."""
        return Checked(self._path, self.identity, self._sums, self._sound)

    def use(self, known: Checked) -> None:
        """Take over what is known of the same file."""
        self._sums, self._sound = known.sums, known.sound

    @property
    def closed(self) -> bool:
        return self._descriptor < 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def flush(self) -> None:
        """Nothing: it cannot be written."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.size}[whence]
        return self.tell()

    def tell(self) -> int:
        return int(getattr(self._place, "at", 0))

    def read(self, count: int = -1) -> bytes:
        start = min(self.tell(), self.size)
        end = self.size if count < 0 else min(start + count, self.size)
        content = self._pread(start, end) if self._sums is None else self._checked(start, end, self._sums)
        self._place.at = start + len(content)
        return content

    def _checked(self, start: int, end: int, sums: Sums) -> bytes:
        first, last = start // CHUNK, -(-end // CHUNK)
        if all(self._sound[first:last]):
            return self._pread(start, end)
        low = first * CHUNK
        content = self._pread(low, min(last * CHUNK, self.size))
        for number in range(first, last):
            if zlib.crc32(memoryview(content)[number * CHUNK - low:(number + 1) * CHUNK - low]) != sums.crc32[number]:
                raise Damaged(self._path, f"bytes {number * CHUNK} to {min((number + 1) * CHUNK, self.size)} are not "
                              "what was written")
            self._sound[number] = 1
        return content[start - low:end - low]

    def _pread(self, start: int, end: int) -> bytes:
        pieces = []
        while start < end and (piece := os.pread(self._descriptor, end - start, start)):
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def check_seal(self) -> None:
        """Check the whole of a file that bears a seal; one that bears none stays as it is."""
        start = max(0, self.size - CHUNK)  # the seal stands in the footer, at the end
        if seal.is_sealed(self._pread(start, self.size)) and not seal.is_whole(self._pread(0, self.size)):
            self.close()
            raise Damaged(self._path, "its bytes are not those that were sealed")

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


class _InOneThread(pq.ParquetFile):
    """A Parquet file that is decoded in the thread that asks for it, since what is read here lies in Python's memory.

    A thread of Arrow's gives such memory back after the caller already has the rows. Where that is during the end of
    the program, it waits for an interpreter that is gone, and the program aborts.
    """

    def read(self, *args: Any, **options: Any) -> pa.Table:
        return super().read(*args, **{"use_threads": False, **options})

    def read_row_group(self, *args: Any, **options: Any) -> pa.Table:
        return super().read_row_group(*args, **{"use_threads": False, **options})

    def read_row_groups(self, *args: Any, **options: Any) -> pa.Table:
        return super().read_row_groups(*args, **{"use_threads": False, **options})

    def iter_batches(self, *args: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        return super().iter_batches(*args, **{"use_threads": False, **options})


@contextlib.contextmanager
def parquet(path: Path, file: Verified | None = None) -> Iterator[pq.ParquetFile]:
    """An open Parquet file, as `verified` opens it or as the caller has. Raises `Damaged` for whatever reading it
    inside fails for, trouble of the disk aside."""
    try:
        with contextlib.closing(file or verified(path)) as opened, _InOneThread(
                opened, page_checksum_verification=True, pre_buffer=False) as content:
            yield content
    except FileNotFoundError:
        raise Damaged(path, "it is missing") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # texts that are not UTF-8 are values that are wrong
        if not _is_damage(error):
            raise
        raise Damaged(path, str(error)) from None


def read_sound(path: Path, loss: str, read: Callable[[pq.ParquetFile], T]) -> T | None:
    """What `read` makes of a Parquet file that only saves work. None if it is not there, or if it is damaged: then it
    is removed, and `loss` says what that costs. Raises `OSError` for trouble of the disk.
    """
    if not path.exists():
        return None
    try:
        with parquet(path) as file:
            return read(file)
    except Damaged:
        say(f"{path} is damaged and dropped, {loss}")
        path.unlink(missing_ok=True)
        return None


def _is_damage(error: Exception) -> bool:
    """Whether reading failed for what is in the file, and not for trouble of the disk or of memory."""
    if isinstance(error, pa.ArrowMemoryError | pa.ArrowCancelled):
        return False
    return not isinstance(error, OSError) or error.errno is None


def _sums_in(folder: int, path: Path) -> Sums | None:
    """What the open folder says of a file of it; None if it says nothing of any."""
    try:
        with open(os.open(SUMS, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise Damaged(path.with_name(SUMS), "it is a folder") from None
    sums = _parsed(path.with_name(SUMS), content).get(path.name)
    if sums is None:
        raise Damaged(path, f"it is not one of the files in {SUMS}")
    return sums


def _parsed(path: Path, content: bytes) -> dict[str, Sums]:
    try:
        return _parse(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(path, "it does not hold what was written") from None


@functools.lru_cache(maxsize=64)  # a table of many parts asks for each of them
def _parse(content: bytes) -> dict[str, Sums]:
    stored = json.loads(content)
    if stored["sha256"] != _digest(stored["files"]) or stored["chunk"] != CHUNK:
        raise ValueError
    return {name: Sums(size, tuple(int(crc, 16) for crc in crcs)) for name, (size, crcs) in stored["files"].items()}


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([CHUNK, content], separators=(",", ":")).encode()).hexdigest()
