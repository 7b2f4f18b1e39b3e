"""What changed from one version of the tables to another: columns, rows, values, rejects, and where the numbers of a
column moved to.

Part files of the same bytes are skipped. The others are read pair by pair, since the same ids lie in the same range of
positions, so that no more than two parts, and one column for its distribution, are ever held.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.catalog.diff_columns import ColumnChange, is_number
from features.differences import changed_values, differences
from features.errors import UserError
from features.store import tables, versions

Numbers = NDArray[np.float64]

ID = "material_id"
HANDFUL = 7
"""Crystals below which a table, such as explanations, has no distribution worth comparing: `explain` tells of six by
default."""
OCCURRENCE = "occurrence"
"""Numbers rows that no column tells apart."""


@dataclass(frozen=True)
class Drift:
    """How one numeric column moved, over all rows."""

    column: str
    mean: tuple[float | None, float | None]
    """Before and after, without missing values; None if there is none."""
    missing: tuple[float, float]
    """Share of missing values, before and after."""
    distance: float
    """Kolmogorov–Smirnov: the largest difference of the two cumulative distributions, 0 (the same) to 1."""


@dataclass(frozen=True)
class SchemaChange:
    """A column that came, went, or is another one: its type and unit, before and after; None where it is not."""

    column: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class RowCounts:
    """Rows of a table by what became of them. A row is told by its key."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    same: int = 0


@dataclass(frozen=True)
class TableChange:
    """What became of one table. A row counts as changed if any of the columns that both versions have did."""

    table: str
    rows: tuple[int, int]
    parts: tuple[int, int]
    """Part files whose bytes changed, and all of them."""
    ids: tuple[int, int] = (0, 0)
    """Crystals, before and after; 0 of tables that are not of crystals."""
    added: list[str] = field(default_factory=list)
    """Ids, sorted, as in the two below: all rows of one id count as one. Rows that are not those of crystals are called
    by their key."""
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
    """The columns that moved, the most moved first."""
    key: tuple[str, ...] = ()
    """Columns that tell rows apart."""
    counts: RowCounts = RowCounts()
    schema: list[SchemaChange] = field(default_factory=list)
    columns: list[ColumnChange] = field(default_factory=list)
    """Of the columns that both have, the least equal first."""
    why: list[str] = field(default_factory=list)
    """What their footers say of how they were made, where that differs."""

    @property
    def is_seen(self) -> bool:
        """Whether a reader of the table sees any of it: other bytes may hold the same."""
        return bool(self.added or self.changed or self.removed or self.schema or self.why)


@dataclass(frozen=True)
class Changes:
    """What became of all tables."""

    tables: list[TableChange]
    """Only those with other bytes than before."""
    newly_rejected: list[dict[str, str]]
    """Rejects (view, material_id, error, message) of ids that the same view did not reject before."""
    no_longer_rejected: list[dict[str, str]] = field(default_factory=list)


def compare(before: Path, after: Path, only: Sequence[str] = ()) -> Changes:
    """Compare the tables of two project folders, or some of them. A table that only one of them has counts as empty in
    the other.

    Raises `UserError` for a table of `only` that neither has, and `Damaged`.
    """
    names = sorted({*tables.names(before), *tables.names(after)})
    if unknown := sorted({*only} - {*names}):
        raise UserError(f"no table '{unknown[0]}' in either; there are: {', '.join(names) or 'none'}")
    if not only:  # tables of no version are those of the work tree: they are compared where both have them
        names = [name for name in names if name not in versions.APART
                 or (tables.exists(before, name) and tables.exists(after, name))]
    changes = [change for name in only or names if (change := _table(before, after, name)) is not None]
    earlier, later = _rejects(before), _rejects(after)
    return Changes(changes, _without(later, earlier, only), _without(earlier, later, only))


