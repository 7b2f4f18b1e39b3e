"""Where crystals come from. Each source is one module with `read(params, root)`, which yields `Entry` objects.

A source looks into nothing: it hands over the text of each structure, and the `materials` view parses it in a worker,
so that a broken entry is one reject. A source that fetches from a server may also have `ready(params, root)`, whether
all it needs lies on this machine, and `SAMPLES = True` if it heeds `ingest.limit` itself, to fetch no more than that.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from features.errors import UserError
from features.progress import say
from features.reading import MB
from features.views.materials import SOURCE_SCHEMA
from pipelines.params import IngestParams
from pipelines.sources.spool import Spool

BATCH = 4096
BATCH_BYTES = 64 * MB
TEXT_BYTES = 20_000 * MB
"""Most text of all crystals together; those that do not fit beside the ones before them are rejects. It is on disk
while `ingest` runs."""


@dataclass(frozen=True)
class Entry:
    """One crystal as its source has it."""

    material_id: str
    structure: str
    """Text of the structure."""
    format: str
    """cif, poscar, extxyz or json."""
    source: str
    source_version: str
    license: str
    citation: str
    properties: Mapping[str, float | None] = field(default_factory=dict)
    """Numeric properties; units as in `features.views.materials.PROPERTIES`."""
    last_updated: str | None = None
    """When the source last changed the entry, ISO 8601 in UTC."""
    error: str | None = None
    """`kind: message` if the source already knows that the entry is unusable."""


def read_units(params: IngestParams, root: Path) -> pa.Table:
    """All entries of the configured source, in its order, in memory. See `spooled`."""
    return spooled(params, root).table()


def spooled(params: IngestParams, root: Path) -> Spool:
    """All entries of the configured source as units of the `materials` view, on disk.

    Of several entries with one id the first counts and the others are rejected. With `ingest.limit`, the entries
    with the smallest hash of their id are taken, so that a larger limit only adds.
    """
    module = importlib.import_module(f"pipelines.sources.{params.source}")
    spool = spool_of(module.read(params, root), root)
    if not spool.rows:
        raise UserError(f"the source '{params.source}' has no crystals to offer")
    if params.limit is not None and not getattr(module, "SAMPLES", False):
        spool.choose(params.limit, rank)
    return spool


def spool_of(entries: Iterable[Entry], root: Path) -> Spool:
    """The same of entries that come from elsewhere."""
    return Spool(_batches(_units(entries)), SOURCE_SCHEMA, root)


def ready(params: IngestParams, root: Path) -> bool:
    """Whether the configured source needs no server to be read."""
    module = importlib.import_module(f"pipelines.sources.{params.source}")
    return not hasattr(module, "ready") or bool(module.ready(params, root))


def _batches(units: Iterable[dict[str, str | None]]) -> Iterator[pa.RecordBatch]:
    """Few units at a time, since Python's objects take several times the memory of Arrow's."""
    batch: list[dict[str, str | None]] = []
    size = 0
    for unit in units:
        batch.append(unit)
        size += len(unit["structure"] or "")
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield pa.RecordBatch.from_pylist(batch, schema=SOURCE_SCHEMA)
            batch, size = [], 0
    if batch:
        yield pa.RecordBatch.from_pylist(batch, schema=SOURCE_SCHEMA)


def _units(entries: Iterable[Entry]) -> Iterable[dict[str, str | None]]:
    seen: dict[str, int] = {}
    size, beyond = 0, []
    for number, entry in enumerate(entries, start=1):
        error = entry.error
        if entry.material_id in seen:
            if not (error or "").startswith("duplicate: "):  # a source may have said it in its own words
                error = (f"duplicate: entry {number} has the id of entry {seen[entry.material_id]}; the first one is "
                         "used")
        else:
            seen[entry.material_id] = number
        text = entry.structure
        more = len(text.encode())
        if size + more > TEXT_BYTES:
            text, more = "", 0
            error = error or ("over_bound: with the texts of the crystals before it, its own goes beyond the "
                              f"{TEXT_BYTES // MB:,} MB that one project holds; leave out what is no part of a "
                              "crystal, such as lists of reflections, or make several projects")
            beyond.append(entry.material_id)
        size += more
        properties = {name: value for name, value in entry.properties.items() if value is not None}
        yield {
            "material_id": entry.material_id,
            "structure": text,
            "format": entry.format,
            "properties": json.dumps(properties, sort_keys=True),
            "source": entry.source,
            "source_version": entry.source_version,
            "license": entry.license,
            "citation": entry.citation,
            "last_updated": entry.last_updated,
            "error": error,
        }
    if beyond:
        say(f"ingest: crystals that are rejected for the sum of all texts, of which one project holds "
            f"{TEXT_BYTES // MB:,} MB: {len(beyond)}, the first is {beyond[0]}")
    _say_alike(seen)


def _say_alike(ids: Collection[str]) -> None:
    """A line on ids that differ in capitals alone. All joins here tell them apart, and no id becomes a file's name, so
    both are rows; but a disk of macOS or Windows keeps one of two such files, and that should surprise nobody.
    """
    changed = {one.casefold() for one in ids if one.casefold() != one}  # of two ids alike one is among these
    first: dict[str, str] = {}
    alike = [(first[folded], one) for one in ids
             if (folded := one.casefold()) in changed and first.setdefault(folded, one) != one]
    if alike:
        say("ingest: ids that differ in capitals alone, which some disks and programs do not tell apart: "
            f"{len(alike)}, the first are {alike[0][0]} and {alike[0][1]}")


def rank(material_id: str) -> str:
    """Where an id stands in the order in which `ingest.limit` takes crystals."""
    return hashlib.sha256(f"limit:{material_id}".encode()).hexdigest()


def moment(value: object) -> str | None:
    """A moment as ISO 8601 in UTC, written plainly or wrapped as MongoDB or monty do; None if it is none."""
    if isinstance(value, Mapping):
        value = value.get("$date", value.get("string"))
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    utc = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    return utc.isoformat()
