"""A matrix with a row for each crystal, kept beside the tables that it was made from, so that a process maps it into
memory instead of decoding a table.

`data/.vectors/<table>-<what>-<digest of the table>-<CRC-32>.bin` holds the rows of the matrix as they lie in memory,
then their ids as an Arrow stream, and the length of that in eight bytes. It only saves work and may be deleted at any
time: a damaged one is dropped and made again, and where nothing can be written the matrix is made in memory.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.paths import Paths, project_of
from features.store import sums
from features.store.files import beside, remove

Piece = tuple[list[str], NDArray[Any]]
"""Ids and rows, some at a time; all rows of one width and type."""
SUFFIX = ".bin"
_BLOCK = 16 << 20


def kept(where: Path, table: str, what: str, pieces: Callable[[], Iterator[Piece]]) -> Piece:
    """The ids and the matrix that `pieces` makes of a table of the project folder `where`.

    Args:
        what: names what is made of the table, by which code.
    """
    digest = sums.digest(Paths(where).table(table))
    if digest is None:  # nothing tells whether the table is still the same
        return _in_memory(pieces())
    folder = Paths(project_of(where)).vectors
    name = f"{table}-{what}-{digest[:32]}"
    for path in sorted(folder.glob(f"{name}-*{SUFFIX}")):
        found = _read(path)
        if found is not None:
            return found
    try:
        made = _write(folder, name, pieces())
    except OSError:  # a folder that is only to be read, a full disk
        return _in_memory(pieces())
    return _read(made) or _in_memory(pieces())


def _in_memory(pieces: Iterator[Piece]) -> Piece:
    made = list(pieces)
    return list(itertools.chain.from_iterable(ids for ids, _ in made)), np.concatenate([rows for _, rows in made])


def _write(folder: Path, name: str, pieces: Iterator[Piece]) -> Path:
    crc, final = 0, folder

    def place(_: Path) -> Path:
        nonlocal final
        final = folder / f"{name}-{crc:08x}{SUFFIX}"
        return final

    with beside(folder / name, place) as draft, draft.open("wb") as file:
        def put(content: bytes) -> None:
            nonlocal crc
            crc = zlib.crc32(content, crc)
            file.write(content)

        ids: list[str] = []
        for some, rows in pieces:
            ids += some
            put(np.ascontiguousarray(rows).tobytes())
        stream = pa.BufferOutputStream()
        told = pa.schema([pa.field("material_id", pa.string())],
                         metadata={"dtype": rows.dtype.str, "width": str(rows.shape[1])})
        with pa.ipc.new_stream(stream, told) as writer:
            writer.write_table(pa.table([ids], schema=told))
        tail = stream.getvalue().to_pybytes()
        put(tail)
        put(len(tail).to_bytes(8, "little"))
    return final


def _read(path: Path) -> Piece | None:
    """What a file holds. None if it is damaged or has gone; then it is removed."""
    try:
        with path.open("rb") as file:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        crc = 0
        with memoryview(whole) as view:
            for start in range(0, len(view), _BLOCK):
                crc = zlib.crc32(view[start:start + _BLOCK], crc)
        if path.name.endswith(f"-{crc:08x}{SUFFIX}"):
            end = len(whole) - 8
            start = end - int.from_bytes(whole[end:], "little")
            ids = pa.ipc.open_stream(pa.py_buffer(whole)[start:end]).read_all()
            dtype, width = np.dtype(ids.schema.metadata[b"dtype"].decode()), int(ids.schema.metadata[b"width"])
            matrix = np.frombuffer(whole, dtype, len(ids) * width).reshape(len(ids), width)
            return ids["material_id"].to_pylist(), matrix
    except ValueError:  # an empty file cannot be mapped
        crc = -1
    except FileNotFoundError:  # housekeeping has been here
        return None
    with contextlib.suppress(OSError):  # where it is only to be read
        remove(path)
    return None
