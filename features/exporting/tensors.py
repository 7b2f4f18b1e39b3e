"""Tables as tensors: safetensors, which no code can hide in, and JSON that says what is where.

A column of numbers is a tensor `NAME`, with `NAME.missing` beside it where values are missing. Lists of numbers lie end
to end in `NAME`: row i is `NAME[offsets[i]:offsets[i + 1]]` with `NAME.offsets`; lists that all have one length, as
vectors have, are rows of a matrix. Lists of vectors, as of sentences, lie end to end the same way. Words of few values
are numbers into `categories`. Entries of a map of numbers are columns, `other_properties.hardness`. Other texts and
structures have no tensor, and are named in `left_out`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features import about, exporting, profiles
from features.errors import UserError
from features.store import tables

DEFAULT = ("materials", "splits", "structures", "text_embeddings")
"""What a training needs: targets, split, both views of the crystal."""
FEW = 256
"""Different words up to which a text column becomes numbers."""

Array = NDArray[Any]


def export(where: Path, called: str, names: Mapping[str, list[Path]], folder: Path, target: str | None = None) -> None:
    """Write tables as tensors, a file for each part and one for its keys. The bytes depend on the tables alone.

    Args:
        target: the only number of `materials` that is taken; None: all. Raises `UserError` if there is none of that
            name.
    """
    told = {name: _table(where, name, files, folder / name, target if name == about.CRYSTALS else None)
            for name, files in names.items()}
    (folder / "index.json").write_text(json.dumps({"of": called, "target": target, "tables": told}, indent=1,
                                                  ensure_ascii=False) + "\n", encoding="utf-8")
    exporting.mark(folder, {"to": "torch", "of": called, "rows": {name: one["rows"] for name, one in told.items()}})


def _table(where: Path, name: str, files: list[Path], folder: Path, target: str | None) -> dict[str, Any]:
    from safetensors.numpy import save_file

    schema = tables.schema_of(files[0])
    keys = [key for key in ("material_id", "variant") if key in schema.names]
    columns = {row["column_name"]: Column(schema.field(row["position"]), row, files)
               for row in profiles.read(where, name).to_pylist() if row["column_name"] not in keys}
    if target is not None:
        _only(columns, target)
    taken = {found: column for found, column in columns.items() if column.kind is not None}
    folder.mkdir()
    parts = []
    for number, path in enumerate(files):
        read = tables.read_parts([path], [*keys, *(column.field.name for column in taken.values())])
        tensors: dict[str, Array] = {}
        for column in taken.values():
            tensors |= column.tensors(_whole(read[read.column_names.index(column.field.name)]))
        save_file({found: np.ascontiguousarray(array) for found, array in tensors.items()},
                  folder / f"part-{number:05d}.safetensors")
        (folder / f"part-{number:05d}.keys.json").write_text(
            json.dumps({key: read[key].to_pylist() for key in keys}, ensure_ascii=False) + "\n", encoding="utf-8")
        parts.append({"file": f"{name}/part-{number:05d}.safetensors", "keys": f"{name}/part-{number:05d}.keys.json",
                      "rows": len(read)})
    return {"rows": sum(part["rows"] for part in parts), "keys": keys, "parts": parts,
            "columns": {found: column.told() for found, column in taken.items()},
            "left_out": sorted(columns.keys() - taken.keys())}


def _only(columns: dict[str, Column], target: str) -> None:
    """Leave one target of all columns that may be one: floating-point numbers."""
    targets = [name for name, column in columns.items() if column.kind == "numbers" and column.is_floating]
    wanted = next((name for name in (target, f"other_properties.{target}") if name in targets), None)
    if wanted is None:
        raise UserError(f"no target '{target}' with a value in {about.CRYSTALS}; there are: {', '.join(targets)}")
    for name in targets:
        if name != wanted:
            del columns[name]


def _whole(values: pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)


def _categories(files: list[Path], field: pa.Field) -> list[str]:
    """All words of a column of few, sorted."""
    words: set[str] = set()
    for path in files:
        words |= set(pc.unique(tables.read_parts([path], [field.name])[field.name]).drop_null().to_pylist())
    return sorted(words)


class Column:
    """How a column becomes tensors."""

    def __init__(self, field: pa.Field, profile: Mapping[str, Any], files: list[Path]) -> None:
        self.name, self.field, self.unit = profile["column_name"], field, profile["unit"] or ""
        self.missing = profile["missing"] > 0
        self.entry = self.name.removeprefix(f"{field.name}.") if self.name != field.name else None
        dtype, depth = (field.type.item_type if self.entry is not None else field.type), 0
        while pa.types.is_list(dtype):
            dtype, depth = dtype.value_type, depth + 1
        self.is_floating = pa.types.is_floating(dtype)
        self.kind = _kind(dtype, depth, profile)
        self.categories = _categories(files, field) if self.kind == "categories" else None

    def told(self) -> dict[str, Any]:
        """What `index.json` says of it."""
        return {"kind": self.kind, "unit": self.unit,
                "description": about.text(self.field, "description"),
                **({"categories": self.categories} if self.categories is not None else {}),
                **({"missing": f"{self.name}.missing"} if self.missing else {})}

    def tensors(self, values: pa.Array) -> dict[str, Array]:
        """Its tensors of one part, by name. Raises `UserError` for vectors of several lengths in one column."""
        if self.entry is not None:
            values = pc.map_lookup(values, self.entry, "first")
        made = {f"{self.name}.missing": values.is_null().to_numpy(zero_copy_only=False)} if self.missing else {}
        if self.kind == "categories":
            place = pc.index_in(values, value_set=pa.array(self.categories, pa.string()))
            return made | {self.name: pc.fill_null(place, -1).to_numpy().astype(np.int64)}
        if self.kind == "numbers":
            return made | {self.name: _numbers(values)}
        if self.kind == "matrix":
            flat = _numbers(values.flatten())
            return made | {self.name: flat.reshape(len(values), -1) if len(values) else flat.reshape(0, 0)}
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
        made[f"{self.name}.offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        inner = values.flatten()
        if self.kind == "lists":
            return made | {self.name: _numbers(inner)}
        widths = pc.unique(pc.list_value_length(inner)).to_pylist()
        if len(widths) > 1 or None in widths:
            raise UserError(f"{self.name} holds vectors of several lengths; leave its table out with --tables")
        return made | {self.name: _numbers(inner.flatten()).reshape(len(inner), -1 if widths else 0)}


def _kind(dtype: pa.DataType, depth: int, profile: Mapping[str, Any]) -> str | None:
    """What becomes of a column of lists of lists, `depth` deep, of a type; None for what has no tensor."""
    if profile["rows"] == profile["missing"]:
        return None
    if depth == 0 and pa.types.is_string(dtype) and profile["distinct"] <= FEW:
        return "categories"
    if not (pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or (depth == 0 and pa.types.is_boolean(dtype))):
        return None
    even = not profile["missing"] and profile["min"] == profile["max"]
    return ("numbers", "matrix" if even else "lists", "lists of vectors")[depth] if depth < 3 else None


def _numbers(values: pa.Array) -> Array:
    """Numbers of their own type; missing ones are NaN, 0 where the type has none, and False."""
    if values.null_count:
        nothing = False if pa.types.is_boolean(values.type) else 0 if pa.types.is_integer(values.type) else np.nan
        array: Array = np.array([nothing if value is None else value for value in values.to_pylist()],
                                values.type.to_pandas_dtype())
        return array
    found: Array = values.to_numpy(zero_copy_only=False)
    return found
