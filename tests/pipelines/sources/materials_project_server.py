"""A stand-in for the Materials Project API: what mp-api asks for, over real HTTP, with real crystals and real faults.

It answers as emmet-api does: `/heartbeat` with the database version, `/materials/summary/` and `/materials/robocrys/`
with `{data, meta}`, filters, `_fields`, `_sort_fields`, pages by `_page` and `_per_page` or by `_skip` and `_limit`.
It is stricter in that an unknown parameter is an error.
"""

from __future__ import annotations

import copy
import csv
import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from pipelines.params import IngestParams
from pipelines.sources import read_units
from tests.conftest import CRYSTALS
from tests.pipelines.sources.serving import running

KEY = "Zx9" * 10 + "Qw"
"""The only key that the server accepts: 32 characters, as real ones."""
OLD, NEW = "2025.04.10", "2025.09.25"
MAX_LIMIT = 1000
LONGEST_ADDRESS = 8000
GNOME = "gnome_r2scan_statics"

Document = dict[str, Any]


class _RefusedError(Exception):
    def __init__(self, status: int, detail: Any) -> None:
        self.status, self.detail = status, detail


@dataclass
class Fault:
    """`kind` is an HTTP status, or slow, truncated (broken JSON), dropped (a body that breaks off), closed (no answer),
    short (a document is left out) or other (JSON without documents).
    """

    kind: str
    times: int = 1
    after: int = 0
    path: str = "/materials/summary/"
    """Which requests it hits: the first `times` after `after` others."""


@dataclass
class Asked:
    """One request as it came in."""

    path: str
    params: dict[str, str]
    key: str | None
    length: int


@dataclass
class Database:
    """What the server has. `move` goes to another version, as the Materials Project does some times a year."""

    versions: dict[str, list[Document]]
    version: str = OLD
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)
    address: str = ""
    slow_s: float = 0.6
    letters: bool = False
    """Whether it writes ids in letters, mp-ft for mp-149; it understands both."""
    on_request: Callable[[Asked], None] | None = None

    def move(self, version: str) -> None:
        self.version = version

    def searches(self) -> list[dict[str, str]]:
        """Parameters of the searches so far."""
        return [request.params for request in self.asked if request.path == "/materials/summary/"]

    def structure_requests(self) -> list[list[str]]:
        """Ids of each request for structures so far."""
        return [params["material_ids"].split(",") for params in self.searches()
                if "structure" in params["_fields"].split(",")]


def document(path_stem: str, folder: str = "", scale: float = 1.0, **changes: Any) -> Document:
    """The summary of a crystal of `tests/crystals` as the API gives it. `scale` stretches the cell."""
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = Structure.from_file(CRYSTALS / folder / f"{path_stem}.cif")
    if scale != 1.0:
        structure.scale_lattice(structure.volume * scale)
    k_vrh, g_vrh = _moduli().get(path_stem, (None, None))
    composition = structure.composition
    made: Document = {
        "material_id": path_stem,
        "formula_pretty": composition.reduced_formula,
        "chemsys": composition.chemical_system,
        "elements": sorted(element.symbol for element in composition),
        "nelements": len(composition),
        "nsites": len(structure),
        "volume": structure.volume,
        "density": float(structure.density),
        "structure": structure.as_dict(),
        "deprecated": False,
        "deprecation_reasons": None,
        "last_updated": "2024-11-13T08:30:00.123000Z",
        "origins": [{"name": "structure", "task_id": f"{path_stem}0", "last_updated": "2024-05-01T00:00:00Z"},
                    {"name": "energy", "task_id": f"{path_stem}1", "last_updated": "2024-05-02T00:00:00Z"}],
        "builder_meta": {"emmet_version": "0.86.3", "database_version": OLD, "build_date": "2025-04-01T00:00:00Z",
                         "license": "BY-C", "batch_id": None},
        "bulk_modulus": None if k_vrh is None else {"voigt": k_vrh + 1, "reuss": k_vrh - 1, "vrh": k_vrh},
        "shear_modulus": None if g_vrh is None else {"voigt": g_vrh + 1, "reuss": g_vrh - 1, "vrh": g_vrh},
        "universal_anisotropy": None,
        "homogeneous_poisson": None,
        "band_gap": 0.0,
        "is_metal": True,
        "is_stable": True,
        "energy_above_hull": 0.0,
        "formation_energy_per_atom": None,
        "symmetry": {"crystal_system": "Cubic", "number": 225},
        "has_props": {"elasticity": k_vrh is not None},
    }
    return copy.deepcopy(made) | changes


