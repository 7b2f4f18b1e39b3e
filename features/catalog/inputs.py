"""What a table was made from, told from its footers and the upstream tables alone.

A footer holds all of a fingerprint but the unit: the header of its view as it was when the table was made. So the
fingerprint of each row can be computed again without parameters, weights or the row store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features.store import placement, tables
from features.view import FeatureView, fingerprints_of

HEADER = ("view", "version", "params", "libraries", "digest")
"""What of a footer is the header that fingerprints are made with."""


def known(root: Path, view: FeatureView[Any]) -> bool:
    """Whether the units of a table can be told from tables: not those of a source, nor texts that a server wrote, nor
    those of another version of the view."""
    if not view.inputs or not all(_has(root, name, columns) for name, columns in view.inputs.items()):
        return False
    if tables.footer(tables.files(root, view.name)[0]).get("version") != view.version:
        return False
    return view.name != "descriptions" or "materials_project" not in set(
        tables.read(root, view.name, ["source"])["source"].to_pylist())


def _has(root: Path, name: str, columns: Sequence[str]) -> bool:
    return tables.exists(root, name) and set(columns) <= set(tables.schema(root, name).names)


def units(root: Path, view: FeatureView[Any], ids: Sequence[str] | None = None) -> pa.Table:
    """The units of a view, or those of some crystals, from the upstream tables as they are."""
    return view.units({name: tables.read(root, name, columns, ids) for name, columns in view.inputs.items()})


def fingerprints(footer: dict[str, Any], units: pa.Table) -> list[bytes]:
    """Fingerprints of units under the header that a footer holds."""
    return fingerprints_of({name: footer[name] for name in HEADER if name in footer}, units)


def digests(root: Path, view: FeatureView[Any]) -> Iterator[tuple[Path, bool]]:
    """For each part of a table that can be checked: its file, and whether the digest of its inputs that its footer
    holds is that of the upstream rows as they are.
    """
    if not known(root, view):
        return
    for path in tables.files(root, view.name):
        made, footer = by_key(root, view, path), tables.footer(path)
        rows = tables.read_parts([path], list(made.names))
        marks = {made.get(key) for key in zip(*(rows[name].to_pylist() for name in made.names), strict=True)}
        there = sorted(mark for mark in marks if mark is not None)
        yield path, hashlib.sha256(b"".join(there)).hexdigest() == footer.get("inputs_digest")


@dataclass(frozen=True)
class Marks:
    """Fingerprints of units."""

    names: tuple[str, ...]
    """The columns of a view's key that its units have."""
    marks: Mapping[tuple[Any, ...], bytes]
    """By the values of these."""

    def get(self, key: tuple[Any, ...]) -> bytes | None:
        """The fingerprint of a unit; None if there is no such unit any more."""
        return self.marks.get(key)


def by_key(root: Path, view: FeatureView[Any], path: Path) -> Marks:
    """The fingerprints of the units that belong into a part, under the header that its footer holds."""
    files, footer = tables.files(root, view.name), tables.footer(path)
    every = _of_part(root, view, files.index(path), len(files))
    names = tuple(name for name in view.key if name in every.column_names)
    keys = zip(*(every[name].to_pylist() for name in names), strict=True)
    return Marks(names, dict(zip(keys, fingerprints(footer, every), strict=True)))


def _of_part(root: Path, view: FeatureView[Any], number: int, parts: int) -> pa.Table:
    """The units whose ids belong into a part."""
    low, high = placement.part_range(number, parts)
    pieces = {}
    for name, columns in view.inputs.items():
        files = tables.files(root, name)
        bounds = [placement.part_range(place, len(files)) for place in range(len(files))]
        overlapping = [path for path, (first, end) in zip(files, bounds, strict=True) if first < high and end > low]
        rows = tables.read_parts(overlapping or files[:1], columns)
        where = placement.positions(rows["material_id"].to_pylist())
        pieces[name] = rows.filter(pa.array(np.asarray((where >= low) & (where < high))))
    return view.units(pieces)
