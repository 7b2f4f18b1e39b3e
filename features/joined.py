"""Rows of several tables side by side: one for each crystal, or for each wording of its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.store import chosen
from features.store.chosen import VARIANT, Crystals, Ints, Rows

if TYPE_CHECKING:
    from torch import Tensor


def batches(folder: Path, crystals: Crystals, rows: pa.Table, columns: Mapping[str, Sequence[str]],
            split: str | None = None, variants: bool = False) -> Iterator[pa.Table]:
    """The rows of some crystals with those of several tables, part by part.

    Args:
        folder: the project folder whose tables are read.
        crystals: the crystals.
        rows: what is known of each, in their order; a column `split`.
        columns: of each table, besides its key. A name that two tables have, or that `rows` has, stands behind the
            table's: `descriptions.space_group`.
        split: the crystals of one split; all by default.
        variants: a row for each variant that a table has of a crystal; else one, with variant 0.
    """
    names = [*rows.column_names, VARIANT, *chain.from_iterable(columns.values())]
    called = {table: [name if names.count(name) == 1 else f"{table}.{name}" for name in some]
              for table, some in columns.items()}
    for windows in chosen.merged([chosen.windows(folder, table) for table in columns]):
        first, last = crystals.bounds[windows[0].low], crystals.bounds[windows[0].high]
        place = np.arange(first, last)
        if split is not None:
            place = place[pc.equal(rows["split"].slice(first, last - first), split).to_numpy()]
        read = [chosen.read(window, some, crystals) for window, some in zip(windows, columns.values(), strict=True)]
        place, variant = _variants(read, place) if variants else (place, np.zeros(len(place), np.int64))
        made = rows.take(pa.array(place))
        if variants:
            made = made.append_column(pa.field(VARIANT, pa.int32()), pa.array(variant, pa.int32()))
        for (table, some), one in zip(columns.items(), read, strict=True):
            chosen_rows = one.table.take(_of(one, place, variant))
            for name, new in zip(some, called[table], strict=True):
                field = chosen_rows.schema.field(name).with_name(new)
                made = made.append_column(field, chosen_rows[name])
        yield made


def tensors(table: pa.Table) -> dict[str, Tensor]:
    """The numbers of a table as tensors, by column.

    `[rows]` for a number and `[rows, n]` for lists of one length; other lists end to end, `[values]`, with
    `<column>.starts`, `[rows + 1]`, where each row begins. Missing numbers are NaN, as floats; texts are left out.
    """
    import torch

    made = {}
    for name in table.column_names:
        array = table[name].combine_chunks()
        kind = array.type
        if pa.types.is_list(kind) and _is_number(kind.value_type):
            starts = np.cumsum([0, *pc.fill_null(pc.list_value_length(array), 0).to_pylist()])
            values = torch.from_numpy(_numbers(array.flatten()))
            lengths = np.diff(starts)
            if len(lengths) and lengths[0] and (lengths == lengths[0]).all():
                made[name] = values.reshape(len(array), -1)
            else:
                made[name], made[f"{name}.starts"] = values, torch.from_numpy(starts)
        elif _is_number(kind):
            made[name] = torch.from_numpy(_numbers(array))
    return made


def _variants(read: Sequence[Rows], place: Ints) -> tuple[Ints, Ints]:
    """Each crystal with each of the variants that any table has of it; variant 0 where none has any."""
    pairs = [np.stack([one.place, one.table[VARIANT].to_numpy().astype(np.int64)]) for one in read
             if VARIANT in one.table.column_names]
    both = np.unique(np.concatenate([*pairs, np.stack([place, np.zeros_like(place)])], axis=1), axis=1)
    mine = both[:, np.isin(both[0], place)]
    return mine[0], mine[1]


def _of(rows: Rows, place: Ints, variant: Ints) -> pa.Array:
    """For each crystal and variant the number of its row; null where there is none. Tables without variants have one
    row for all of them."""
    if VARIANT in rows.table.column_names:
        most = int(max(variant.max(initial=0), pc.max(rows.table[VARIANT]).as_py() or 0)) + 1
        keys, asked = rows.place * most + rows.table[VARIANT].to_numpy(), place * most + variant
    else:
        keys, asked = rows.place, place
    return pc.index_in(pa.array(asked), value_set=pa.array(keys))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _numbers(array: pa.Array) -> NDArray[Any]:
    if array.null_count and not pa.types.is_floating(array.type):
        array = array.cast(pa.float64())
    return np.array(array.to_numpy(zero_copy_only=False))  # a copy that may be written to, as torch wants it
