"""Reading files that others made, without waiting for them and within bounds.

A name may stand for anything: a pipe that nobody writes, a device that never ends, a megabyte that unpacks to a
terabyte. Only regular files are read, and no more of them than was asked for is ever in memory.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

from features.errors import RowError

MB = 1_000_000
FILE_BYTES = 64 * MB
"""Largest text of one crystal, unpacked. The largest CIFs, with the reflections of a macromolecule in them, have some
tens of megabytes; the crystal itself has some kilobytes of it."""
TABLE_BYTES = 2000 * MB
"""Largest table of crystals or properties: half a million crystals of 4 kB each."""
PACKED = ".gz"
GZIP = b"\x1f\x8b"
CHUNK = 1 << 20

OF_THE_FILE = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP,
               errno.ENAMETOOLONG, errno.ENXIO)
"""Numbers of an `OSError` that one file causes, by what it is or by who may read it; None is that of a damaged archive.
Any other (EIO, EMFILE, ENOSPC, ESTALE …) is the machine's, and as true of the next file.
"""
KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
         (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))


def read_bytes(path: Path, most: int, unpack: bool = False) -> bytes:
    """A regular file's bytes.

    Args:
        path: of the file, or of a link to it.
        most: bytes that it may have, as it lies there and unpacked.
        unpack: whether what is packed by gzip is unpacked, whatever its name says.

    Raises:
        RowError: `missing`, `unreadable`, or `over_bound`; its words do not name the file.
        OSError: if that is not the file's fault.
    """
    try:
        with opened(path) as file:
            if os.fstat(file.fileno()).st_size > most:
                raise over_bound(most)
            packed = unpack and (path.name.lower().endswith(PACKED) or file.peek(2)[:2] == GZIP)
            if not packed:
                return read_at_most(file, most)
            with gzip.open(file) as unpacked:
                return read_at_most(unpacked, most, "unpacked it")  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise of_the_file(error) from None


def opened(path: Path) -> io.BufferedReader:
    """A regular file, open for reading. Nothing else is opened, since that alone may wait for ever or do something.

    Raises `RowError` (`unreadable`) for what is none, and `OSError`.
    """
    _regular(os.stat(path))
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _regular(os.fstat(number))  # it may have been another one by then
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_at_most(file: BinaryIO, most: int, what: str = "it") -> bytes:
    """All bytes of a file that may have `most`. Raises `RowError` (`over_bound`) once there are more."""
    content = bytearray()
    while chunk := file.read(min(CHUNK, most + 1 - len(content))):
        content += chunk
        if len(content) > most:
            raise over_bound(most, what)
    return bytes(content)


def over_bound(most: int, what: str = "it") -> RowError:
    """What is said of something larger than it may be."""
    return RowError("over_bound", f"{what} is larger than {most / MB:g} MB")


def of_the_file(error: Exception) -> RowError:
    """The reason why a file cannot be read, in words. Raises the error itself if it is the machine's."""
    if isinstance(error, OSError) and error.errno not in OF_THE_FILE:
        raise error
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR):
        return RowError("missing", "there is no such file")
    return RowError("unreadable", error.strerror if isinstance(error, OSError) and error.strerror else str(error))


def _regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = next((name for test, name in KINDS if test(status.st_mode)), "something else")
        raise RowError("unreadable", f"it is {what}, and only regular files are read")
