"""No feature knows what is to be predicted: other targets for the same crystals give the same bytes."""

import csv
import shutil
from pathlib import Path

import pytest

from features.paths import Paths
from features.registry import MODULES, view_of
from features.store import tables
from pipelines.engine import stages
from tests.conftest import make_project

CRYSTALS = ["mp-30", "mp-149", "mp-22862"]


def rotate_targets(path: Path) -> None:
    """Each crystal gets the properties of the next one."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    rotated = [[row[0], *other[1:]] for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    assert all(row[1:] != other[1:] for row, other in zip(rows, rotated, strict=True))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rotated])


def contents(root: Path, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tables.files(root, name)}


@pytest.mark.slow
def test_permuted_targets_change_materials_alone(tmp_path: Path) -> None:
    root = make_project(tmp_path / "one", only=CRYSTALS, paraphrase={"variants": 1}, chgnet={"model": "0.3.0"})
    other = Path(shutil.copytree(root, tmp_path / "other"))
    rotate_targets(other / "data/input/properties.csv")
    for stage in MODULES:
        for project in (root, other):  # each from nothing: no row of the other is at hand
            report = stages.run(stage, project, "serial")
            assert report.computed == report.wanted > 0
    for stage in MODULES:
        name = view_of(stage).name
        same = contents(root, name) == contents(other, name)
        assert same == (name != "materials"), name
        assert Paths(root).rejects(name).read_bytes() == Paths(other).rejects(name).read_bytes()
    targets = [dict(zip(*tables.read(project, "materials", ["material_id", "k_vrh"]).to_pydict().values(), strict=True))
               for project in (root, other)]
    assert targets[0] != targets[1]
    assert sorted(map(str, targets[0].values())) == sorted(map(str, targets[1].values()))
