"""What is written from the summary: the section of docs/results.md, and the table of the catalog."""

from pathlib import Path

import pytest

from features.catalog.sql import query
from features.errors import UserError
from features.paths import Paths
from features.store import tables
from model.experiments import matrix as matrices
from model.experiments import pages, published, reports
from model.experiments.reports import Report
from tests.model.experiments.stored import noise, store
from tests.model.experiments.tiny import matrix

REPO = Path(__file__).parents[3]
SUMMARY = """\
dataset,target,arm,control,n_train,members,seeds,folds,mae,low,high,minus_dedicated,minus_low,minus_high,commit
tiny,k_vrh,dedicated,none,64,1,2,5,0.30000,0.28000,0.32000,,,,abc
tiny,k_vrh,fused,none,64,1,2,5,0.20000,0.18000,0.22000,-0.10000,-0.11960,-0.08040,abc
tiny,k_vrh,fused,shuffled_text,64,1,2,5,0.31000,0.29000,0.33000,0.01000,-0.00960,0.02960,abc
tiny,g_vrh,dedicated,none,64,1,2,5,0.40000,0.38000,0.42000,,,,abc
"""
COVERAGE = """\
dataset,target,arm,members,by,value,crystals,confidence,coverage,mean_width
tiny,k_vrh,fused,2,all,all,100,0.9,0.91234,0.80000
tiny,k_vrh,fused,2,chemistry,oxide,100,0.9,0.91000,0.80000
"""


def test_the_headline_by_hand() -> None:
    text = pages.headline(SUMMARY, "fused", 0.95)
    assert "folds by formula, 1 members on either side" in text
    assert text.count("\n| tiny") == 1
    assert "| tiny | k_vrh | 5 | 64 | 0.3000 | 0.2000 | -0.1000 [-0.1196, -0.0804] | 0.0100 [-0.0096, 0.0296] |" in text
    assert pages.headline("", "fused", 0.95) == pages.NONE_YET


def test_the_section_by_hand() -> None:
    text = pages.section(SUMMARY, COVERAGE, 0.95)
    assert "| fused | none | 1 | 0.2000 [0.1800, 0.2200] | -0.1000 [-0.1196, -0.0804] |" in text
    assert "| dedicated | none | 1 | 0.3000 [0.2800, 0.3200] |  |" in text
    assert "show a difference of 0.0280, in the median over the 2 lines (0.0280 to 0.0280)" in text  # 2.80 · .01
    assert "of 2 differences 1 are clear of zero (1 below, 0 above); if there were none, about 0.1 would be" in text
    assert "| fused | 2 | 90% | 91.2% | 0.800 |" in text
    assert "oxide" not in text
    assert text.index("### tiny, k_vrh") < text.index("### tiny, g_vrh")


def test_all_else_on_the_page_stays() -> None:
    page = f"# Before\n\n{pages.BEGIN}\nwas here\n{pages.END}\n\n# After\n"
    once = pages.replaced(page, "docs/results.md", "is here")
    assert once == f"# Before\n\n{pages.BEGIN}\n\nis here\n\n{pages.END}\n\n# After\n"
    assert pages.replaced(once, "docs/results.md", "is here") == once
    for bad in ("", page + page, f"{pages.END}\n{pages.BEGIN}"):
        with pytest.raises(UserError, match=r"docs/results.md needs the lines"):
            pages.replaced(bad, "docs/results.md", "is here")


def test_the_committed_page_follows_from_the_committed_files() -> None:
    paths = Paths(REPO)
    summary, coverage = (path.read_text(encoding="utf-8") if path.exists() else ""
                         for path in (paths.experiments_summary, paths.experiments_coverage))
    for path, content in reports.contents(REPO, matrices.read(), summary, coverage):
        page = path.read_text(encoding="utf-8")
        assert page == pages.replaced(page, path.name, content)


def test_sql_sees_the_summary(tmp_path: Path) -> None:
    results = store(tmp_path, {("dedicated", "none"): noise(2, 0.3, 0), ("fused", "none"): noise(2, 0.2, 1)})
    report = Report.of(tmp_path, matrix())
    Paths(tmp_path).results_page.write_text(f"{pages.BEGIN}\n{pages.END}\n")
    report.write(tmp_path, matrix())
    rows = query(tmp_path, "select arm, members, mae, minus_dedicated from experiments where arm = 'fused'").to_pylist()
    expected = [row for row in report.rows if row.arm == "fused"]
    assert [(row["members"], row["mae"], row["minus_dedicated"]) for row in rows] == [
        (row.members, row.mae, row.minus and row.minus[0]) for row in expected]
    assert query(tmp_path, "select count(*) as n from experiments where minus_low is null").to_pylist() == [{"n": 2}]
    assert all(field.metadata[b"description"] for field in tables.schema(tmp_path, published.TABLE))
    assert "### tiny, k_vrh" in Paths(tmp_path).results_page.read_text()
    assert results.all()
