"""The whole chain as users run it: four nights of a deployment, in a project whose Materials Project is a stand-in."""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from features import catalog
from features.paths import Paths
from pipelines.engine import runs, stages
from pipelines.refresh.last_good import outputs
from tests.conftest import CRYSTALS, set_params
from tests.model.small import EXPLAIN, SMALL
from tests.nightly import Nightly, as_the_readme_says
from tests.pipelines.sources.materials_project_server import (
    KEY,
    NEW,
    OLD,
    QUICK,
    Database,
    Document,
    Fault,
    document,
    serving,
)

REPO = Path(__file__).parents[1]
STEMS = ("mp-30", "mp-127", "mp-149", "mp-22862", "mp-938", "mp-361", "mp-1135", "mp-165", "mp-2305", "mp-169")
CHANGED = "mp-30"
BROKEN = "mp-999999"
LATER = "2026.02.20"


def forty() -> list[Document]:
    """Ten real crystals as they are and under three strains, and one with two atoms in one place."""
    made = []
    for stem in STEMS:
        for step in range(4):
            one = document(stem, scale=1 + 0.01 * step)
            number = int(stem.removeprefix("mp-")) + 300_000 * step
            made.append(one | {"material_id": f"mp-{number}"})
            if one["bulk_modulus"] is not None:  # stretched crystals are softer
                one["bulk_modulus"]["vrh"] *= 1 - 0.05 * step
    broken = document("mp-149") | {"material_id": BROKEN}
    sites = broken["structure"]["sites"]
    sites[1] = copy.deepcopy(sites[0])
    return [*made, broken]