def _table(before: Path, after: Path, name: str) -> TableChange | None:
    old, new = (tables.files(root, name) if tables.exists(root, name) else [] for root in (before, after))
    if len(old) == len(new):
        pairs = [([one], [other]) for one, other in zip(old, new, strict=True) if not _same_bytes(one, other)]
    else:
        pairs = list(_ranges(old, new))
    if not pairs:
        return None
    touched = [path for pair in pairs for path in pair[0]], [path for pair in pairs for path in pair[1]]
    schemas = [tables.schema_of((paths or others)[0]) for paths, others in ((old, new), (new, old))]
    table = _Comparison(schemas[0], schemas[1], *touched)
    for pair in pairs:
        table.add(*(_part(paths, schema) for paths, schema in zip(pair, schemas, strict=True)))
    rows = sum(map(tables.rows, old)), sum(map(tables.rows, new))
    ids = _ids(old), _ids(new)
    moved = {column.column for column in table.columns.values() if column.equal < column.rows}
    if table.counts["added"] or table.counts["removed"]:
        moved |= {*table.columns}
    table.counts["same"] += rows[0] - sum(map(tables.rows, touched[0]))
    both = table.counts["same"] + table.counts["changed"]
    for column in table.columns.values():  # what was not counted in is equal, or is missing in both
        column.rows, column.equal = both, both - (column.rows - column.equal)
        column.tell()
    return TableChange(
        name, rows, (len(touched[1]), len(new)), ids, **table.ids(), key=tuple(table.key),
        drift=_drift(old, new, moved) if min(ids) >= HANDFUL else [], counts=RowCounts(**table.counts),
        schema=_schema(*schemas), why=_why(old, new) if old and new else [],
        columns=sorted(table.columns.values(), key=lambda column: (column.share or 0, column.column)))


def _same_bytes(one: Path, other: Path) -> bool:
    return os.path.samefile(one, other) or filecmp.cmp(one, other, shallow=False)


def _ranges(old: list[Path], new: list[Path]) -> Iterator[tuple[list[Path], list[Path]]]:
    """Part files of the same ids: where one version has twice as many parts, each two are one of the other."""
    few = min(len(old), len(new))
    if not few:
        yield from (([path] if old else [], [path] if new else []) for path in old or new)
    elif len(old) % few or len(new) % few:
        yield old, new
    else:
        a, b = len(old) // few, len(new) // few
        yield from ((old[k * a:(k + 1) * a], new[k * b:(k + 1) * b]) for k in range(few))


def _part(paths: list[Path], schema: pa.Schema) -> pa.Table:
    return (tables.read_parts(paths) if paths else schema.empty_table()).combine_chunks()


