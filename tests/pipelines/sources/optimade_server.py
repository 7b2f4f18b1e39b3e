"""A stand-in for an OPTIMADE provider: `/v1/structures` with pages, links, and the faults of the other stand-in."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.conftest import CRYSTALS
from tests.pipelines.sources.serving import running


@dataclass
class Provider:
    """What it has, which requests came in, and the faults of the next ones (an HTTP status or `truncated`)."""

    entries: list[dict[str, Any]]
    faults: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    largest_page: int = 4
    address: str = ""
    promised: int | None = None


def entries() -> list[dict[str, Any]]:
    """The crystals of `tests/crystals` as OPTIMADE entries, made with the package's own adapter."""
    from optimade.adapters.structures.pymatgen import from_pymatgen
    from pymatgen.core import Structure

    made = []
    for number, path in enumerate(sorted(CRYSTALS.glob("*.cif"))[:10]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attributes = from_pymatgen(Structure.from_file(path)).model_dump(mode="json")
        attributes |= {"last_modified": "2024-11-13T08:30:00Z", "_test_gap": number / 2, "_test_name": "x"}
        made.append({"type": "structures", "id": path.stem, "attributes": attributes})
    return made


@contextmanager
def serving(provider: Provider) -> Iterator[Provider]:
    """Run the provider in threads of this process."""
    class Handler(_Handler):
        pass

    Handler.provider = provider
    with running(Handler) as address:
        provider.address = f"{address}db/"
        yield provider


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    provider: Provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        params = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.provider.asked.append(params)
        status, content = 200, self._page(params)
        if parts.path != "/db/v1/structures":
            status, content = 404, {"errors": [{"title": "Not Found", "detail": parts.path}]}
        body = json.dumps(content).encode()
        fault = self.provider.faults.pop(0) if self.provider.faults else None
        if fault == "truncated":
            body = body[:-20]
        elif fault is not None:
            status = int(fault)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _page(self, params: dict[str, str]) -> dict[str, Any]:
        found = self.provider.entries
        if params.get("filter") == "nsites<=2":
            found = [entry for entry in found if entry["attributes"].get("nsites", 0) <= 2]
        first, limit = int(params.get("page_offset", "0")), min(int(params["page_limit"]), self.provider.largest_page)
        wanted = params["response_fields"].split(",")
        data = [{**entry, "attributes": {name: value for name, value in entry["attributes"].items() if name in wanted}}
                for entry in found[first:first + limit]]
        more = first + limit < len(found)
        address = f"{self.provider.address}v1/structures?{urlencode({**params, 'page_offset': first + limit})}"
        return {"data": data, "links": {"next": {"href": address} if more else None},
                "meta": {"data_returned": self.provider.promised or len(found),
                         "data_available": len(self.provider.entries), "more_data_available": more,
                         "api_version": "1.1.0"}}

    def log_message(self, *_: Any) -> None:
        pass
