"""The benchmark of the store on few crystals: that it runs and asks what it says, not how fast."""

from pathlib import Path

import pytest

import features
from benchmarks.store import steps
from benchmarks.store.queries import JOIN
from features.catalog import references
from features.store import tables

CRYSTALS = 300


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.store import project

    root = tmp_path_factory.mktemp("store") / "project"
    project.start(root)
    project.materialize_all(root, CRYSTALS)
    return root


def test_rows_are_those_of_the_views_and_join(root: Path) -> None:
    assert {name: len(tables.read(root, name, ["material_id"])) for name in tables.names(root)} == {
        "materials": CRYSTALS, "descriptions": CRYSTALS, "paraphrases": 2 * CRYSTALS, "text_embeddings": 3 * CRYSTALS,
        "structures": CRYSTALS, "splits": CRYSTALS}
    rows = features.open(root).sql(JOIN)
    materials = tables.read(root, "materials", ["band_gap", "nsites"]).to_pylist()
    assert rows["crystals"].sum() == sum(row["band_gap"] > 1 and row["nsites"] <= 10 for row in materials) > 0
    (row,) = tables.read(root, "descriptions", ["text", "sentences"], ["mp-7"]).to_pylist()
    assert {row["text"][span["end"] - 1] for span in row["sentences"]} == {"."}  # other digits, in the same places
    assert list(references.volumes(root)) == []


def test_a_refresh_computes_one_percent(root: Path) -> None:
    from benchmarks.store import project

    before = tables.read(root, "structures", ["material_id", "lattice"])
    reports = project.materialize_all(root, CRYSTALS, steps.CHANGED)
    assert [report.computed for report in reports] == [3, 3, 3, 9, 3, 3]
    after = tables.read(root, "structures", ["material_id", "lattice"])
    changed = [old["material_id"] for old, new in zip(before.to_pylist(), after.to_pylist(), strict=True) if old != new]
    assert sorted(changed) == ["mp-0", "mp-100", "mp-200"]
    assert all(table["bytes"] > 0 for table in steps.publish(root, CRYSTALS)["tables"].values())
