"""Any provider that speaks OPTIMADE, through the client of the `optimade` package.

OPTIMADE has no versions, so a pull has a name (`ingest.optimade.snapshot`): what was pulled under it stays and is read
again without a server; another name pulls anew. Each page is stored below `data/.downloads/optimade/` as soon as it has
come, so a pull that broke off goes on at its page.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa

from features.errors import UserError
from features.paths import Paths
from features.progress import say
from features.store.files import write_beside
from pipelines.params import IngestParams, OptimadeParams
from pipelines.sources import Entry, moment
from pipelines.sources.web import Session, host, read_stored

FORMAT = 1
"""Raised when the meaning of a stored file changes."""
FIELDS = ("lattice_vectors", "cartesian_site_positions", "species", "species_at_sites", "nsites",
          "nperiodic_dimensions", "dimension_types", "elements", "nelements", "elements_ratios",
          "chemical_formula_reduced", "chemical_formula_anonymous", "chemical_formula_descriptive",
          "structure_features", "last_modified", "immutable_id")
"""What the package's model of a structure consists of."""
NEXT = b"next"
PAGE_SCHEMA = pa.schema([pa.field("entry", pa.string())])


def ready(params: IngestParams, root: Path) -> bool:
    """Whether the pull is finished."""
    return any(following is None for _, following in _stored_pages(_folder(params.optimade, root)))


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries in the provider's order. Raises `UserError` if it does not answer or refuses the filter."""
    for page in _pages(params.optimade, _folder(params.optimade, root)):
        for text in page["entry"].to_pylist():
            yield _entry(json.loads(text), params.optimade)


def _folder(params: OptimadeParams, root: Path) -> Path:
    if params.base_url is None:
        raise UserError("ingest.optimade.base_url is not set; providers and their addresses: "
                        "https://www.optimade.org/providers-dashboard")
    query = {"format": FORMAT, "base_url": params.base_url, "filter": params.filter,
             "fields": sorted(params.properties)}
    digest = hashlib.sha256(json.dumps(query, sort_keys=True).encode()).hexdigest()
    return Paths(root).downloads / "optimade" / f"{params.snapshot}-{digest[:16]}"


def _path(folder: Path, number: int) -> Path:
    return folder / f"page-{number:06d}.parquet"


def _pages(params: OptimadeParams, folder: Path) -> Iterator[pa.Table]:
    """All pages, one at a time: those that are here, then those that are still to come."""
    count, rows = 0, 0
    following: str | None = ""
    for page, after in _stored_pages(folder):
        count, rows, following = count + 1, rows + len(page), after
        yield page
    if following is not None:
        yield from _pull(params, folder, count, rows, following)


def _stored_pages(folder: Path) -> Iterator[tuple[pa.Table, str | None]]:
    """The pages that are here, each with the address of the next; None if there is none left."""
    following: str | None = ""
    for number in itertools.count(1):
        page = read_stored(_path(folder, number)) if following is not None else None
        if page is None:
            return
        following = page.schema.metadata[NEXT].decode() or None
        yield page, following


def _pull(params: OptimadeParams, folder: Path, count: int, rows: int, following: str) -> Iterator[pa.Table]:
    """The pages after so many with so many rows, each stored as soon as it has come."""
    client = _client(params)
    address: str | None = following
    seen: set[str] = set()
    say(f"ingest: pulling from {host(params.base_url or '')}{f', going on after page {count}' if count else ''}")
    while address is not None:
        seen.add(address)
        (answer,) = client.get_one("structures", quote(params.filter), params.base_url, page_limit=params.page_size,
                                   response_fields=[*FIELDS, *sorted(params.properties)], paginate=False,
                                   override_url=address or None).values()
        if answer.errors:
            text = re.sub(r"^UserError: ", "", str(answer.errors[0]))
            raise UserError(f"ingest.optimade: {' '.join(text.split())[:400]}")
        address = _next(answer.links.get("next"), seen)
        entries = [{"entry": json.dumps(entry, sort_keys=True)} for entry in answer.data]
        page = pa.Table.from_pylist(entries, schema=PAGE_SCHEMA)
        page = page.replace_schema_metadata({NEXT: (address or "").encode()})
        count, rows = count + 1, rows + len(page)
        write_beside(page, _path(folder, count))
        yield page
    promised = answer.meta.get("data_returned")
    if promised not in (None, rows):
        say(f"ingest: {host(params.base_url or '')} speaks of {promised} structures and gave {rows}")


def _next(link: Any, seen: set[str]) -> str | None:
    """The address of the next page, as text or as an object with `href`."""
    address = link.get("href") if isinstance(link, Mapping) else link
    if not address:
        return None
    if not isinstance(address, str) or urlsplit(address).scheme not in ("http", "https") or address in seen:
        raise UserError("ingest.optimade: the provider's link to the next page leads nowhere or in a circle")
    return address


def _client(params: OptimadeParams) -> Any:
    try:
        from optimade.client import OptimadeClient
        from optimade.exceptions import BadRequest
        from optimade.filterparser import LarkParser
    except ImportError as error:
        raise UserError("the client of optimade is not installed: pip install -c constraints.txt '.[optimade]' "
                        f"({str(error).splitlines()[0]})") from None

    class Asking(Session):
        """The client makes its sessions itself."""

        def __init__(self) -> None:
            super().__init__(params, {})

    try:
        if params.filter:
            LarkParser().parse(params.filter)
    except BadRequest as error:
        raise UserError(f"ingest.optimade.filter is not in OPTIMADE's language: {' '.join(str(error).split())[:300]}"
                        ) from None
    return OptimadeClient(base_urls=[params.base_url], use_async=False, silent=True, http_client=Asking)


def _entry(content: dict[str, Any], params: OptimadeParams) -> Entry:
    """An entry of the provider. What an id may not hold becomes `_`."""
    text = json.dumps(content, sort_keys=True)
    attributes = content.get("attributes") or {}
    structure, error = _structure(content)
    return Entry(
        material_id=re.sub(r"[^A-Za-z0-9._+-]", "_", str(content.get("id", ""))),
        structure=structure,
        format="json",
        source="optimade",
        # the entry's digest, not the snapshot: what another snapshot finds as it was stays the same row
        source_version=f"{host(params.base_url or '')} sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}",
        license=params.license,
        citation=params.citation,
        properties={name: float(value) for field, name in sorted(params.properties.items())
                    if isinstance(value := attributes.get(field), int | float) and math.isfinite(value)},
        last_updated=moment(attributes.get("last_modified")),
        error=error,
    )


def _structure(content: dict[str, Any]) -> tuple[str, str | None]:
    """The structure as JSON for pymatgen, or why there is none."""
    from optimade.adapters.structures import Structure
    from pymatgen.core import Structure as PymatgenStructure

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = Structure(content).as_pymatgen
        if not isinstance(made, PymatgenStructure) or not all(made.lattice.pbc):
            return "", "not_periodic: the structure is not periodic in three dimensions"
        sites = [{"species": [{"element": symbol, "occu": amount} for symbol, amount in site.species.as_dict().items()],
                  "abc": site.frac_coords.tolist()} for site in made]
        return json.dumps({"lattice": {"matrix": made.lattice.matrix.tolist()}, "sites": sites}, sort_keys=True), None
    except Exception as error:  # the package's model may refuse an entry in any way; its words are given
        return "", f"unreadable: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