class _Comparison:
    """Counts the rows of one table, part by part."""

    def __init__(self, before: pa.Schema, after: pa.Schema, old: list[Path], new: list[Path]) -> None:
        names = [name for name in before.names if name in after.names]
        self.types = {name: _both(before.field(name).type, after.field(name).type) for name in names}
        self.key = _key(self.types, [old, new])
        self.columns: dict[str, ColumnChange] = {}
        self.counts = {"added": 0, "changed": 0, "removed": 0, "same": 0}
        self._ids: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}

    def ids(self) -> dict[str, list[str]]:
        return {kind: sorted(ids) for kind, ids in self._ids.items()}

    def add(self, before: pa.Table, after: pa.Table) -> None:
        """Count the rows of two parts of the same range."""
        keys = [_keys(table, self.key) for table in (before, after)]
        here, there = _aligned(*keys)
        same = np.ones(len(here), bool)

        def name(row: int) -> str:
            return _called(keys[0], int(here[row]))

        for column, one, other in self._pairs(_taken(before, here), _taken(after, there)):
            if column not in self.key:
                same &= self.columns.setdefault(column, ColumnChange(column)).add(one, other, name)
        gone, come = (np.setdiff1d(np.arange(len(table)), rows) for table, rows in ((before, here), (after, there)))
        for kind, count in (("added", len(come)), ("changed", int((~same).sum())), ("removed", len(gone)),
                            ("same", int(same.sum()))):
            self.counts[kind] += count
        called = [_names(one, self.key) for one in keys]
        whole = set(called[0]), set(called[1])
        touched = {called[0][row] for row in [*gone, *here[~same]]} | {called[1][row] for row in come}
        self._ids["added"] += whole[1] - whole[0]
        self._ids["removed"] += whole[0] - whole[1]
        self._ids["changed"] += touched & whole[0] & whole[1]

    def _pairs(self, before: pa.Table, after: pa.Table) -> Iterator[tuple[str, pa.Array, pa.Array]]:
        """The columns that both have, in one type if there is one; of maps, such as properties of the user's own, a
        column each key."""
        for name, kind in self.types.items():
            one, other = (table[name].combine_chunks() for table in (before, after))
            if kind is not None:
                one, other = (array if array.type == kind else array.cast(kind, safe=False) for array in (one, other))
            if kind is not None and pa.types.is_map(kind) and pa.types.is_string(kind.key_type):
                entries = {entry for array in (one, other) for entry in array.keys.unique().to_pylist()}
                for entry in sorted(entries):
                    yield f"{name}.{entry}", *(pc.map_lookup(array, entry, "first") for array in (one, other))
            else:
                yield name, one, other


