"""Published tables: `data/features/<name>/part-NNNNN.parquet`, a pure function of their rows."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import UserError
from features.paths import Paths
from features.store import placement, sums, swap
from features.store.files import beside, remove_drafts, write_parquet
from features.store.sums import Damaged, Sums, measure, parquet
from features.view import Reject, column

FOOTER = b"multimodal_cpf"
WRITERS = 2
"""Threads that sort, pack and measure files while the next one is read."""
REJECTS = "rejects"
"""What the rejects of all views are called where they are read as one table."""
T = TypeVar("T")

REJECTS_SCHEMA = pa.schema([
    column("view", pa.string(), "feature view that could not compute the row"),
    column("material_id", pa.string(), "identifier"),
    column("error", pa.string(), "kind of failure"),
    column("message", pa.string(), "what was wrong, in words"),
])


def publish(folder: Path, schema: pa.Schema, key: Sequence[str], parts: Iterator[pa.Table],
            footers: Iterator[Mapping[str, Any]], rejects: Rejects | None = None) -> str:
    """Write a table whole, beside its place, then put it there, and its rejects with it. Returns the sha256 over its
    files.

    `parts` and `footers` go together, one of each a file. All is written before anything is moved, and what fails
    leaves table and rejects as they were. A reader never sees a half-written table; between the two renames that change
    the tables there is an instant without one. A run killed in it, or before the rejects follow, is mended by the next.
    """
    digest = hashlib.sha256()
    measured: dict[str, Sums] = {}
    with swap.whole(folder, rejects.written() if rejects else None, measured) as draft:
        def write(number: int, rows: pa.Table, footer: Mapping[str, Any]) -> tuple[str, Sums, str]:
            ordered = rows.cast(schema).sort_by([(name, "ascending") for name in key]).combine_chunks()
            content = json.dumps(footer, sort_keys=True, separators=(",", ":"))
            path = draft / f"part-{number:05d}.parquet"
            write_parquet(ordered.replace_schema_metadata({FOOTER: content.encode()}), path)
            return path.name, *measure(path)

        files = ((number, rows, footer) for number, (rows, footer) in enumerate(zip(parts, footers, strict=True)))
        for name, sums_of_it, sha256 in _ahead(write, files):
            measured[name] = sums_of_it
            digest.update(bytes.fromhex(sha256))
    return digest.hexdigest()


def _ahead(function: Callable[..., T], arguments: Iterator[tuple[Any, ...]]) -> Iterator[T]:
    """Results in order, of threads that work while the next arguments are made; few of them wait at once."""
    with ThreadPoolExecutor(WRITERS) as pool:
        waiting: deque[Future[T]] = deque()
        for each in arguments:
            waiting.append(pool.submit(function, *each))
            if len(waiting) > WRITERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True)
class Rejects:
    """The rejects of a view, and the file that they go to."""

    path: Path
    view: str
    rejects: Sequence[Reject]

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """Writes them, sorted, beside their place on entry, and renames them into it on exit."""
        rows = sorted(({"view": self.view, **vars(reject)} for reject in self.rejects),
                      key=lambda row: (row["material_id"], row["error"], row["message"]))
        remove_drafts(self.path.parent, self.path.name)
        with beside(self.path) as draft:
            write_parquet(pa.Table.from_pylist(rows, schema=REJECTS_SCHEMA), draft, sealed=True)
            yield


def files(root: Path, name: str) -> list[Path]:
    """Part files of a table, in order. Raises `UserError` if there is no such table, and `Damaged` if a part is missing
    or is one too many."""
    folder = Paths(root).table(name)
    parts = sorted(folder.glob("part-*.parquet"))
    published = sums.listed(folder)
    if not parts and not published:
        raise UserError(f"table '{name}' does not exist under {Paths(root).features}; run `dvc repro` to make it")
    if published is None:  # published by an earlier version, whose footers say how many there are
        promised = footer(parts[0]).get("parts", len(parts))
        published = [f"part-{number:05d}.parquet" for number in range(promised)]
    elsewhere = {path.name for path in parts} ^ {part for part in published if part.endswith(".parquet")}
    if elsewhere:
        path = folder / min(elsewhere)
        raise Damaged(path, "it is no part of this table" if path.exists() else "it is missing")
    return parts


def reject_files(root: Path) -> list[Path]:
    """Files of the rejects of all views, in order; none if no stage has run."""
    return sorted((Paths(root).features / REJECTS).glob("*.parquet"))


def exists(root: Path, name: str) -> bool:
    """Whether the table has been made; also if its parts have gone since."""
    return _made(Paths(root).table(name))


def names(root: Path) -> list[str]:
    """All tables that have been made."""
    return sorted(folder.name for folder in Paths(root).features.glob("*")
                  if not folder.name.startswith(".") and _made(folder))


def _made(folder: Path) -> bool:
    return any(folder.glob("part-*.parquet")) or (folder / sums.SUMS).exists()


def read(root: Path, name: str, columns: Sequence[str] | None = None, ids: Sequence[str] | None = None) -> pa.Table:
    """A table, or some of its columns, or the rows of some `material_id`s, sorted by part and key. Raises `Damaged`."""
    parts = files(root, name)
    if ids is not None:  # only the parts that can hold them
        parts = [parts[part] for part in sorted(set(placement.part_of(list(ids), len(parts)).tolist()))] or parts[:1]
    return read_parts(parts, columns, None if ids is None else pa.array(list(ids), pa.string()))


def read_window(root: Path, name: str, columns: Sequence[str], window: int, windows: int) -> pa.Table:
    """The rows of one of so many windows of positions, of which the number of parts is a multiple. Raises `Damaged`."""
    parts = files(root, name)
    each = len(parts) // windows
    return read_parts(parts[window * each:(window + 1) * each], columns)


def read_parts(parts: Sequence[Path], columns: Sequence[str] | None = None, ids: pa.Array | None = None) -> pa.Table:
    """The rows of some files, or some of their columns, or the rows of some `material_id`s. Raises `Damaged`."""
    return pa.concat_tables([_read_part(part, columns, ids) for part in parts])


def _read_part(path: Path, columns: Sequence[str] | None, ids: pa.Array | None) -> pa.Table:
    wanted = None if columns is None else list(dict.fromkeys(columns))
    with parquet(path) as file:
        if ids is None:
            table = file.read(wanted)
        else:  # all columns only of the row groups that hold them
            keep = [pc.is_in(file.read_row_group(number, ["material_id"])["material_id"], value_set=ids)
                    for number in range(file.num_row_groups)]
            groups = [number for number, mask in enumerate(keep) if pc.any(mask).as_py()]
            mask = [chunk for number in groups for chunk in keep[number].chunks]
            table = file.read_row_groups(groups, wanted).filter(pa.chunked_array(mask, pa.bool_()))
    return table if columns is None else table.select(list(columns))


def rows(path: Path) -> int:
    """Number of rows of a part file."""
    with parquet(path) as file:
        return int(file.metadata.num_rows)


def schema(root: Path, name: str) -> pa.Schema:
    """Schema of a table, with descriptions and units."""
    return schema_of(files(root, name)[0])


def schema_of(path: Path) -> pa.Schema:
    """Schema of a part file. Raises `Damaged`."""
    with parquet(path) as file:
        return file.schema_arrow


def footer(path: Path) -> dict[str, Any]:
    """What a part file says of itself: view, version, parameters, digest of its inputs. Raises `Damaged`."""
    try:
        content: dict[str, Any] = json.loads((schema_of(path).metadata or {}).get(FOOTER, b"{}"))
    except ValueError as error:
        raise Damaged(path, str(error)) from None
    if not isinstance(content, dict):
        raise Damaged(path, "its footer is no JSON object")
    return content


def damages(root: Path, name: str) -> list[Damaged]:
    """All that is wrong with the files of a table, each of them read whole."""
    found = list(sums.damages(Paths(root).table(name)))
    try:
        files(root, name)
    except Damaged as damage:
        found += [damage] if all(damage.path != other.path for other in found) else []
    return found
