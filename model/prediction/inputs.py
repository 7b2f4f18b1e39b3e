"""Which crystals somebody means: files, folders, tables, standard input, text, and pymatgen's structures.

Each gives a name and a text, or the reason why it has none; the text is read by whoever makes its features, in the same
way as a file's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.cif.blocks import structure_blocks
from features.crystal_files import TABLES, TAKEN, crystal_files, decode, read_text, shown
from features.errors import RowError, UserError
from features.formats import format_of
from features.reading import FILE_BYTES, read_at_most
from features.view import row_errors

if TYPE_CHECKING:
    from features.columns import Columns

STANDARD_INPUT = "-"
EXPECTED = "expected: a pymatgen Structure, the text of a crystal file, or the path of a file, folder or table"


@dataclass(frozen=True)
class Given:
    """One crystal as it was given."""

    name: str
    """File, row, or number in a list."""
    text: str = ""
    says: str = ""
    """A file's name, or what else says a format where the text does not."""
    error: str | None = None
    """Why there is no text, as `kind: message`."""

    @classmethod
    def without(cls, name: str, error: RowError) -> Given:
        """One of which nothing can be read."""
        return cls(name, error=f"{error.kind}: {error}")


@dataclass(frozen=True)
class _File:
    path: Path
    block: str | None


@dataclass(frozen=True)
class _Table:
    """A table that can be read. Its reader (polars) is imported where there is one, and not for a file."""

    columns: Columns

    def __len__(self) -> int:
        return len(self.columns.places)

    def rows(self) -> Iterator[Given]:
        """Each under its id, or under its place where it has none."""
        from features.columns import ID, structure_columns, structure_of

        named = structure_columns(self.columns)
        ids = self.columns.ids() if ID in self.columns.series else [""] * len(self)
        for row, material_id in enumerate(ids):
            name = shown(material_id or self.columns.place(row))
            try:
                column, text = structure_of(self.columns, named, row)
            except RowError as error:
                yield Given.without(name, error)
            else:
                yield Given(name, text, f".{column}")


class Inputs:
    """What was given, with folders looked into, tables opened, and files that were named twice named once.

    `total` is the number of crystals as far as it is known: blocks of CIFs are not counted, and of an iterator, which
    is read as far as it is asked for, it is None.
    """

    def __init__(self, crystals: Any, every_block: bool = False) -> None:
        self.every_block = every_block
        self._seen: set[tuple[str, str | None]] = set()
        single = isinstance(crystals, str | Path) or _is_structure(crystals)
        if not single and not isinstance(crystals, Iterable):
            raise UserError(f"a {type(crystals).__name__} is no crystal; {EXPECTED}, or several of these")
        self._lazy = not single and not isinstance(crystals, Sequence)
        self._places: Iterable[Any] = (place for number, one in enumerate([crystals] if single else crystals, start=1)
                                       for place in self._expanded(one, number))
        self.total: int | None = None
        if not self._lazy:
            self._places = list(self._places)
            self.total = sum(len(place) if isinstance(place, _Table) else 1 for place in self._places)

    def __iter__(self) -> Iterator[Given]:
        for place in self._places:
            if isinstance(place, Given):
                yield place
            elif isinstance(place, _Table):
                yield from place.rows()
            else:
                yield from self._file(place)

    def _expanded(self, one: Any, number: int) -> Iterator[Any]:
        """A `Given`, a table or files, each file once."""
        if _is_structure(one):
            yield Given(f"structure {number}", json.dumps(one.as_dict(), default=float), ".json")
        elif isinstance(one, str) and ("\n" in one or one.lstrip().startswith("{")):
            yield Given(f"text {number}", one)
        elif not isinstance(one, str | Path):
            raise UserError(f"crystal {number} is a {type(one).__name__}; {EXPECTED}")
        else:
            yield from self._path(Path(one))

    def _path(self, path: Path) -> Iterator[Any]:
        if os.path.isdir(path):
            files = [_File(file, None) for file in crystal_files(path)]
            if not files:
                why = f"{shown(path)} is a folder without crystal files ({TAKEN})"
                yield Given.without(shown(str(path)), RowError("empty_folder", why))
        else:
            files = [_File(*_file_and_block(path))]
        for file in files:
            key = (STANDARD_INPUT if str(file.path) == STANDARD_INPUT else os.path.realpath(file.path), file.block)
            if key in self._seen:
                continue
            self._seen.add(key)
            yield from self._table(file.path) if file.path.suffix.lower() in TABLES else [file]

    def _table(self, path: Path) -> Iterator[_Table | Given]:
        from features.columns import read_columns, structure_columns

        if not os.path.lexists(path):
            yield Given.without(shown(str(path)), RowError("missing", f"{shown(path)}: there is no such file"))
            return
        try:
            table = read_columns(path)
            structure_columns(table)
        except UserError as error:
            yield Given.without(shown(str(path)), RowError("unreadable", str(error)))
        else:
            yield _Table(table)

    def _file(self, file: _File) -> Iterator[Given]:
        try:
            with row_errors():
                crystals = _crystals(file, self.every_block)
        except RowError as error:
            name = str(file.path) if file.block is None else f"{file.path}#{file.block}"
            yield Given.without(shown(name), error)
        else:
            yield from (Given(name, text, file.path.name) for name, text in crystals)


def read_crystals(path: Path, every_block: bool = False) -> list[tuple[str, str]]:
    """Name and text of each crystal that a file, `-` for standard input, or `FILE#BLOCK` stands for.

    Names of blocks count in small and capital letters alike. A file whose own name holds a `#` goes before a block.
    Raises `RowError` if the file is missing, cannot be read or has no such block.
    """
    return _crystals(_File(*_file_and_block(path)), every_block)


def _crystals(one: _File, every_block: bool) -> list[tuple[str, str]]:
    file, block = one.path, one.block
    text = _read(file)
    if block is None and not (every_block and format_of(file.name, text) == "cif"):
        return [(shown(str(file)), text)]
    if format_of(file.name, text) != "cif":
        raise RowError("no_block", f"{shown(file)} is no CIF, and only a CIF has blocks")
    blocks = structure_blocks(text)
    chosen = blocks if block is None else [name for name in blocks if name == block] \
        or [name for name in blocks if name.lower() == block.lower()]
    if not chosen:
        raise RowError("no_block", f"{shown(file)} has no block '{block}' with sites; there are: {', '.join(blocks)}")
    return [(shown(f"{file}#{name}"), blocks[name]) for name in chosen]


def _file_and_block(path: Path) -> tuple[Path, str | None]:
    """The file that is there, and what stands behind it as the name of a block, which may hold a `#` too."""
    written = str(path)
    ends = [] if os.path.exists(path) else [at for at, character in enumerate(written) if character == "#"]
    for end in reversed(ends):
        if written[:end] == STANDARD_INPUT or os.path.exists(written[:end]):
            return Path(written[:end]), written[end + 1:]
    return path, None


def _read(path: Path) -> str:
    if str(path) != STANDARD_INPUT:
        return read_text(path)
    if sys.stdin is None:
        raise RowError("unreadable", "standard input is closed")
    try:
        return decode(read_at_most(sys.stdin.buffer, FILE_BYTES))
    except RowError as error:
        raise RowError(error.kind, f"standard input: {error}") from None


def _is_structure(one: Any) -> bool:
    """Whether it is a structure of pymatgen, which need not be imported to know."""
    return hasattr(one, "as_dict") and hasattr(one, "lattice")