def _moduli() -> dict[str, tuple[float, float]]:
    with (CRYSTALS / "properties.csv").open() as handle:
        return {row["material_id"]: (float(row["k_vrh"]), float(row["g_vrh"])) for row in csv.DictReader(handle)}


ADDED, RESHAPED, REVALUED, WITHDRAWN, REMOVED = "mp-30", "mp-149", "mp-22862", "mp-127", "mp-938"
"""What becomes of these crystals on the way from OLD to NEW."""
ALWAYS_DEPRECATED, NON_COMMERCIAL = "mp-19", "mp-1018134"


def two_versions() -> dict[str, list[Document]]:
    """All crystals of `tests/crystals` at two versions, with one withdrawn and one of the GNoME batch in both."""
    common = {path.stem: document(path.stem) for path in sorted(CRYSTALS.glob("*.cif"))}
    common[ALWAYS_DEPRECATED] = document(ALWAYS_DEPRECATED, "low_dimensional", deprecated=True,
                                         deprecation_reasons=["no valid calculation"])
    gnome = document(NON_COMMERCIAL, "split_orbits")
    gnome["builder_meta"] |= {"license": "BY-NC", "batch_id": GNOME}
    common[NON_COMMERCIAL] = gnome
    old = {material_id: made for material_id, made in common.items() if material_id != ADDED}
    new = {material_id: copy.deepcopy(made) for material_id, made in common.items() if material_id != REMOVED}
    new[ADDED]["builder_meta"]["database_version"] = NEW
    new[RESHAPED] = document(RESHAPED, scale=1.02, last_updated="2025-08-01T00:00:00Z")
    new[RESHAPED]["builder_meta"]["database_version"] = NEW
    new[RESHAPED]["origins"][0]["task_id"] = "mp-1499"
    # a new neighbour on the hull: the document keeps its date
    new[REVALUED]["energy_above_hull"] = 0.0125
    new[WITHDRAWN] |= {"deprecated": True, "deprecation_reasons": ["superseded"]}
    return {OLD: list(old.values()), NEW: list(new.values())}


QUICK: dict[str, Any] = {"timeout_s": 20.0, "attempts": 3, "backoff_s": 0.0, "chunk_size": 4}


def params(server: Database, limit: int | None = None, **changes: Any) -> IngestParams:
    """Parameters that pull from the stand-in, without waiting between attempts."""
    settings = {"endpoint": server.address, "database_version": OLD, **QUICK, **changes}
    return IngestParams.model_validate({"source": "materials_project", "limit": limit, "materials_project": settings})


def units(root: Path, chosen: IngestParams) -> dict[str, dict[str, Any]]:
    """What the source yields, by id."""
    return {row["material_id"]: row for row in read_units(chosen, root).to_pylist()}


def project(root: Path, server: Database, **changes: Any) -> Path:
    """A project whose source is the stand-in."""
    root.mkdir(exist_ok=True)
    settings = {"endpoint": server.address, "database_version": OLD, **QUICK, **changes}
    (root / "params.yaml").write_text(
        "# as the user wrote it\n" + yaml.safe_dump({"ingest": {"source": "materials_project",
                                                                "materials_project": settings}}))
    return root


