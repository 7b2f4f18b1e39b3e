"""Licences and works to cite of some rows, from the tables alone: nobody is asked what a DOI stands for."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from features.errors import UserError
from features.store import tables

KNOWN = Path(__file__).with_name("citations.bib")
"""Entries of the works that the sources of this project name."""
DOI = re.compile(r"10\.\d{4,9}/\S+")


@dataclass(frozen=True)
class Licence:
    """What some rows may be used under."""

    license: str
    rows: int
    crystals: int


@dataclass(frozen=True)
class Work:
    """What to cite for some rows."""

    name: str
    """Its DOI, or the source's own words where these are no DOIs."""
    bibtex: str
    rows: int
    crystals: int


@dataclass(frozen=True)
class Citing:
    """Of the rows of a result."""

    rows: int
    crystals: int
    licences: list[Licence]
    works: list[Work]
    nameless: int
    """Crystals whose source names nobody to cite."""
    without_id: int
    """Rows of the result that name no crystal, which nothing of this is about."""
    version: str
    """What the tables that say it are called, in words."""


def citing(where: Path, result: pa.Table, called: str) -> Citing:
    """Licences and works of the crystals that a result names in its column `material_id`, the most frequent first.

    Args:
        where: the project folder whose `materials` says them.
        called: what that is called, in words.

    Raises `UserError` if there is no such column, if it is no text, or if one of its crystals is in no row of
    `materials`.
    """
    counts = Counter(_ids(result).to_pylist())
    without = counts.pop(None, 0)
    ids = sorted(counts)
    names = ["material_id", "license", "citation"]
    if missing := [name for name in names if name not in tables.schema(where, "materials").names]:
        raise UserError(f"cite: the table materials has no column {missing[0]} there, so that nobody can tell")
    rows = tables.read(where, "materials", names, ids).to_pylist()
    if unknown := sorted({*ids} - {row["material_id"] for row in rows}):
        raise UserError(f"cite: {len(unknown)} of {len(ids)} crystals are not in materials of {called}, the first is "
                        f"{unknown[0]}; crystals of another revision need --at REV")
    licences, works = _Tally(), _Tally()
    for row in rows:
        times = counts[row["material_id"]]
        licences.add([row["license"] or "unknown"], times)
        works.add(works_of(row["citation"] or ""), times)
    bibtex = entries(works.rows)
    return Citing(sum(counts[name] for name in ids), len(ids),
                  [Licence(name, *both) for name, both in licences.sorted()],
                  [Work(name, bibtex[name], *both) for name, both in works.sorted()],
                  sum(not row["citation"] for row in rows), without, called)


def _ids(result: pa.Table) -> pa.ChunkedArray:
    """The column `material_id`, in capitals or not, as SQL takes it."""
    columns = [number for number, name in enumerate(result.column_names) if name.lower() == "material_id"]
    if not columns:
        raise UserError("cite: the query does not return material_id, which says whose rows these are; add it to the "
                        "columns")
    ids = result.column(columns[0])
    if not (pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type) or pa.types.is_string_view(ids.type)):
        raise UserError(f"cite: material_id of the query is no text but {ids.type}")
    return ids


class _Tally:
    """Rows and crystals by name."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.crystals: Counter[str] = Counter()

    def add(self, names: Iterable[str], rows: int) -> None:
        for name in names:
            self.rows[name] += rows
            self.crystals[name] += 1

    def sorted(self) -> list[tuple[str, tuple[int, int]]]:
        return [(name, (self.rows[name], self.crystals[name]))
                for name in sorted(self.rows, key=lambda name: (-self.rows[name], name))]


def works_of(citation: str) -> list[str]:
    """The works that a citation names: its DOIs, or all of it where it is something else."""
    words = list(dict.fromkeys(citation.split()))
    if all(DOI.fullmatch(word) for word in words):
        return words
    return [" ".join(citation.split())]


def entries(works: Iterable[str]) -> dict[str, str]:
    """A BibTeX entry for each work; of a DOI that nobody here knows it holds no more than the DOI."""
    made: dict[str, str] = {}
    for work in works:
        known = _known().get(work.lower())
        if known:
            made[work] = known
        elif DOI.fullmatch(work):
            made[work] = (f"@misc{{{_label(work)},\n  doi = {{{_plain(work)}}},\n"
                          f"  url = {{https://doi.org/{_plain(work)}}}\n}}")
        else:
            made[work] = f"@misc{{{_label(work)[:40]},\n  note = {{{_plain(work)}}}\n}}"
    return made


@functools.cache
def _known() -> dict[str, str]:
    """The committed entries by DOI."""
    pieces = re.split(r"\n\n(?=@)", KNOWN.read_text(encoding="utf-8").strip())
    found = {piece: re.search(r"doi = \{(\S+)\}", piece) for piece in pieces}
    return {doi[1].lower(): piece for piece, doi in found.items() if doi}


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "source"


def _plain(text: str) -> str:
    """Text of a source within braces of BibTeX: without braces of its own, which need not match."""
    return re.sub(r"[{}\\]", "", text)
