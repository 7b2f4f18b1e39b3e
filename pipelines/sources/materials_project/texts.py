"""The descriptions that the Materials Project has already computed, for `describe.source: materials_project`.

They are stored below `data/.downloads/materials_project/texts/<version>-<digest of the endpoint>/`, as structures are,
and with them the ids for which there is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from features.params import load_section
from features.paths import Paths
from features.progress import Progress
from features.store import tables
from features.store.files import write_beside
from pipelines.params import IngestParams
from pipelines.sources.materials_project.client import Client, Document, id_chunks
from pipelines.sources.materials_project.pull import Pull, pinned
from pipelines.sources.web import read_stored

SCHEMA = pa.schema([pa.field("material_id", pa.string()), pa.field("served", pa.string())])


def served_by(root: Path) -> Callable[[pa.Table], pa.Table]:
    """What gives the units of `descriptions` a column `served`: the text of the Materials Project where it has one. All
    of its texts are in memory."""
    served_by_id = _stored(root)
    missing = [material_id for material_id in _theirs(root) if material_id not in served_by_id]
    if missing:
        served_by_id |= _pull(root, missing)

    def with_served(units: pa.Table) -> pa.Table:
        served = [served_by_id.get(material_id) for material_id in units["material_id"].to_pylist()]
        return units.append_column("served", pa.array(served, pa.string()))

    return with_served


def ready(root: Path) -> bool:
    """Whether no server is needed."""
    return set(_theirs(root)) <= _stored(root).keys()


def _theirs(root: Path) -> list[str]:
    table = tables.read(root, "materials", ["material_id", "source"])
    return sorted(row["material_id"] for row in table.to_pylist() if row["source"] == "materials_project")


def _folder(root: Path) -> Path:
    params = load_section(root, "ingest", IngestParams).materials_project
    digest = hashlib.sha256(params.endpoint.encode()).hexdigest()[:16]
    return Paths(root).downloads / "materials_project" / "texts" / f"{pinned(params)}-{digest}"


def _stored(root: Path) -> dict[str, str | None]:
    served: dict[str, str | None] = {}
    for path in sorted(_folder(root).glob("*.parquet")):
        page = read_stored(path)
        if page is not None:
            served.update(zip(page["material_id"].to_pylist(), page["served"].to_pylist(), strict=True))
    return served


def _pull(root: Path, ids: Sequence[str]) -> dict[str, str | None]:
    params = load_section(root, "ingest", IngestParams).materials_project
    client, pull, folder = Client(params), Pull(root, params, pinned(params)), _folder(root)
    pull.expect_version(client)
    served: dict[str, str | None] = {}
    with pull.locked(), Progress("describe", len(ids), "texts") as progress:
        for chunk in id_chunks(ids, params.chunk_size):
            documents = client.descriptions(chunk)
            pull.expect_version(client)
            rows = {material_id: _served_text(documents.get(material_id)) for material_id in chunk}
            table = pa.Table.from_pylist([{"material_id": i, "served": text} for i, text in rows.items()],
                                         schema=SCHEMA)
            write_beside(table, folder / f"{hashlib.sha256(','.join(chunk).encode()).hexdigest()[:32]}.parquet")
            served |= rows
            progress.advance(len(chunk))
    return served


def _served_text(document: Document | None) -> str | None:
    """What is stored of a description: text, the few facts, version of what wrote it; None if there is no text."""
    text = (document or {}).get("description")
    if document is None or not isinstance(text, str) or not text.strip():
        return None
    condensed: dict[str, Any] = document.get("condensed_structure") or {}
    return json.dumps({
        "text": text.strip(),
        "mineral": (condensed.get("mineral") or {}).get("type"),
        "dimensionality": condensed.get("dimensionality"),
        "space_group": condensed.get("spg_symbol"),
        "crystal_system": condensed.get("crystal_system"),
        "version": document.get("robocrys_version"),
    }, sort_keys=True)
