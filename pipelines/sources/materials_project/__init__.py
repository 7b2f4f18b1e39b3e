"""The Materials Project, over its API, at the version of its database that `params.yaml` pins.

First every document is listed, page by page, without its structure; then structures are fetched by chunks of ids, only
those that are not on this machine. Each page and chunk is stored as soon as it has come, so a pull that broke off goes
on from there, and a finished pull needs neither key nor server. The same version and query give the same entries. What
the Materials Project has withdrawn becomes a reject.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipelines.params import IngestParams
from pipelines.sources import Entry
from pipelines.sources.materials_project import documents
from pipelines.sources.materials_project.client import Client
from pipelines.sources.materials_project.documents import Record
from pipelines.sources.materials_project.pull import Pull, pinned, sample

SAMPLES = True
NAME = "materials_project"


def ready(params: IngestParams, root: Path) -> bool:
    """Whether the pull is finished."""
    return _pull(params, root).is_complete(params.limit)


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries, once all is here. Raises `UserError` without a key, or if the server is silent or at another version."""
    pull = _pull(params, root)
    records = pull.records()
    if records is None or pull.missing(sample(records, params.limit)):
        client = Client(params.materials_project)
        with pull.locked():
            records = pull.make_listing(client)
            pull.fetch(client, sample(records, params.limit))
    for record, structure in pull.with_structures(sample(records, params.limit)):
        yield _entry(record, structure, pull.version)
    listed = {record["material_id"] for record in records}
    for material_id in sorted(set(params.materials_project.material_ids) - listed):
        yield Entry(material_id, "", "json", NAME, pull.version, documents.LICENSES["BY-C"], documents.MP_DOI,
                    error=f"unknown_id: database version {pull.version} has no material of this id that the filters "
                          "and the licence let through")


def _pull(params: IngestParams, root: Path) -> Pull:
    return Pull(root, params.materials_project, pinned(params.materials_project))


def _entry(record: Record, structure: str | None, version: str) -> Entry:
    error = None
    if record["deprecated"]:
        error = f"deprecated: the Materials Project has withdrawn it{': ' if record['note'] else ''}{record['note']}"
    elif structure is None:
        error = "no_structure: the Materials Project lists it, but does not give its structure; the next run asks again"
    values = json.loads(record["properties"])
    return Entry(
        material_id=record["material_id"],
        structure=structure or "",
        format="json",
        source=NAME,
        # not the pinned version: what a new version leaves as it was stays the same row
        source_version=record["built_for"] or version,
        license=documents.license_of(record),
        citation=documents.citation(record, values),
        properties=values,
        last_updated=record["last_updated"],
        error=error,
    )
