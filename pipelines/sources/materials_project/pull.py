"""What has been pulled so far, below `data/.downloads/materials_project/`. It only saves work and may be deleted.

`listings/<version>-<digest of the query>/` holds one finished page per file until all are there, then the whole
listing: every document without its structure. `structures/` holds structures by mark (see `documents.mark`), for all
versions and queries together: what did not change is never fetched again. Files are written beside their place and
renamed into it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import filelock
import pyarrow as pa

from features.errors import UserError
from features.paths import Paths
from features.progress import Progress, say
from features.store.files import write_beside
from pipelines.params import MaterialsProjectParams
from pipelines.sources import rank
from pipelines.sources.materials_project import documents
from pipelines.sources.materials_project.client import PAGE, Client, Document, Query, id_chunks
from pipelines.sources.materials_project.documents import RECORD_SCHEMA, Record
from pipelines.sources.web import read_stored

FORMAT = 1
"""Raised when the meaning of a stored file changes."""
MOVE = "python -m pipelines move-database"
TOTAL = b"total"
STRUCTURE_SCHEMA = pa.schema([pa.field(name, pa.string()) for name in ("material_id", "mark", "structure")])
LISTING_SCHEMA = RECORD_SCHEMA.append(pa.field("deprecated", pa.bool_()))


class Pull:
    """One query at one version of the database."""

    def __init__(self, root: Path, params: MaterialsProjectParams, version: str) -> None:
        self.params, self.version = params, version
        self.properties = documents.wanted(params.fields)
        self.top = Paths(root).downloads / "materials_project"
        query = {"format": FORMAT, "endpoint": params.endpoint, "filters": params.filters,
                 "material_ids": sorted(set(params.material_ids)), "properties": self.properties,
                 "include_gnome": params.include_gnome}
        digest = hashlib.sha256(json.dumps(query, sort_keys=True, default=str).encode()).hexdigest()
        self.folder = self.top / "listings" / f"{version}-{digest[:16]}"
        self.listing_file = self.folder / "listing.parquet"
        self.structures_folder = self.top / "structures"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the stored files for this run; a second run at once is told so and ends."""
        self.top.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(self.top / "lock", timeout=0):
                yield
        except filelock.Timeout:
            raise UserError("another run is pulling from the Materials Project; wait for it or stop it") from None

    def is_complete(self, limit: int | None) -> bool:
        """Whether everything that `limit` asks for lies here, so that no server is needed."""
        records = self.records()
        return records is not None and not self.missing(sample(records, limit))

    def records(self) -> list[Record] | None:
        """The whole listing, by id; None if it is not there yet. `deprecated` tells what was withdrawn."""
        table = read_stored(self.listing_file)
        return None if table is None else table.to_pylist()

    def make_listing(self, client: Client) -> list[Record]:
        """Make the listing, going on after the last finished page."""
        listing = self.records()
        if listing is not None:
            return listing
        self.expect_version(client)
        client.check_fields(self.properties)
        client.check_ids(self.params.material_ids)
        by_id: dict[str, Record] = {}
        for number, query in enumerate(client.queries()):
            for deprecated in (False, True):
                name = f"{number:04d}-{'deprecated' if deprecated else 'live'}"
                for record in self._search(client, name, query, deprecated):
                    if self.params.include_gnome or documents.is_commercial(record):
                        by_id.setdefault(record["material_id"], record | {"deprecated": deprecated})
        records = [by_id[material_id] for material_id in sorted(by_id)]
        if self.params.include_gnome and all(map(documents.is_commercial, records)):
            say("ingest: include_gnome is set, but the server gives no non-commercial crystals for this query; it does "
                "so to accounts that accepted the terms for them: https://next-gen.materialsproject.org/about/terms")
        write_beside(pa.Table.from_pylist(records, schema=LISTING_SCHEMA), self.listing_file)
        shutil.rmtree(self.folder / "pages", ignore_errors=True)
        self._forget_unfinished()
        return records

    def fetch(self, client: Client, records: Sequence[Record]) -> None:
        """Fetch the structures that are not here yet, and store them chunk by chunk."""
        marks = {record["material_id"]: record["mark"] for record in self.missing(records)}
        if not marks:
            return
        self.expect_version(client)
        with Progress("ingest", len(marks), "structures") as progress:
            for chunk in id_chunks(sorted(marks), self.params.chunk_size):
                by_id = client.by_ids({}, chunk, False, [*documents.BASE_FIELDS, "structure"], all_there=True)
                self.expect_version(client)  # what came belongs to the version that is served before and after it
                for material_id, document in by_id.items():
                    if documents.mark(document) != marks[material_id]:
                        raise UserError(f"the server changed {material_id} without a new database version; delete "
                                        f"{self.folder} and run again to list it anew")
                self._store([{"material_id": i, "mark": marks[i], "structure": documents.structure_text(by_id[i])}
                            for i in chunk if i in by_id])
                progress.advance(len(chunk))

    def with_structures(self, records: Iterable[Record]) -> Iterator[tuple[Record, str | None]]:
        """Each document with its structure, file by file; last those of which no structure is here."""
        waiting = {record["material_id"]: record for record in records}
        for path in sorted(self.structures_folder.glob("*.parquet")):
            table = read_stored(path)
            if table is None:
                raise UserError(f"{path} was damaged or removed; run again to pull anew what it held")
            for row in table.to_pylist():
                record = waiting.get(row["material_id"])
                if record is not None and not record["deprecated"] and record["mark"] == row["mark"]:
                    yield waiting.pop(row["material_id"]), row["structure"]
        for record in waiting.values():
            yield record, None

    def expect_version(self, client: Client) -> None:
        """Stop if the server has another version than the pinned one."""
        served = client.database_version()
        if served != self.version:
            raise UserError(f"ingest.materials_project.database_version is {self.version}, but the server has {served} "
                            f"and no other: `{MOVE}` moves to it")

    def _search(self, client: Client, name: str, query: Query, deprecated: bool) -> Iterator[Record]:
        """All documents of one search, from finished pages or from the server."""
        fields = documents.api_fields(self.properties) + (["deprecation_reasons"] if deprecated else [])
        if self.params.material_ids:
            for number, chunk in enumerate(id_chunks(sorted(set(self.params.material_ids)), self.params.chunk_size)):
                def ask(ids: Sequence[str] = chunk) -> tuple[Sequence[Document], int]:
                    return list(client.by_ids(query, ids, deprecated, fields).values()), 0

                key = hashlib.sha256(",".join(chunk).encode()).hexdigest()[:16]  # chunk_size may have changed
                yield from self._page(client, f"{name}-{number + 1:05d}-{key}", ask).to_pylist()
            return
        total, pages, number, seen = None, 1, 0, set()
        while number < pages:
            number += 1
            page = self._page(client, f"{name}-{number:05d}",
                              functools.partial(client.page, query, deprecated, number, fields))
            here = int(page.schema.metadata[TOTAL])
            seen |= set(page["material_id"].to_pylist())
            if total not in (None, here) or len(seen) != min(number * PAGE, here):
                shutil.rmtree(self.folder, ignore_errors=True)
                raise UserError("the server's listing changed from one page to the next; run the command again to "
                                "list anew")
            total, pages = here, math.ceil(here / PAGE)
            if number == 1 and pages > 1:
                say(f"ingest: listing {here} documents on {pages} pages")
            yield from page.to_pylist()

    def _page(self, client: Client, name: str, ask: Callable[[], tuple[Sequence[Document], int]]) -> pa.Table:
        path = self.folder / "pages" / f"{name}.parquet"
        stored = read_stored(path)
        if stored is not None:
            return stored
        page, total = ask()
        self.expect_version(client)
        try:
            rows = [documents.record(document, self.properties) for document in page]
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(f"the server gives a document of another kind than expected ({error})") from None
        table = pa.Table.from_pylist(rows, schema=RECORD_SCHEMA).replace_schema_metadata({TOTAL: str(total).encode()})
        write_beside(table, path)
        return table

    def missing(self, records: Iterable[Record]) -> list[Record]:
        """The documents whose structures are still to be fetched."""
        fetched: set[tuple[str, str]] = set()
        for path in self.structures_folder.glob("*.parquet"):
            table = read_stored(path, ["material_id", "mark"])
            if table is not None:
                fetched.update(zip(table["material_id"].to_pylist(), table["mark"].to_pylist(), strict=True))
        return [record for record in records if not record["deprecated"]
                and (record["material_id"], record["mark"]) not in fetched]

    def _store(self, rows: list[dict[str, str]]) -> None:
        if rows:
            marks = "".join(row["mark"] for row in rows)
            write_beside(pa.Table.from_pylist(rows, schema=STRUCTURE_SCHEMA),
                         self.structures_folder / f"{hashlib.sha256(marks.encode()).hexdigest()[:32]}.parquet")

    def _forget_unfinished(self) -> None:
        """Pages of other versions lead nowhere: the server has only one version."""
        for folder in self.folder.parent.glob("*"):
            if not folder.name.startswith(f"{self.version}-") and not (folder / "listing.parquet").exists():
                shutil.rmtree(folder, ignore_errors=True)


def pinned(params: MaterialsProjectParams) -> str:
    """The version to pull. Raises `UserError` if none is pinned."""
    if params.database_version is None:
        raise UserError("ingest.materials_project.database_version is not set; "
                        f"`{MOVE}` pins the version that the server has")
    return params.database_version


def sample(records: Sequence[Record], limit: int | None) -> list[Record]:
    """What `ingest.limit` leaves: the live documents of lowest rank, and what was withdrawn up to the last of them."""
    if limit is None:
        return list(records)
    live = sorted(rank(record["material_id"]) for record in records if not record["deprecated"])
    last = live[min(limit, len(live)) - 1] if live and limit < len(live) else None
    return [record for record in records if last is None or rank(record["material_id"]) <= last]
