"""Section `ingest`: which crystals there are. The other sections are defined beside their views."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from features.params import LONGEST_S, RUNTIME, Section
from features.reading import FILE_BYTES, MB, TABLE_BYTES
from features.views.materials import ID_PATTERN, MaterialsParams

VERSION_PATTERN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,39}")
"""What a database version may look like: it comes from a server and goes into `params.yaml`."""


def _web_address(address: str) -> str:
    """An http address that ends in a slash. A key never travels unencrypted, except to this machine."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"'{address}' is no web address (https://…)")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address without user, password, ? or # is expected")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError(f"'{address}' is not encrypted; use https")
    return address.rstrip("/") + "/"


class WebParams(Section):
    """How a server is asked; nothing of it decides a value."""

    timeout_s: float = Field(default=60.0, gt=0, le=LONGEST_S, json_schema_extra={**RUNTIME})
    """Longest silence of the server before it is asked again."""
    attempts: int = Field(default=6, ge=1, le=100, json_schema_extra={**RUNTIME})
    """How often the same thing is asked before the pull stops (429, 5xx, no answer, a broken answer)."""
    backoff_s: float = Field(default=1.0, ge=0, le=3600, json_schema_extra={**RUNTIME})
    """Wait before another attempt, doubled each time; a server's own Retry-After goes first."""


class MaterialsProjectParams(WebParams):
    """Section `ingest.materials_project`. The key is no parameter: it is read from `MP_API_KEY`."""

    database_version: str | None = None
    """The pinned version of the database; `python -m pipelines move-database` sets it."""
    endpoint: str = "https://api.materialsproject.org/"
    """Address of the API."""
    filters: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the client's `materials.summary.search`, such as `k_vrh: [1, null]`, `elements: [O]`,
    `num_sites: [1, 60]`, `is_stable: true`, `has_props: [elasticity]`."""
    material_ids: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Only these materials, as many as you like; none means all."""
    fields: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Numeric fields to fetch, under the API's names or those of `materials`; none means all that `materials` has a
    column for. What has no column goes to `other_properties`."""
    include_gnome: bool = False
    """Also take the GNoME batch, which is licensed for non-commercial use only."""
    chunk_size: int = Field(default=200, ge=1, le=1000, json_schema_extra={**RUNTIME})
    """Crystals per request for structures, fewer where the address would become too long."""

    _endpoint = field_validator("endpoint")(_web_address)

    @field_validator("database_version")
    @classmethod
    def _version(cls, version: str | None) -> str | None:
        if version is not None and not VERSION_PATTERN.fullmatch(version):
            raise ValueError(f"'{version}' is no database version, such as '2025.09.25'")
        return version

    @field_validator("material_ids")
    @classmethod
    def _ids(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        for material_id in ids:
            if not ID_PATTERN.fullmatch(material_id):
                raise ValueError(f"'{material_id}' is no id, such as 'mp-149'")
        return ids


class OptimadeParams(WebParams):
    """Section `ingest.optimade`: any provider that speaks OPTIMADE (https://www.optimade.org/providers-dashboard)."""

    base_url: str | None = None
    """Address of the provider's database, without the `/v1`."""
    filter: str = ""
    """Which structures, in OPTIMADE's language: `elements HAS "O" AND nsites<=20`."""
    snapshot: str = "1"
    """A name for the pull. OPTIMADE has no versions: what was pulled under a name stays, another name pulls anew."""
    properties: dict[str, str] = Field(default_factory=dict)
    """Numeric fields of the provider (`_mp_band_gap`) → name in `materials` (`band_gap`)."""
    license: str = "unknown"
    """Licence of the provider's data, which OPTIMADE does not say for each structure."""
    citation: str = ""
    """DOIs of the works to cite, separated by blanks."""
    page_size: int = Field(default=100, ge=1, le=1000, json_schema_extra={**RUNTIME})
    """Structures per request; a provider may give fewer."""

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, address: str | None) -> str | None:
        return None if address is None else _web_address(address)

    @field_validator("snapshot")
    @classmethod
    def _snapshot(cls, name: str) -> str:
        if not VERSION_PATTERN.fullmatch(name):
            raise ValueError(f"'{name}' is no name: letters, digits and . _ - only")
        return name


class IngestParams(MaterialsParams):
    """Section `ingest`."""

    source: Literal["matminer_archive", "folder", "table", "materials_project", "optimade"] = "matminer_archive"
    """Where crystals come from."""
    dataset: Literal["elastic", "dielectric", "piezoelectric", "formation_energy", "union"] = "elastic"
    """Which set of `matminer_archive`; `union` merges all four by id, with what each knows."""
    path: Path = Field(default=Path("data/input"), strict=False)
    """For `folder` the folder, for `table` the file. Relative to the project."""
    blocks: Literal["one", "all"] = "one"
    """Of `folder` and `table`: whether a CIF is one crystal, or each of its blocks with sites is, as `ID+BLOCK`."""
    file_mb: int = Field(default=FILE_BYTES // MB, ge=1, le=1000, json_schema_extra={**RUNTIME})
    """Largest file of one crystal in MB, unpacked if it is packed, or cell of a table; a larger one is a reject."""
    table_mb: int = Field(default=TABLE_BYTES // MB, ge=1, le=100_000, json_schema_extra={**RUNTIME})
    """Largest table, and largest `properties.csv`, in MB."""
    limit: int | None = Field(default=None, ge=1, le=10**9)
    """Take only this many crystals: a fixed random sample, to which a larger limit only adds."""
    materials_project: MaterialsProjectParams = MaterialsProjectParams()
    """What to pull from the Materials Project, and how."""
    optimade: OptimadeParams = OptimadeParams()
    """What to pull from an OPTIMADE provider, and how."""

    @field_validator("source", mode="before")
    @classmethod
    def _renamed(cls, source: object) -> object:
        if source == "cif_folder":
            raise ValueError("'cif_folder' is now called 'folder', since it takes other formats too")
        return source

    @model_validator(mode="after")
    def _dataset_belongs_to_the_archive(self) -> IngestParams:
        if self.source != "matminer_archive" and self.dataset != "elastic":
            raise ValueError(f"dataset '{self.dataset}' belongs to source matminer_archive, not to {self.source}")
        if self.source == "table" and self.path.suffix.lower() not in {".parquet", ".csv", ".tsv", ".jsonl"}:
            raise ValueError(f"path '{self.path}' must be a .parquet, .csv, .tsv or .jsonl file for source table")
        if self.blocks == "all" and self.source not in ("folder", "table"):
            raise ValueError(f"blocks 'all' belongs to sources folder and table, not to {self.source}")
        return self
