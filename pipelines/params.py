"""Section `ingest`: which crystals there are. The other sections are defined beside their views."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from features.materials import MaterialsParams


class IngestParams(MaterialsParams):
    """Section `ingest`."""

    source: Literal["matminer_archive", "cif_folder", "table"] = "matminer_archive"
    """Where crystals come from. `materials_project` will be the fourth."""
    dataset: Literal["elastic", "dielectric", "piezoelectric", "formation_energy", "union"] = "elastic"
    """Which set of `matminer_archive`; `union` merges all four by id, with what each knows."""
    path: Path = Field(default=Path("data/input"), strict=False)
    """For `cif_folder` the folder, for `table` the file. Relative to the project."""
    limit: int | None = Field(default=None, ge=1)
    """Take only this many crystals: a fixed random sample, to which a larger limit only adds."""

    @model_validator(mode="after")
    def _dataset_belongs_to_the_archive(self) -> IngestParams:
        if self.source != "matminer_archive" and self.dataset != "elastic":
            raise ValueError(f"dataset '{self.dataset}' belongs to source matminer_archive, not to {self.source}")
        if self.source == "table" and self.path.suffix.lower() not in {".parquet", ".csv", ".jsonl"}:
            raise ValueError(f"path '{self.path}' must be a .parquet, .csv or .jsonl file for source table")
        return self
