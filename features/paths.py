"""Where things lie below a project root. No other module builds these paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """All places of one project root."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def features(self) -> Path:
        """The published tables, one folder each."""
        return self.data / "features"

    @property
    def downloads(self) -> Path:
        return self.data / ".downloads"

    @property
    def catalog(self) -> Path:
        """The DuckDB file over all tables."""
        return self.data / "catalog.duckdb"

    @property
    def model(self) -> Path:
        return self.data / "model"

    @property
    def training(self) -> Path:
        """Where training runs that are not at their end have got to."""
        return self.data / ".training"

    @property
    def refresh(self) -> Path:
        """What a refresh keeps while it runs."""
        return self.data / ".refresh"

    @property
    def last_good_files(self) -> Path:
        """What stood here before a refresh, laid out like a project."""
        return self.refresh / "last_good" / "files"

    @property
    def published(self) -> Path:
        """Names the version that readers read."""
        return self.data / "published.json"

    @property
    def versions(self) -> Path:
        """The published versions, each laid out like a project."""
        return self.data / ".published"

    def version(self, version: str) -> Path:
        return self.versions / version

    @property
    def revisions(self) -> Path:
        """Tables of other git revisions, each laid out like a project."""
        return self.data / ".revisions"

    @property
    def vectors(self) -> Path:
        """Vectors of all crystals as matrices, to be mapped into memory."""
        return self.data / ".vectors"

    @property
    def runs(self) -> Path:
        """One line for each run of a stage."""
        return self.data / ".runs.jsonl"

    @property
    def run_locks(self) -> Path:
        """A lock for each run that is at work."""
        return self.data / ".runs"

    @property
    def logs(self) -> Path:
        """What the last runs said, a file each."""
        return self.data / ".logs"

    @property
    def lock(self) -> Path:
        return self.root / "dvc.lock"

    @property
    def dvc_tmp(self) -> Path:
        """Where DVC has its locks."""
        return self.root / ".dvc" / "tmp"

    @property
    def dvc_cache(self) -> Path:
        return self.root / ".dvc" / "cache"

    @property
    def results(self) -> Path:
        return self.data / "results"

    @property
    def experiments(self) -> Path:
        """Out-of-fold predictions of all experiments, and the crystals that they are for; part of the repository."""
        return self.root / "docs" / "experiments"

    @property
    def experiments_summary(self) -> Path:
        return self.root / "docs" / "experiments.csv"

    @property
    def experiments_coverage(self) -> Path:
        return self.root / "docs" / "experiments-coverage.csv"

    @property
    def results_page(self) -> Path:
        return self.root / "docs" / "results.md"

    def experiment_project(self, dataset: str) -> Path:
        """The project of a data set other than this one's own."""
        return self.data / "experiments" / dataset

    @property
    def experiments_lock(self) -> Path:
        return self.data / ".experiments.lock"

    def table(self, name: str) -> Path:
        return self.features / name

    def rejects(self, name: str) -> Path:
        return self.features / "rejects" / f"{name}.parquet"

    @property
    def rowstores(self) -> Path:
        return self.data / ".rowstore"

    def rowstore(self, name: str) -> Path:
        return self.rowstores / name


def project_of(where: Path) -> Path:
    """The project whose version or revision lies in a folder; the folder itself if it is neither."""
    beside = where.absolute().parent
    project = Paths(beside.parents[1]) if len(beside.parents) > 1 else Paths(where)
    return project.root if beside in (project.versions, project.revisions) else where
