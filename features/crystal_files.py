"""Which files hold crystals, what they are called, and their text, packed or not."""

from __future__ import annotations

import codecs
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from features.errors import RowError, UserError
from features.progress import say
from features.reading import FILE_BYTES, OF_THE_FILE, PACKED, read_bytes
from features.terminal import printable

SUFFIXES: Mapping[str, str] = {".cif": "cif", ".mcif": "cif", ".vasp": "poscar", ".poscar": "poscar", ".xyz": "extxyz",
                               ".extxyz": "extxyz", ".json": "json"}
"""End of a file's name → the format that it stands for."""
TAKEN = "*.cif, *.mcif, *.vasp, *.poscar, POSCAR*, CONTCAR*, *.xyz, *.extxyz or *.json, also packed as .gz"
"""All of it, for people."""
TABLES = (".parquet", ".csv", ".tsv", ".jsonl")
"""Ends of the names of tables of crystals (`features.columns`)."""
LEFT_BY_SYSTEMS = ("__MACOSX",)
MOST_NAMES = 5_000_000
"""Files that are looked at in a folder and below; one with more is not what was meant, such as the root of a disk."""
OF_THE_FOLDER = (*OF_THE_FILE, errno.ESRCH, errno.EINVAL)
"""Numbers of an `OSError` that one folder causes; the last two are those of processes that end, as folders of Linux."""
VASP_NAMES = ("poscar", "contcar")
"""Beginnings of names by which VASP knows its files of structures, whatever follows."""


def read_text(path: Path, most: int = FILE_BYTES) -> str:
    """Text of a file, unpacked if it is packed by gzip, whatever its name says.

    Raises `RowError` with the reason if it cannot be read or is larger than `most` bytes, and `OSError` if that is not
    the file's fault.
    """
    try:
        return decode(read_bytes(path, most, unpack=True))
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


def shown(path: Path | str) -> str:
    """The file's name, or a path that is written out; what is not UTF-8 in it, or no character that shows, shows as �,
    which no id may hold."""
    name = path if isinstance(path, str) else path.name
    return printable(os.fsencode(name).decode("utf-8", "replace"))


def named_format(name: str) -> str | None:
    """The format that a file's name stands for; None if it is no name of a crystal file."""
    plain = name.lower().removesuffix(PACKED)
    for suffix, form in SUFFIXES.items():
        if plain.endswith(suffix):
            return form
    return "poscar" if plain.startswith(VASP_NAMES) else None


def crystal_files(folder: Path) -> list[Path]:
    """Files in a folder or below whose name is that of a crystal file, sorted. What is hidden is left alone, and links
    to folders are not followed: they may lead back here.

    Raises `UserError` if there are more than can be one data set. Folders that may not be read, or that go away
    meanwhile, are left out, which is said in a line.
    """
    files: list[Path] = []
    for seen, path in enumerate(_names(folder), start=1):
        if seen > MOST_NAMES:
            raise UserError(f"{shown(str(folder))} holds more than {MOST_NAMES:,} files and folders; name the one that "
                            "holds the crystals")
        if named_format(path.name):
            files.append(path)
    return sorted(files)


def _names(folder: Path) -> Iterator[Path]:
    """All files below a folder that are not hidden, and links to folders."""
    folders, unreadable = [folder], []
    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in LEFT_BY_SYSTEMS:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        yield Path(entry.path)
        except OSError as error:
            if error.errno not in OF_THE_FOLDER:
                raise
            unreadable.append(f"{shown(str(here))} ({error.strerror})")
    if unreadable:
        say(f"folders that cannot be read and are left out: {len(unreadable)}, the first is {unreadable[0]}")


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
