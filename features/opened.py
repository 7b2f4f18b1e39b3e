"""The tables from Python: `features.open(".").table("materials")`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import contract
from features.catalog import views, virtual
from features.catalog.session import TIMEOUT_S, Session
from features.catalog.sql import collected
from features.errors import UserError
from features.store import revisions, tables, versions

if TYPE_CHECKING:
    import polars as pl
    import torch


Names = str | Sequence[str] | None


class Store:
    """The tables of one version of a project; `features.open` makes one.

    It reads the version that was published when it was opened, or that of a revision, however long it lives. Rows come
    in the order of the files, in which those of one crystal stand together.
    """

    def __init__(self, root: Path, at: str | None = None) -> None:
        self.root, self.at = root, at
        self.where = revisions.at(root, at)
        """The folder that is read, laid out like a project."""
        self._held = versions.held(self.where)
        self._session: Session | None = None
        self._one_at_a_time = threading.RLock()

    def __repr__(self) -> str:
        return f"features.open({str(self.root)!r}{'' if self.at is None else f', at={self.at!r}'})"

    @property
    def tables(self) -> list[str]:
        """Names of the tables."""
        return sorted({*tables.names(self.where), *views.sources(self.where), *virtual.names()})

    def sql(self, query: str, timeout_s: float = TIMEOUT_S) -> pl.DataFrame:
        """Result of one read-only query over all tables, with everything that `python -m features sql` has.

        What a query has made, views and vectors, stays for the next one. One query runs at a time, and those of
        other threads wait. Raises `UserError` with DuckDB's own words, after `timeout_s` seconds, or for a type that
        polars lacks.
        """
        with self._one_at_a_time:
            if self._session is None or self._session.timeout_s != timeout_s:
                self.close()
                self._session = Session(self.root, self.at, timeout_s, self.where)
            return _frame(collected(self._session, query))

    def close(self) -> None:
        """End the session behind `sql`; another query begins one again."""
        with self._one_at_a_time:
            if self._session is not None:
                self._session.close()
                self._session = None

    def table(self, name: str, columns: Names = None, ids: Names = None) -> pl.DataFrame:
        """A table, or some of its columns, or the rows of some crystals, which are found without reading the others.

        One column or crystal may be a text alone. Of `materials`, columns may be properties in `other_properties`, too.
        Raises `UserError` for a table or column that does not exist, and `Damaged`.
        """
        return _frame(self.arrow(name, columns, ids))

    def arrow(self, name: str, columns: Names = None, ids: Names = None) -> pa.Table:
        """The same as an Arrow table, whose fields tell `description` and `unit` in their metadata."""
        if name not in self.tables:
            raise UserError(f"no table '{name}'; there are: {', '.join(self.tables) or 'none yet'}")
        columns, ids = _several(columns), _several(ids)
        if name in virtual.names() or name == tables.REJECTS:
            return self._small(name, columns, ids)
        parts = tables.files(self.where, name)
        there = tables.schema_of(parts[0]).names
        newer = [field.name for field in contract.newer_columns(name, parts[0])]
        own = views.own_properties(parts) if name == "materials" and set(columns or ()) - {*there, *newer} else []
        _check(name, [*there, *newer, *own], columns, ids)
        read = columns and [column for column in columns if column in there]
        if own and read is not None and views.OWN not in read:
            read.append(views.OWN)
        rows = contract.with_newer_columns(name, parts[0], tables.read(self.where, name, read, ids))
        for prop in own:
            if columns and prop in columns:
                values = pc.map_lookup(rows[views.OWN], prop, "first")
                rows = rows.append_column(prop, values)
        return rows if columns is None else rows.select(columns)

    def _small(self, name: str, columns: list[str] | None, ids: list[str] | None) -> pa.Table:
        """The same of one that is no table of a view."""
        rows = virtual.make(self.where, name) if name != tables.REJECTS else \
            tables.read_parts(views.files(self.where, name))
        _check(name, rows.schema.names, columns, ids)
        if ids is not None:
            rows = rows.filter(pc.is_in(rows["material_id"], value_set=pa.array(ids, pa.string())))
        return rows if columns is None else rows.select(columns)

    def torch(self, name: str, columns: Names = None, ids: Names = None) -> dict[str, torch.Tensor]:
        """Numeric columns as tensors by name: `[rows]`, and `[rows, length]` of lists that are equally long.

        A missing number is NaN, and so is each number of a missing list. Without `columns`, all that can be tensors.
        Raises `UserError` for a column of `columns` that cannot: words, lists of different lengths, integers of which
        some are missing.
        """
        import torch

        table = self.arrow(name, columns, ids)
        tensors = {}
        for column in table.column_names:
            try:
                tensors[column] = torch.from_numpy(_numbers(table[column]))
            except ValueError as error:
                if columns is not None:
                    raise UserError(f"{name}.{column} is no tensor: {error}") from None
        return tensors


def _several(names: Names) -> list[str] | None:
    """Names as a list, each once; a text alone is one name."""
    return None if names is None else [names] if isinstance(names, str) else list(dict.fromkeys(names))


def _check(name: str, known: Sequence[str], columns: Sequence[str] | None, ids: Sequence[str] | None) -> None:
    if unknown := sorted(set(columns or ()) - set(known)):
        raise UserError(f"{name} has no column '{unknown[0]}'; there are: {', '.join(known)}")
    if ids is not None and "material_id" not in known:
        raise UserError(f"{name} is not about single crystals: it has no column material_id")


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """`[rows]` or `[rows, length]`. Raises `ValueError` that says why it is neither."""
    values = pa.chunked_array(column.chunks, column.type).combine_chunks()
    if pa.types.is_list(values.type):
        lengths = pc.unique(pc.list_value_length(values).drop_null()).to_pylist()
        if len(lengths) > 1:
            raise ValueError(f"its lists have from {min(lengths)} to {max(lengths)} items")
        length = lengths[0] if lengths else 0
        if not values.null_count:
            return _flat(values.flatten()).reshape(len(values), length)
        if not pa.types.is_floating(values.type.value_type):
            raise ValueError("some lists are missing")
        whole = np.full((len(values), length), np.nan, values.type.value_type.to_pandas_dtype())
        whole[values.is_valid().to_numpy(zero_copy_only=False)] = _flat(values.flatten()).reshape(-1, length)
        return whole
    return _flat(values)


def _flat(values: pa.Array) -> np.ndarray:
    dtype = values.type
    if not (pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype)):
        raise ValueError(f"it holds {dtype}")
    if values.null_count and not pa.types.is_floating(dtype):
        raise ValueError("some values are missing")
    return np.array(values.to_numpy(zero_copy_only=False), dtype.to_pandas_dtype())


def _frame(table: pa.Table) -> pl.DataFrame:
    """As a data frame of polars, which knows no maps: they become lists of key and value.

    Raises `UserError` for a column of intervals or unions.
    """
    import polars as pl

    for number, field in enumerate(table.schema):
        if _beyond_polars(field.type):
            raise UserError(f"polars has no {field.type}, as column {field.name} holds; `::varchar` makes it a text")
        if pa.types.is_map(field.type):
            pairs = pa.list_(pa.struct([pa.field("key", field.type.key_type), pa.field("value", field.type.item_type)]))
            table = table.set_column(number, field.name, table[field.name].cast(pairs))
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 (of a table; the type of the function covers columns too)
    return frame


def _beyond_polars(dtype: pa.DataType) -> bool:
    inner = (dtype.field(number).type for number in range(dtype.num_fields))
    return bool(pa.types.is_interval(dtype) or pa.types.is_union(dtype)) or any(map(_beyond_polars, inner))
