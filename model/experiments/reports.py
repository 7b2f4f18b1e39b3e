"""What follows from the stored predictions alone, and is written beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from features.catalog import sql as catalog
from features.paths import Paths
from features.store.files import write_text
from model.experiments import coverage, pages, published, summary
from model.experiments.coverage import Covered, coverages
from model.experiments.matrix import Matrix
from model.experiments.results import Results
from model.experiments.summary import Row, summarise


@dataclass(frozen=True)
class Report:
    """All that is said of a project's experiments."""

    rows: list[Row]
    covered: list[Covered]

    @classmethod
    def of(cls, root: Path, matrix: Matrix) -> Self:
        """From the stored predictions."""
        results = Results(root)
        return cls(summarise(results, matrix), coverages(results, matrix))

    def sheets(self, root: Path) -> list[tuple[Path, str, tuple[str, ...]]]:
        """Each CSV file with its content, and the columns that identify one of its lines."""
        paths = Paths(root)
        return [(paths.experiments_summary, summary.as_csv(self.rows), summary.KEY),
                (paths.experiments_coverage, coverage.as_csv(self.covered), coverage.KEY)]

    def write(self, root: Path, matrix: Matrix) -> None:
        """Write the files, the table `experiments` and, where there are such pages, what they say of experiments."""
        (_, summed, _), (_, covered, _) = sheets = self.sheets(root)
        # made before anything is written: a page without its markers leaves all as it was
        written = [(path, pages.replaced(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix(), content))
                   for path, content in contents(root, matrix, summed, covered) if path.exists()]
        for path, content, _ in sheets:
            write_text(path, content)
        published.publish(root, self.rows)
        catalog.refresh(root)
        for path, text in written:
            write_text(path, text)


def contents(root: Path, matrix: Matrix, summary: str, coverage: str) -> list[tuple[Path, str]]:
    """Each page with what it says of experiments, from the content of both files."""
    return [(Paths(root).results_page, pages.section(summary, coverage, matrix.confidence)),
            (root / "README.md", pages.headline(summary, matrix.headline, matrix.confidence))]
