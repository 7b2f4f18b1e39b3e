"""Bytes of a column that depend on its values alone: not on how Arrow lays them out, nor on any library's version."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pyarrow as pa


class Digest(Protocol):
    """Of `hashlib`."""

    def update(self, data: Any, /) -> None:
        """Take in more bytes."""


def update(digest: Digest, array: pa.Array) -> None:
    """Take a column into a digest: its kind and length, which values are missing, lengths of texts and lists, values.

    A missing value counts as such and nothing of what lies in its place; a NaN counts by its bits. Raises `TypeError`
    for a kind of column that no table has.
    """
    kind = array.type
    if pa.types.is_map(kind):
        _head(digest, "map", array)
        _lists(digest, array, [array.keys, array.items])
    elif pa.types.is_fixed_size_list(kind):
        _head(digest, f"list{kind.list_size}", array)
        update(digest, array.flatten())
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _head(digest, "list", array)
        _lists(digest, array, [array.values])
    elif pa.types.is_struct(kind):
        _head(digest, "struct", array)
        for field, values in zip(kind, array.flatten(), strict=True):
            digest.update(field.name.encode())
            update(digest, values)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        _head(digest, "text", array)
        _texts(digest, array)
    elif pa.types.is_boolean(kind):
        _head(digest, "bool", array)
        digest.update(np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), np.uint8))
    elif pa.types.is_primitive(kind):
        _head(digest, _named(kind), array)
        _fixed(digest, array, kind.bit_width // 8)
    else:
        raise TypeError(f"no canonical bytes of a column of {kind}")


def _named(kind: pa.DataType) -> str:
    letter = "f" if pa.types.is_floating(kind) else "u" if pa.types.is_unsigned_integer(kind) else "i"
    unit = f" {kind.unit}" if pa.types.is_timestamp(kind) else ""
    return f"{letter}{kind.bit_width}{unit}"


def _head(digest: Digest, kind: str, array: pa.Array) -> None:
    digest.update(f"{kind} {len(array)} {array.null_count}\0".encode())
    if array.null_count:
        digest.update(np.asarray(array.is_valid().to_numpy(zero_copy_only=False), np.uint8))


def _fixed(digest: Digest, array: pa.Array, width: int) -> None:
    values = array.buffers()[1]
    if values is None or not len(array):
        return
    flat = np.frombuffer(values, np.uint8)[array.offset * width:(array.offset + len(array)) * width]
    if array.null_count:
        flat = flat.reshape(-1, width).copy()
        flat[~array.is_valid().to_numpy(zero_copy_only=False)] = 0
    digest.update(np.ascontiguousarray(flat))


def _texts(digest: Digest, array: pa.Array) -> None:
    if not len(array):
        return
    if array.null_count:
        array = array.fill_null("" if pa.types.is_string(array.type) else b"")
    _, offsets, values = array.buffers()
    begins = np.frombuffer(offsets, np.int32)[array.offset:array.offset + len(array) + 1]
    digest.update(np.diff(begins).astype("<i8"))
    if values is not None:
        digest.update(np.frombuffer(values, np.uint8)[begins[0]:begins[-1]])


def _lists(digest: Digest, array: pa.Array, children: list[pa.Array]) -> None:
    """Lists whose missing ones are empty, as those that Parquet is read into."""
    begins = array.offsets.to_numpy().astype(np.int64)
    digest.update(np.diff(begins).astype("<i8"))
    for child in children:
        update(digest, child.slice(begins[0], begins[-1] - begins[0]))
