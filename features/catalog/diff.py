"""What changed from one version of the tables to another: rows, rejects, and where the numbers of a column moved to."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.catalog.part_files import SCHEME, PartFiles
from features.paths import Paths
from features.store import tables

Numbers = NDArray[np.float64]

HANDFUL = 7
"""Crystals below which a table, such as explanations, has no distribution worth comparing: `explain` tells of six by
default."""


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
class TableChange:
    """What became of one table. A row counts as changed if any of its columns did."""

    table: str
    rows: tuple[int, int]
    parts: tuple[int, int]
    """Part files whose bytes changed, and all of them."""
    ids: tuple[int, int] = (0, 0)
    """Crystals, before and after; 0 of tables that are not of crystals."""
    added: list[str] = field(default_factory=list)
    """Ids, sorted, as in the two below."""
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
    """The columns that moved, the most moved first."""


@dataclass(frozen=True)
class Changes:
    """What became of all tables."""

    tables: list[TableChange]
    """Only those with other bytes than before."""
    newly_rejected: list[dict[str, str]]
    """Rejects (view, material_id, error, message) of ids that the same view did not reject before."""


def compare(before: Path, after: Path) -> Changes:
    """Compare the tables of two project folders. A table that only one of them has counts as empty in the other."""
    names = sorted({*tables.names(before), *tables.names(after)})
    changes = [change for name in names if (change := _table(before, after, name)) is not None]
    earlier = {(row["view"], row["material_id"]) for row in _rejects(before)}
    return Changes(changes, [row for row in _rejects(after) if (row["view"], row["material_id"]) not in earlier])


def _table(before: Path, after: Path, name: str) -> TableChange | None:
    old, new = (tables.files(root, name) if tables.exists(root, name) else [] for root in (before, after))
    if len(old) == len(new):
        same = [filecmp.cmp(a, b, shallow=False) for a, b in zip(old, new, strict=True)]
        other = [number for number, equal in enumerate(same) if not equal]
        touched = [old[number] for number in other], [new[number] for number in other]
    else:
        touched = old, new
    if not any(touched):
        return None
    rows = sum(map(tables.rows, old)), sum(map(tables.rows, new))
    ids = _ids(old), _ids(new)
    drift = _drift(old, new) if min(ids) >= HANDFUL else []
    return TableChange(name, rows, (len(touched[1]), len(new)), ids, **_rows(*touched), drift=drift)


def _ids(files: list[Path]) -> int:
    """How many crystals a table has; 0 if it is not one of crystals."""
    if not files or "material_id" not in tables.schema_of(files[0]).names:
        return 0
    return int(pc.count_distinct(tables.read_parts(files, ["material_id"])["material_id"]).as_py())


def _rows(old: list[Path], new: list[Path]) -> dict[str, list[str]]:
    """Ids of added, changed and removed rows. All rows of one id count as one.

    A row that is not one of a crystal is called by its words: all its text columns.
    """
    parameters: list[list[str]] = []
    served: dict[str, Path] = {}
    named = _name([*old, *new])

    def marks(files: list[Path]) -> str:
        if not files:
            return "select null::varchar as material_id, null::ubigint as mark where false"
        names = [f"{len(parameters)}/{path.name}" for path in files]
        served.update(zip(names, files, strict=True))
        parameters.append([SCHEME + name for name in names])
        return f"select {named} as material_id, bit_xor(hash(t)) as mark from read_parquet(?) t group by 1"  # noqa: S608 (names are quoted)

    query = f"""
        with old as ({marks(old)}), new as ({marks(new)})
        select case when old.mark is null then 'added' when new.mark is null then 'removed' else 'changed' end as kind,
               list(material_id order by material_id)
        from old full join new using (material_id) where old.mark is distinct from new.mark group by kind
    """  # noqa: S608 (the file names are bound, not written into it)
    with duckdb.connect(":memory:") as connection:
        connection.register_filesystem(PartFiles(served))  # it checks what it reads
        return dict(connection.execute(query, parameters).fetchall())


def _name(files: list[Path]) -> str:
    """What a row is called, as SQL over the columns that all these files have."""
    schemas = [tables.schema_of(path) for path in files]
    if all("material_id" in schema.names for schema in schemas):
        return "t.material_id"
    words = [field.name for field in schemas[0] if pa.types.is_string(field.type)
             and all(field.name in schema.names for schema in schemas)]
    quoted = ('t."{}"'.format(name.replace('"', '""')) for name in words)
    return f"concat_ws(' ', {', '.join(quoted)})" if words else "'row'"


def _drift(old: list[Path], new: list[Path]) -> list[Drift]:
    """The numeric columns that both versions have and whose values moved."""
    before, after = (tables.schema_of(files[0]) for files in (old, new))
    names = [f.name for f in after if _is_number(f.type) and f.name in before.names
             and _is_number(before.field(f.name).type)]
    drifts = []
    for name in names:  # one at a time: what is held does not grow with the number of columns
        numbers = tuple(tables.read_parts(files, [name])[name] for files in (old, new))
        moved = _moved(name, *(column.cast(pa.float64()).to_numpy() for column in numbers))
        if moved is not None:
            drifts.append(moved)
    return sorted(drifts, key=lambda moved: (-moved.distance, moved.column))


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))


def _moved(name: str, before: Numbers, after: Numbers) -> Drift | None:
    from scipy.stats import ks_2samp

    if not len(before) or not len(after):
        return None
    here = before[np.isfinite(before)], after[np.isfinite(after)]
    missing = 1 - len(here[0]) / len(before), 1 - len(here[1]) / len(after)
    if all(map(len, here)):
        distance = float(ks_2samp(*here, method="asymp").statistic)
    else:
        distance = float(missing[0] != missing[1])
    if distance == 0 and missing[0] == missing[1]:
        return None
    mean = tuple(float(values.mean()) if len(values) else None for values in here)
    return Drift(name, (mean[0], mean[1]), missing, distance)


def _rejects(root: Path) -> list[dict[str, str]]:
    files = sorted((Paths(root).features / "rejects").glob("*.parquet"))
    return [row for path in files for row in tables.read_parts([path]).to_pylist()]
