"""The descriptions that the Materials Project has already computed, for `describe.source: materials_project`.

They are kept like structures, below `data/.downloads/materials_project/texts/<version>-<digest of the endpoint>/`, with
the ids of which there is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
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
from pipelines.sources.web import read_kept

SCHEMA = pa.schema([pa.field("material_id", pa.string()), pa.field("served", pa.string())])


def with_served(units: pa.Table, root: Path) -> pa.Table:
    """The units of `descriptions` with a column `served`: the text of the Materials Project where it has one."""
    known = _known(root)
    missing = [material_id for material_id in _theirs(root) if material_id not in known]
    if missing:
        known |= _pull(root, missing)
    served = [known.get(material_id) for material_id in units["material_id"].to_pylist()]
    return units.append_column("served", pa.array(served, pa.string()))


def ready(root: Path) -> bool:
    """Whether no server is needed."""
    return set(_theirs(root)) <= _known(root).keys()


def _theirs(root: Path) -> list[str]:
    table = tables.read(root, "materials", ["material_id", "source"])
    return sorted(row["material_id"] for row in table.to_pylist() if row["source"] == "materials_project")


def _folder(root: Path) -> Path:
    params = load_section(root, "ingest", IngestParams).materials_project
    digest = hashlib.sha256(params.endpoint.encode()).hexdigest()[:16]
    return Paths(root).downloads / "materials_project" / "texts" / f"{pinned(params)}-{digest}"


def _known(root: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for path in sorted(_folder(root).glob("*.parquet")):
        kept = read_kept(path)
        if kept is not None:
            found.update(zip(kept["material_id"].to_pylist(), kept["served"].to_pylist(), strict=True))
    return found


def _pull(root: Path, ids: Sequence[str]) -> dict[str, str | None]:
    params = load_section(root, "ingest", IngestParams).materials_project
    client, pull, folder = Client(params), Pull(root, params, pinned(params)), _folder(root)
    pull.expect_version(client)
    found: dict[str, str | None] = {}
    with pull.locked(), Progress("describe", len(ids), "texts") as progress:
        for chunk in id_chunks(ids, params.chunk_size):
            documents = client.descriptions(chunk)
            pull.expect_version(client)
            rows = {material_id: _kept(documents.get(material_id)) for material_id in chunk}
            table = pa.Table.from_pylist([{"material_id": i, "served": text} for i, text in rows.items()],
                                         schema=SCHEMA)
            write_beside(table, folder / f"{hashlib.sha256(','.join(chunk).encode()).hexdigest()[:32]}.parquet")
            found |= rows
            progress.advance(len(chunk))
    return found


def _kept(document: Document | None) -> str | None:
    """What is kept of a description: its text, its few facts and the version of what wrote it; None without a text."""
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
