"""The formats of crystal files: which one a text is in, and the crystal that it means.

CIF is read by `features.cif`. The others are short enough to be read here line by line, so that what is wrong with a
file is said with the line and with what was expected there, and nothing in it is guessed.
"""

from __future__ import annotations

import re

from features.bounds import BOUNDS, Bounds
from features.cif.read import Reading, read_cif
from features.crystal_files import named_format
from features.errors import RowError
from features.formats import extxyz, poscar, pymatgen_json
from features.formats.lines import is_integer, is_numbers, lines_of
from features.view import row_errors

WHAT_IS_READ = "CIF, POSCAR or CONTCAR, extended XYZ with a Lattice, and pymatgen's JSON of a Structure"
CIF_LINE = re.compile(r"^[ \t]*(data_|loop_|_cell[_.])", re.IGNORECASE | re.MULTILINE)
WEB_PAGE = ("<!doctype html", "<html")


def format_of(name: str, text: str) -> str:
    """The format of a text: `cif`, `poscar`, `extxyz` or `json`.

    The content decides. Where it does not, as in a damaged file, the name says which format was meant.

    Args:
        name: of the file, or "" if there is none.
        text: the file's content.

    Raises `RowError`: `empty` for blank text, `unknown_format` for what is none of them.
    """
    start = text.lstrip()
    if not start:
        raise RowError("empty", "there is no structure: the text is empty")
    if start.startswith("{"):
        return "json"
    lines = lines_of(text)
    if len(lines) > 1 and is_integer(lines[0]) and re.search(r"\blattice\s*=", lines[1], re.IGNORECASE):
        return "extxyz"
    if len(lines) > 5 and (is_numbers(lines[1], 1) and all(is_numbers(line, 3) for line in lines[2:5])):
        return "poscar"
    if CIF_LINE.search(text.replace("\r", "\n")):
        return "cif"
    if start[:20].lower().startswith(WEB_PAGE):
        raise RowError("unknown_format", "this is a web page (HTML), no crystal file")
    form = named_format(name)
    if form is None:
        raise RowError("unknown_format", f"this is none of the formats that are read: {WHAT_IS_READ}")
    return form


def parse(text: str, form: str, *, keep_contradictions: bool = False, bounds: Bounds = BOUNDS) -> Reading:
    """The crystal that a text means.

    Args:
        text: the file's content.
        form: as `format_of` says: `cif`, `poscar`, `extxyz` or `json`.
        keep_contradictions: a file that contradicts itself is read, with a flag that says so, and not refused.
        bounds: how many atoms and operations it may have.

    Raises `RowError` with what was expected, and where, if the text means no periodic crystal.
    """
    if not text.strip():
        raise RowError("empty", "there is no structure: the text is empty")
    if "\0" in text:
        raise RowError("unreadable", "this is no text: it holds characters of value 0")
    with row_errors("unreadable"):
        if form == "cif":
            return read_cif(text, keep_contradictions=keep_contradictions, bounds=bounds)
        if form == "poscar":
            return Reading(*poscar.read(text, keep_contradictions, bounds))
        if form == "extxyz":
            return Reading(extxyz.read(text, bounds), {})
        if form == "json":
            return Reading(pymatgen_json.read(text, bounds), {})
    raise RowError("unknown_format", f"'{form}' is none of the formats cif, poscar, extxyz and json")
