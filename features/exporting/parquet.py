"""Part files of tables, row group by row group, and as Parquet that the Hub stores once where versions share rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.store import sums

ROWS = 1024
"""Rows that are in memory at once."""
SPLITS = ("train", "validation", "test")


def batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a part file under a schema for others. Raises `Damaged`."""
    with sums.parquet(path) as file:
        for batch in file.iter_batches(ROWS):
            yield pa.RecordBatch.from_arrays([_cast(batch.column(field.name), field.type) for field in schema],
                                             schema=schema)


def for_others(schema: pa.Schema) -> pa.Schema:
    """The same without types that few readers know: a map becomes a list of keys and values."""
    return pa.schema([field.with_type(_plain(field.type)) for field in schema])


def _plain(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_map(dtype):
        return pa.list_(pa.struct([("key", dtype.key_type), ("value", dtype.item_type)]))
    return dtype


def _cast(values: pa.Array, dtype: pa.DataType) -> pa.Array:
    if pa.types.is_map(values.type):
        inner = pa.StructArray.from_arrays([values.keys, values.items], ["key", "value"])
        return pa.ListArray.from_arrays(values.offsets, inner, mask=values.is_null()).cast(dtype)
    return values


def write(files: list[Path], schema: pa.Schema, folder: Path,
          splits: Mapping[str, str] | None = None) -> dict[str, int]:
    """Write a table as one file for each part and split, content-defined chunks inside.

    Args:
        splits: split of each crystal; crystals of none of `SPLITS` go to `rest`, and so does a table that is not about
            single crystals. None: everything is in `train`, which is what the Hub calls rows that are not split.

    Returns how many rows each split has.
    """
    folder.mkdir()
    counts: dict[str, int] = {}
    for number, path in enumerate(files):
        writers: dict[str, pq.ParquetWriter] = {}
        try:
            for batch in batches(path, schema):
                for name, rows in _divided(batch, splits):
                    if name not in writers:
                        writers[name] = _writer(folder / f"{name}-{number:05d}-of-{len(files):05d}.parquet", schema)
                    writers[name].write_batch(rows)
                    counts[name] = counts.get(name, 0) + len(rows)
        finally:
            for writer in writers.values():
                writer.close()
    return counts


def _divided(batch: pa.RecordBatch, splits: Mapping[str, str] | None) -> Iterator[tuple[str, pa.RecordBatch]]:
    if splits is None or "material_id" not in batch.schema.names:
        yield "train" if splits is None else "rest", batch  # results about test crystals are nothing to train on
        return
    of_row = pa.array([split if (split := splits.get(name)) in SPLITS else "rest"
                       for name in batch["material_id"].to_pylist()], pa.string())
    for name in pc.unique(of_row).to_pylist():
        yield name, batch.filter(pc.equal(of_row, name))


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", version="2.6", write_page_checksum=True,
                            use_content_defined_chunking=True)
