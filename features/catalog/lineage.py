"""The table `lineage`: where each row comes from, of all tables that are about crystals, and why others have none.

Sources and licences are those of `materials`. Parameters, libraries and weights are those that the footers hold. What
the row store says, fingerprints and times, is missing where the store is gone; it saves work and belongs to nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import registry
from features.catalog import inputs
from features.paths import Paths, project_of
from features.store import dvc_lock, placement, tables
from features.store.rowstore import RANGES, RowStore
from features.view import FINGERPRINT, FeatureView, column

WORDS = pa.dictionary(pa.int32(), pa.string())
"""Texts that are the same in thousands of rows."""

Held = dict[tuple[Any, ...], dict[bytes, datetime]]
"""What the row store has: for each key the fingerprints under which it has a row, each with the time of its segment."""

SCHEMA = pa.schema([
    column("table_name", WORDS, "table"),
    column("material_id", pa.string(), "identifier"),
    column("variant", pa.int32(), "as in the table; null where it has no variants"),
    column("status", WORDS, "row, or reject: it could not be computed"),
    column("error", WORDS, "kind of failure of a reject"),
    column("message", pa.string(), "what was wrong, in words"),
    column("source", WORDS, "where the crystal comes from; null if it is no row of materials"),
    column("source_version", WORDS, "version or digest of the source"),
    column("license", WORDS, "licence of the entry"),
    column("citation", WORDS, "DOIs of the works to cite, separated by blanks"),
    column("stage", WORDS, "stage that made the row"),
    column("version", pa.int32(), "version of the view that it was made with"),
    column("params", WORDS, "parameters that decide the value, a JSON object"),
    column("libraries", WORDS, "libraries that decide the value, a JSON object"),
    column("weights", WORDS, "digest of weights or prompts that decide the value; null if there are none"),
    column("inputs_digest", WORDS, "sha256 over the fingerprints of all rows of the part"),
    column("part", WORDS, "file that the row lies in"),
    column("row", pa.int32(), "its number in that file, from 0"),
    column("fingerprint", pa.string(), "sha256 of all that decided the row; null if the row store does not tell"),
    column("computed_at", pa.timestamp("us"), "when the row was stored, in UTC; when its segment of the row store was "
           "merged with others, then that; null if the row store does not tell"),
])


def make(where: Path) -> pa.Table:
    """The table for all rows of a project folder."""
    return of_crystals(where)


def of_crystals(where: Path, ids: Sequence[str] | None = None, only: Sequence[str] | None = None) -> pa.Table:
    """The table for the rows of some crystals, or of some tables."""
    pieces = [piece for name in only or tables.names(where) for piece in _of_table(where, name, ids)]
    table = pa.concat_tables(pieces, promote_options="permissive") if pieces else SCHEMA.empty_table()
    table = _with_sources(where, table, ids)
    columns = [table[field.name].cast(pa.string()).dictionary_encode() if field.type == WORDS
               and not pa.types.is_dictionary(table[field.name].type) else table[field.name] for field in SCHEMA]
    return pa.Table.from_arrays(columns, SCHEMA.names).cast(SCHEMA)


def _of_table(where: Path, name: str, ids: Sequence[str] | None) -> Iterator[pa.Table]:
    """Pieces of the table without sources: rows of each part, then rejects."""
    if "material_id" not in tables.schema(where, name).names:
        return
    view, files = registry.view_named(name), tables.files(where, name)
    made = by_dvc(where, name) if view is None else {}
    wanted = range(len(files)) if ids is None else sorted(set(placement.part_of(list(ids), len(files)).tolist()))
    is_same = view is not None and tables.footer(files[0]).get("version") == view.version
    held = _stored(where, view, wanted, len(files)) if view and is_same else {}
    for number in wanted:
        footer = tables.footer(files[number])
        key = [column for column in ("material_id", "variant") if column in tables.schema_of(files[number]).names]
        rows = tables.read_parts([files[number]], key)
        rows = rows.append_column("row", pa.array(range(len(rows)), pa.int32()))
        marks, moments = (_told(where, view, files[number], rows, held[number]) if view and number in held
                          else ([None] * len(rows), [None] * len(rows)))
        rows = rows.append_column("fingerprint", pa.array([mark and mark.hex() for mark in marks], pa.string()))
        rows = rows.append_column("computed_at", pa.array(moments, pa.timestamp("us")))
        said = _of_footer(name, view, footer, made) | {"part": files[number].name, "status": "row"}
        yield _constant(_only(rows, ids), said)
    path = Paths(where).rejects(name)
    if view is not None and path.exists():
        rejects = tables.read_parts([path], ["material_id", "error", "message"])
        rejects = rejects.append_column("row", pa.array(range(len(rejects)), pa.int32()))
        rejects = rejects.set_column(1, "error", rejects["error"].combine_chunks().dictionary_encode())
        said = _of_footer(name, view, tables.footer(files[0]), {})
        yield _constant(_only(rejects, ids), said | {
            "part": f"rejects/{path.name}", "status": "reject", "inputs_digest": None})


def _only(rows: pa.Table, ids: Sequence[str] | None) -> pa.Table:
    return rows if ids is None else rows.filter(pc.is_in(rows["material_id"], value_set=pa.array(ids, pa.string())))


def _of_footer(name: str, view: FeatureView[Any] | None, footer: Mapping[str, Any],
               made: Mapping[str, Any]) -> dict[str, Any]:
    return {"table_name": name, "stage": view.stage if view else made.get("stage"),
            "version": footer.get("version"), "params": _json(footer.get("params", made.get("params"))),
            "libraries": _json(footer.get("libraries")), "weights": footer.get("digest") or None,
            "inputs_digest": footer.get("inputs_digest")}


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _constant(rows: pa.Table, said: Mapping[str, Any]) -> pa.Table:
    """Rows with the same words beside each of them."""
    for name, value in said.items():
        kind = SCHEMA.field(name).type
        if kind == WORDS:
            indices = pa.array([None if value is None else 0] * len(rows), pa.int32())
            array = pa.DictionaryArray.from_arrays(indices, pa.array([value or ""], pa.string()))
        else:
            array = pa.array([value] * len(rows), kind)
        rows = rows.append_column(name, array)
    return rows


def _with_sources(where: Path, table: pa.Table, ids: Sequence[str] | None) -> pa.Table:
    """The same with what `materials` says of each crystal, and with all columns."""
    if len(table) and tables.exists(where, "materials"):
        there = tables.schema(where, "materials").names
        names = [name for name in ("source", "source_version", "license", "citation") if name in there]
        sources = tables.read(where, "materials", ["material_id", *names], ids)
        place = pc.index_in(table["material_id"], value_set=sources["material_id"].combine_chunks())
        for name in names:
            table = table.append_column(name, sources[name].combine_chunks().dictionary_encode().take(place))
    for field in SCHEMA:
        if field.name not in table.column_names:
            table = table.append_column(field.name, pa.nulls(len(table), field.type))
    return table.unify_dictionaries()


def by_dvc(where: Path, name: str) -> dict[str, Any]:
    """Stage and parameters of a table that is no view, from `dvc.lock`; empty if that does not tell."""
    found = dvc_lock.stage_of(where, name)
    if found is None:
        return {}
    stage, told = found
    return {"stage": stage, "params": told.get("params", {}).get("params.yaml", {}).get(stage)}


def _told(where: Path, view: FeatureView[Any], path: Path, rows: pa.Table,
          store: Held) -> tuple[list[bytes | None], list[datetime | None]]:
    """Fingerprint of each row of a part, and when it was stored; None where nobody can tell.

    The footer's digest of all fingerprints of the part tells whether those that are found are the right ones: a store
    may hold a crystal several times, as it was before and after a change.
    """
    footer = tables.footer(path)
    keys = list(zip(*(rows[name].to_pylist() for name in view.key), strict=True))
    held = [store.get(key, {}) for key in keys]
    marks = [next(iter(candidates)) if len(candidates) == 1 else None for candidates in held]
    if not _are(marks, footer) and inputs.known(where, view):
        made = inputs.by_key(where, view, path)
        marks = [made.get(tuple(key[view.key.index(name)] for name in made.names)) for key in keys]
        if not _are(marks, footer):  # upstream rows have changed since, but not all of them
            marks = [mark if mark in candidates else None for mark, candidates in zip(marks, held, strict=True)]
    elif not _are(marks, footer):
        marks = _by_content(where, view, path, keys, held)
        marks = marks if _are(marks, footer) else [None] * len(keys)
    return marks, [candidates.get(mark) if mark else None for mark, candidates in zip(marks, held, strict=True)]


def _are(marks: Sequence[bytes | None], footer: Mapping[str, Any]) -> bool:
    known = sorted({mark for mark in marks if mark is not None})
    return None not in marks and hashlib.sha256(b"".join(known)).hexdigest() == footer.get("inputs_digest")


def _segments(where: Path, view: FeatureView[Any]) -> list[Path]:
    """Files of the row store in which rows of a table lie."""
    store = RowStore(Paths(project_of(where)).rowstore(view.name), view.schema, view.version)
    return sorted(store.folder.glob("rows-*.parquet"))


def _stored(where: Path, view: FeatureView[Any], wanted: Sequence[int], parts: int) -> dict[int, Held]:
    """What the row store has, by part. Segments that cannot be read tell nothing."""
    found: dict[int, Held] = {number: {} for number in wanted}
    for path in _segments(where, view):
        with contextlib.suppress(OSError, pa.ArrowException):
            moment = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
            rows = _of_parts(path, [*view.key, FINGERPRINT], [placement.part_range(number, parts) for number in wanted])
            numbers = placement.part_of(rows["material_id"].to_pylist(), parts).tolist()
            columns = (rows[name].to_pylist() for name in (FINGERPRINT, *view.key))
            for number, mark, *key in zip(numbers, *columns, strict=True):
                if number in found:
                    found[number].setdefault(tuple(key), {}).setdefault(mark, moment)
    return found


def _of_parts(path: Path, columns: list[str], ranges: Sequence[tuple[int, int]]) -> pa.Table:
    """The rows of a segment whose row groups overlap with ranges of positions."""
    file = pq.ParquetFile(path)
    groups = json.loads((file.metadata.metadata or {}).get(RANGES.encode(), b"null"))
    if groups is None or len(groups) != file.num_row_groups:  # written before row groups were in order
        return file.read(columns)
    return file.read_row_groups([number for number, (first, last) in enumerate(groups)
                                 if any(first < high and last >= low for low, high in ranges)], columns)


def _by_content(where: Path, view: FeatureView[Any], path: Path, keys: Sequence[tuple[Any, ...]],
                held: Sequence[Mapping[bytes, Any]]) -> list[bytes | None]:
    """Of several stored rows with one key the one that is the published row."""
    several = {key for key, candidates in zip(keys, held, strict=True) if len(candidates) > 1}
    ids = pa.array(sorted({key[0] for key in several}), pa.string())
    published = {tuple(row[name] for name in view.key): row for row in _rows(path, ids)}
    same: dict[tuple[Any, ...], bytes] = {}
    for segment in _segments(where, view):
        with contextlib.suppress(OSError, pa.ArrowException):
            for row in _rows(segment, ids):
                mark, key = row.pop(FINGERPRINT), tuple(row[name] for name in view.key)
                if published.get(key) == row:
                    same.setdefault(key, mark)
    return [same.get(key) if key in several else next(iter(candidates), None)
            for key, candidates in zip(keys, held, strict=True)]


def _rows(path: Path, ids: pa.Array) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path, filters=pc.field("material_id").isin(ids)).to_pylist()
    return rows