def _both(before: pa.DataType, after: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both, as double does for integers; None if there is none. It is found from the
    types alone, so that all parts of a table are compared alike."""
    try:
        both = pa.unify_schemas([pa.schema([("", kind)]) for kind in (before, after)], promote_options="permissive")
        for kind in (before, after):
            pa.array([], kind).cast(both.field(0).type)
    except (pa.ArrowTypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return both.field(0).type


def _key(types: Mapping[str, pa.DataType | None], versions: list[list[Path]]) -> list[str]:
    """The first columns, as few as tell all rows of both versions apart."""
    able = [name for name, kind in types.items()
            if kind is not None and not (pa.types.is_nested(kind) or pa.types.is_floating(kind))]
    for count in range(1, len(able) + 1):
        key = able[:count]
        if all(len(rows) == rows.group_by(key).aggregate([]).num_rows
               for paths in versions if paths for rows in [tables.read_parts(paths, key)]):
            return key
    return [*able, OCCURRENCE]


def _keys(table: pa.Table, key: list[str]) -> pa.Table:
    if OCCURRENCE not in key:
        return table.select(key)
    rows = table.select(key[:-1]).to_pylist() if len(key) > 1 else [{}] * len(table)
    seen: dict[tuple[Any, ...], int] = {}
    numbers = []
    for row in rows:
        mark = tuple(row.values())
        seen[mark] = seen.get(mark, 0) + 1
        numbers.append(seen[mark])
    return table.select(key[:-1]).append_column(OCCURRENCE, pa.array(numbers, pa.int64()))


def _aligned(old: pa.Table, new: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the rows that both have."""
    if old.equals(new):
        return np.arange(len(old)), np.arange(len(new))
    texts = [pa.table({name: table[name].cast(pa.string()).fill_null("\0") for name in table.column_names})
             for table in (old, new)]
    joined = texts[0].append_column("_old", pa.array(np.arange(len(old)))).join(
        texts[1].append_column("_new", pa.array(np.arange(len(new)))), keys=texts[0].column_names, join_type="inner")
    order = np.argsort(joined["_old"].to_numpy(), kind="stable")
    return joined["_old"].to_numpy()[order], joined["_new"].to_numpy()[order]


def _taken(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """The rows in this order; the table itself where that is what it is: vectors are not copied for nothing."""
    return table if len(rows) == len(table) and (np.diff(rows) == 1).all() else table.take(pa.array(rows))


def _called(keys: pa.Table, row: int) -> str:
    return " ".join(str(column[row].as_py()) for column in keys.columns)


def _names(keys: pa.Table, key: list[str]) -> list[str]:
    """What each row is counted under: its crystal, or else its words."""
    if ID in key:
        return [str(name) for name in keys[ID].to_pylist()]
    words = [name for name in key if pa.types.is_string(keys[name].type)] or key
    return [" ".join(map(str, values)) for values in zip(*(keys[name].to_pylist() for name in words), strict=True)]


def _schema(before: pa.Schema, after: pa.Schema) -> list[SchemaChange]:
    names = [*before.names, *(name for name in after.names if name not in before.names)]
    pairs = [(name, *(_kind(schema, name) for schema in (before, after))) for name in names]
    return [SchemaChange(*pair) for pair in pairs if pair[1] != pair[2]]


def _kind(schema: pa.Schema, name: str) -> str | None:
    if name not in schema.names:
        return None
    found = schema.field(name)
    unit = (found.metadata or {}).get(b"unit", b"").decode(errors="replace")
    return f"{found.type}{f' [{unit}]' if unit else ''}"


def _why(old: list[Path], new: list[Path]) -> list[str]:
    before, after = (tables.footer(paths[0]) for paths in (old, new))
    if "params" in before and "params" in after:
        return list(differences(before, after, "parameter"))
    return list(changed_values({"version": before.get("version")}, {"version": after.get("version")}, "view"))


def _ids(files: list[Path]) -> int:
    """How many crystals a table has; 0 if it is not one of crystals."""
    if not files or ID not in tables.schema_of(files[0]).names:
        return 0
    return int(pc.count_distinct(tables.read_parts(files, [ID])[ID]).as_py())


def _drift(old: list[Path], new: list[Path], moved: set[str]) -> list[Drift]:
    """The numeric columns that both versions have and whose values moved."""
    before, after = (tables.schema_of(files[0]) for files in (old, new))
    names = [found.name for found in after if found.name in moved and is_number(found.type)
             and found.name in before.names and is_number(before.field(found.name).type)]
    drifts = []
    for name in names:  # one at a time: what is held does not grow with the number of columns
        numbers = tuple(tables.read_parts(files, [name])[name] for files in (old, new))
        drift = _moved(name, *(column.cast(pa.float64(), safe=False).to_numpy() for column in numbers))
        if drift is not None:
            drifts.append(drift)
    return sorted(drifts, key=lambda drift: (-drift.distance, drift.column))


def _moved(name: str, before: Numbers, after: Numbers) -> Drift | None:
    if not len(before) or not len(after):
        return None
    here = before[np.isfinite(before)], after[np.isfinite(after)]
    missing = 1 - len(here[0]) / len(before), 1 - len(here[1]) / len(after)
    distance = kolmogorov_smirnov(*here) if all(map(len, here)) else float(missing[0] != missing[1])
    if distance == 0 and missing[0] == missing[1]:
        return None
    mean = tuple(float(values.mean()) if len(values) else None for values in here)
    return Drift(name, (mean[0], mean[1]), missing, distance)


def kolmogorov_smirnov(before: Numbers, after: Numbers) -> float:
    """The statistic of `scipy.stats.ks_2samp`, whose import takes longer than all the rest."""
    everywhere = np.concatenate([before, after])
    shares = [np.searchsorted(np.sort(values), everywhere, side="right") / len(values) for values in (before, after)]
    return float(np.abs(shares[0] - shares[1]).max())


def _rejects(root: Path) -> list[dict[str, str]]:
    return [row for path in tables.reject_files(root) for row in tables.read_parts([path]).to_pylist()]


def _without(rows: list[dict[str, str]], others: list[dict[str, str]], only: Sequence[str]) -> list[dict[str, str]]:
    known = {(row["view"], row["material_id"]) for row in others}
    return [row for row in rows if (row["view"], row["material_id"]) not in known and (not only or row["view"] in only)]