@contextmanager
def serving(database: Database) -> Iterator[Database]:
    """Run the server in threads of this process."""
    class Handler(_Handler):
        pass

    Handler.database = database
    with running(Handler, _Server) as database.address:
        yield database


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that would not wait has gone


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets
    database: Database

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        params = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        asked = Asked(parts.path, params, self.headers.get("X-API-KEY"), len(self.path))
        self.database.asked.append(asked)
        if self.database.on_request is not None:
            self.database.on_request(asked)
        fault = self._fault(parts.path)
        try:
            status, content = 200, self._answer(asked)
        except _RefusedError as error:
            status, content = error.status, {"detail": error.detail}
        if fault == "short":
            content["data"] = content["data"][:-1]
        elif fault == "other":
            content = {"status": "OK"}
        body = json.dumps(content).encode()
        if fault == "closed":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "slow":
            time.sleep(self.database.slow_s)
        elif fault == "truncated":
            body = body[:len(body) // 2]
        elif fault is not None and fault.isdigit():
            status, body = int(fault), b"upstream request failed"
        announced = len(body)
        if fault == "dropped":
            body, self.close_connection = body[:len(body) // 2], True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(announced))
        if status == 429:
            self.send_header("Retry-After", "0")
        if status in (301, 302):
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def _fault(self, path: str) -> str | None:
        for fault in self.database.faults:
            if fault.path != path or fault.times <= 0:
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.times -= 1
            return fault.kind
        return None

    def _answer(self, asked: Asked) -> dict[str, Any]:
        if asked.path == "/heartbeat":
            return {"status": "OK", "time": "2025-11-22T00:00:00", "version": "0.87.3",
                    "db_version": self.database.version, "access_controlled_batch_ids": [GNOME]}
        if asked.key != KEY:
            raise _RefusedError(401, "Unauthorized")
        if asked.length > LONGEST_ADDRESS:
            raise _RefusedError(414, "Request-URI Too Large")
        if asked.path == "/materials/summary/":
            content = _page(search(self.database.versions[self.database.version], asked.params), asked.params)
            if self.database.letters:
                content["data"] = [made | {"material_id": in_letters(made["material_id"])} for made in content["data"]]
            return content
        if asked.path == "/materials/robocrys/":
            ids = asked.params["material_ids"].split(",")
            condensed = {"mineral": {"type": "diamond"}, "dimensionality": 3, "spg_symbol": "Fd-3m"}
            found = [{"material_id": i, "description": text, "robocrys_version": "0.86.3",
                      "condensed_structure": condensed}
                     for i, text in self.database.descriptions.items() if i in ids]
            return _page(found, asked.params)
        raise _RefusedError(404, "no Route matched with those values")

    def log_message(self, *_: Any) -> None:
        pass


def in_letters(material_id: str) -> str:
    """The id as the Materials Project writes those that it gives out from now on."""
    from emmet.core.mpid import AlphaID

    return str(AlphaID(material_id, padlen=8))


NUMBERS: dict[str, Callable[[Document], Any]] = {
    **{name: (lambda made, name=name: made.get(name)) for name in
       ("band_gap", "energy_above_hull", "nsites", "nelements", "volume", "density", "formation_energy_per_atom")},
    "k_vrh": lambda made: (made["bulk_modulus"] or {}).get("vrh"),
    "g_vrh": lambda made: (made["shear_modulus"] or {}).get("vrh"),
}


def search(documents: list[Document], params: dict[str, str]) -> list[Document]:
    """Documents that the parameters let through, as emmet's query operators do. The default hides withdrawn ones."""
    filters = {"deprecated": "False"} | {name: value for name, value in params.items() if not name.startswith("_")}
    for name, value in filters.items():
        stem, _, end = name.rpartition("_")
        if end in ("min", "max") and stem in NUMBERS:
            try:
                float(value)
            except ValueError:
                raise _RefusedError(422, [{"loc": ["query", name], "msg": "value is not a valid float"}]) from None
        elif name not in PASSES:
            raise _RefusedError(400, f"unknown parameter {name}")
    return [made for made in documents if all(_passes(made, name, value) for name, value in filters.items())]


PASSES: dict[str, Callable[[Document, str], bool]] = {
    "deprecated": lambda made, value: made["deprecated"] is (value.lower() == "true"),
    "is_stable": lambda made, value: made["is_stable"] is (value.lower() == "true"),
    "material_ids": lambda made, value: made["material_id"] in value.split(","),
    "batch_id_not_eq": lambda made, value: made["builder_meta"]["batch_id"] != value,
    "elements": lambda made, value: set(value.split(",")) <= set(made["elements"]),
    "has_props": lambda made, value: all(made["has_props"].get(prop) for prop in value.split(",")),
    "spacegroup_number": lambda made, value: made["symmetry"]["number"] == int(value),
}


def _passes(made: Document, name: str, value: str) -> bool:
    if name in PASSES:
        return PASSES[name](made, value)
    stem, _, end = name.rpartition("_")
    number = NUMBERS[stem](made)
    return number is not None and (number >= float(value) if end == "min" else number <= float(value))


def _page(found: list[Document], params: dict[str, str]) -> dict[str, Any]:
    if "_page" in params:
        limit = int(params.get("_per_page", "100"))
        skip = max(int(params["_page"]) - 1, 0) * limit
    else:
        limit, skip = int(params.get("_limit", "100")), int(params.get("_skip", "0"))
    if limit > MAX_LIMIT:
        raise _RefusedError(400, f"Requested more data per query than allowed. The max limit is {MAX_LIMIT} entries")
    if "_sort_fields" in params:
        found = sorted(found, key=lambda made: made[params["_sort_fields"]])
    fields = params["_fields"].split(",") if "_fields" in params else ["material_id"]
    data = [made if params.get("_all_fields") else {name: made.get(name) for name in fields}
            for made in found[skip:skip + limit]]
    return {"data": data, "meta": {"api_version": "0.87.3", "total_doc": len(found), "max_limit": MAX_LIMIT}}