@dataclass
class World:
    """A project, its deployment, and the Materials Project that it asks."""

    nightly: Nightly
    database: Database

    @property
    def root(self) -> Path:
        return self.nightly.root


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of everything that DVC tracks, of its lock and of the parameters."""
    files = [root / "dvc.lock", root / "params.yaml"]
    for path in outputs(root):
        files += [file for file in [root / path, *(root / path).rglob("*")] if file.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("end") / "project"
    for name in ("features", "pipelines", "model"):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "prefect.yaml", ".dvcignore"):
        shutil.copy(REPO / name, root / name)
    (root / "data/input").mkdir(parents=True)
    old = forty()
    new = [document(CHANGED, scale=1.02, last_updated="2025-08-01T00:00:00Z") if one["material_id"] == CHANGED else one
           for one in old]
    new[0]["builder_meta"] |= {"database_version": NEW}
    database = Database({OLD: old, NEW: new, LATER: [*new, document("mp-48")]})
    with serving(database):
        settings = {"endpoint": database.address, "database_version": None, **QUICK, "chunk_size": 200}
        (root / "params.yaml").write_text(yaml.safe_dump({
            "ingest": {"source": "materials_project", "path": "data/input", "materials_project": settings},
            "train": SMALL | {"epochs": 2}, "explain": EXPLAIN, "paraphrase": {"variants": 1},
            **{stage: {} for stage in ("describe", "embed", "tokenize", "tensorize", "chgnet", "split", "evaluate")}}))
        home = tmp_path_factory.mktemp("prefect")
        with as_the_readme_says(root, home, MP_API_KEY=KEY) as nightly:
            nightly.shell("dvc init --no-scm --quiet")
            yield World(nightly, database)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_first_night_makes_everything(world: World) -> None:
    assert world.nightly.refresh() == (f"database None → {OLD}; crystals: 40 added; 1 newly rejected; 11 stages ran")
    root = world.root
    assert sum(json.loads((root / "data/results/metrics.json").read_text())["split"].values()) == 40
    for name in ("report.html", "explanations.html", "parity.csv"):
        assert (root / "data/results" / name).stat().st_size > 0
    rows = catalog.query(root, "select m.formula, m.k_vrh, d.text from materials m join descriptions d "
                               "using (material_id) order by k_vrh desc limit 3").to_pylist()
    assert all("crystallizes in the" in row["text"] for row in rows)
    (rejected,) = catalog.query(root, "select material_id from rejects").to_pylist()
    assert rejected["material_id"] == BROKEN
    assert [len(world.nightly.runs(flow)) for flow in ("stage", "model-stage", "refresh")] == [8, 3, 1]
    (counts,) = json.loads(world.nightly.artifacts("stage-describe")[0])
    assert (counts["rows in"], counts["computed"], counts["rejected"]) == (40, 40, 0)


@pytest.mark.slow
def test_the_second_night_has_nothing_new(world: World) -> None:
    before = contents(world.root)
    assert world.nightly.refresh() == f"nothing new: database {OLD}"
    assert contents(world.root) == before
    assert len(world.nightly.runs("stage")) == 8


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_third_night_computes_what_changed(world: World) -> None:
    before = contents(world.root)
    world.database.move(NEW)
    assert world.nightly.refresh() == f"database {OLD} → {NEW}; crystals: 1 changed; 11 stages ran"
    did = runs.latest(world.root)
    counts = {stage: (did[stage].counts["wanted"], did[stage].counts["computed"]) for stage in stages.STAGES}
    assert counts == {"ingest": (41, 1), "describe": (40, 1), "paraphrase": (40, 1), "embed": (80, 2),
                      "tokenize": (80, 2), "tensorize": (40, 1), "chgnet": (0, 0), "split": (40, 1)}
    after = contents(world.root)
    for stage in stages.STAGES[:6]:
        table = json.loads(world.nightly.artifacts(f"stage-{stage}")[-1])[0]["view"]
        parts = [name for name in after if name.startswith(f"data/features/{table}/part-")]
        assert len(parts) == 8
        assert sum(before[name] != after[name] for name in parts) == 1
    page = world.nightly.artifacts("refresh")[-1]
    assert f"Changed: {CHANGED}" in page
    assert "materials.volume" in page
    assert "test.mae" in page


@pytest.mark.slow
def test_a_night_that_fails_leaves_the_last_good_version(world: World) -> None:
    before = contents(world.root)
    world.database.move(LATER)
    world.database.faults = [Fault("500", times=1000, after=2)]  # it lists the new crystal, and does not give it
    assert "500" in world.nightly.refresh("FAILED")
    assert Paths(world.root).params.read_bytes() == before["params.yaml"]  # the version was pinned meanwhile
    assert contents(world.root) == before
    assert runs.latest(world.root)["refresh"].outcome == "failed"


def steps(world: World) -> dict[str, str]:
    """What the plan says of each stage, but for the numbers of rows."""
    lines = world.nightly.shell("python -m pipelines plan").splitlines()[1:]
    return {line.split()[0]: line.split("  ")[-1].strip() for line in lines}


@pytest.mark.slow
def test_the_plan_says_what_is_stale_and_why(world: World) -> None:
    assert world.nightly.shell("python -m features validate").strip().endswith("are valid")
    assert set(steps(world).values()) == {"up to date"}
    params: dict[str, Any] = yaml.safe_load(Paths(world.root).params.read_text())
    set_params(world.root, split={"seed": 3}, evaluate={"shuffles": 4})
    stale = {stage: why for stage, why in steps(world).items() if why != "up to date"}
    assert stale == {"split": "split.seed 0 → 3", "train": "after split", "evaluate": "evaluate.shuffles null → 4; "
                     "after train", "explain": "after train"}
    Paths(world.root).params.write_text(yaml.safe_dump(params))


@pytest.mark.slow
def test_predict_files_as_the_pipeline_does_and_count_bad_ones(world: World, tmp_path: Path) -> None:
    """Text and numbers are those of the tables, whatever stands between; bad files cost nothing but themselves."""
    page, good = tmp_path / "why.html", [CRYSTALS / f"{stem}.cif" for stem in ("mp-127", "mp-22862")]
    empty, nan = tmp_path / "empty.cif", tmp_path / "nan.cif"
    empty.write_text("nothing")
    nan.write_text(re.sub(r"_cell_length_a\s+\S+", "_cell_length_a nan", good[0].read_text()))
    files = " ".join(map(str, [nan, good[0], empty, good[1]]))
    said = world.nightly.shell(f"python -m model predict {files} --json --html {page}", code=2)
    answers, line = json.JSONDecoder().raw_decode(said)
    assert said[line:].strip().splitlines()[-1].startswith("error: 2 of 4 crystals could not be used")
    assert [bool(answer.get("error")) for answer in answers] == [True, False, True, False]
    assert answers[2]["error"].startswith("unreadable")
    rows = catalog.query(world.root, "from predictions join descriptions using (material_id)").to_pylist()
    for path, answer in zip(good, [answers[1], answers[3]], strict=True):
        (row,) = [row for row in rows if row["material_id"] == path.stem]
        assert answer["text"] == row["text"]
        assert answer["value"] == pytest.approx(row["value_fused"], rel=1e-5)
        assert answer["structure_only"] == pytest.approx(10 ** row["y_structure_only"], rel=1e-5)
        assert answer["text_only"] == pytest.approx(10 ** row["y_text_only"], rel=1e-5)
        assert answer["unit"] == "GPa"
    assert "Na(1)" in page.read_text()
