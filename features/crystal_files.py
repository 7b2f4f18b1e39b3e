"""Reading the text of a crystal file, packed or not."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from pathlib import Path

from features.errors import RowError

SUFFIXES = (".cif", ".cif.gz")
OF_THE_FILE = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP,
               errno.ENAMETOOLONG)
"""Numbers of an `OSError` that one file causes, by what it is or by who may read it; None is that of a damaged archive.
Any other (EIO, EMFILE, ENOSPC, ESTALE …) is the machine's, and as true of the next file.
"""


def read_text(path: Path) -> str:
    """Text of a `.cif` or `.cif.gz` file.

    Raises `RowError` with the reason if it cannot be read, and `OSError` if that is not the file's fault.
    """
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.name.lower().endswith(".gz") else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno not in OF_THE_FILE:
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RowError("unreadable", f"{shown(path)}: {reason}") from None


def shown(path: Path) -> str:
    """The file's name; what is not UTF-8 in it shows as �, which no id may hold."""
    return os.fsencode(path.name).decode("utf-8", "replace")
