"""Which files hold crystals, what they are called, and their text, packed or not."""

from __future__ import annotations

import codecs
import errno
import gzip
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

from features.errors import RowError

SUFFIXES: Mapping[str, str] = {".cif": "cif", ".mcif": "cif", ".vasp": "poscar", ".poscar": "poscar", ".xyz": "extxyz",
                               ".extxyz": "extxyz", ".json": "json"}
"""End of a file's name → the format that it stands for."""
PACKED = ".gz"
TAKEN = "*.cif, *.mcif, *.vasp, *.poscar, POSCAR*, CONTCAR*, *.xyz, *.extxyz or *.json, also packed as .gz"
"""All of it, for people."""
TABLES = (".parquet", ".csv", ".tsv", ".jsonl")
"""Ends of the names of tables of crystals (`features.columns`)."""
LEFT_BY_SYSTEMS = ("__MACOSX",)
VASP_NAMES = ("poscar", "contcar")
"""Beginnings of names by which VASP knows its files of structures, whatever follows."""
OF_THE_FILE = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP,
               errno.ENAMETOOLONG)
"""Numbers of an `OSError` that one file causes, by what it is or by who may read it; None is that of a damaged archive.
Any other (EIO, EMFILE, ENOSPC, ESTALE …) is the machine's, and as true of the next file.
"""


def read_text(path: Path) -> str:
    """Text of a file, unpacked if it is packed by gzip, whatever its name says.

    Raises `RowError` with the reason if it cannot be read, and `OSError` if that is not the file's fault.
    """
    try:
        raw = path.read_bytes()
        packed = path.name.lower().endswith(PACKED) or raw.startswith(b"\x1f\x8b")
        return decode(gzip.decompress(raw) if packed else raw)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno not in OF_THE_FILE:
            raise
        if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise RowError("missing", f"{shown(path)}: there is no such file") from None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RowError("unreadable", f"{shown(path)}: {reason}") from None
    except RowError as error:
        raise RowError(error.kind, f"{shown(path)}: {error}") from None


def decode(raw: bytes) -> str:
    """Text of a file's bytes: UTF-8 or, with a byte order mark, UTF-16; else what is older, Latin-1 with the additions
    of Windows, in which authors' names are written. Ends of lines stay as they are.

    Raises `RowError` for what is no text.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = _decoded(raw, "utf-16")
        if text is None:
            raise RowError("unreadable", "the file begins as UTF-16 text and is damaged or cut off")
    else:
        raw = raw.removeprefix(codecs.BOM_UTF8)
        text = next(text for encoding in ("utf-8", "cp1252", "latin-1")
                    if (text := _decoded(raw, encoding)) is not None)
    if "\0" in text:
        raise RowError("unreadable", "the file is not text: it holds bytes of value 0")
    return text


def _decoded(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def shown(path: Path) -> str:
    """The file's name; what is not UTF-8 in it shows as �, which no id may hold."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def named_format(name: str) -> str | None:
    """The format that a file's name stands for; None if it is no name of a crystal file."""
    plain = name.lower().removesuffix(PACKED)
    for suffix, form in SUFFIXES.items():
        if plain.endswith(suffix):
            return form
    return "poscar" if plain.startswith(VASP_NAMES) else None


def crystal_files(folder: Path) -> list[Path]:
    """Files in a folder or below whose name is that of a crystal file, sorted. What is hidden is left alone."""
    return [path for path in sorted(folder.rglob("*")) if named_format(path.name) and not path.is_dir()
            and not any(part.startswith(".") or part in LEFT_BY_SYSTEMS for part in path.relative_to(folder).parts)]


def id_of(path: Path) -> str:
    """The id of a file's crystal: its name without suffixes.

    POSCAR and CONTCAR are called alike in every calculation, so the id of theirs is the name of their folder.
    """
    stem = stem_of(path)
    return shown(path.absolute().parent) if stem.lower() in VASP_NAMES else stem


def stem_of(path: Path) -> str:
    """A file's name without the suffixes that say how it is written."""
    name = shown(path)
    if name.lower().endswith(PACKED):
        name = name[:-len(PACKED)]
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[:-len(suffix)]
    return name
