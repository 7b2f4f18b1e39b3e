"""The whole chain as a user runs it: `dvc repro` in a project with a folder of CIFs, one of them broken."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from features import catalog
from tests.conftest import CRYSTALS, make_project, set_params
from tests.model.small import SMALL

REPO = Path(__file__).parents[1]
TWENTY = sorted(path.stem for path in CRYSTALS.glob("*.cif"))[:20]
ENV = {**{name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
       "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}


def run(root: Path, *command: str, code: int = 0) -> str:
    done = subprocess.run(list(command), cwd=root, env=ENV, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("end") / "project"
    make_project(root, only=TWENTY, train=SMALL, explain={"crystals": 1})
    (root / "data" / "input" / "broken.cif").write_text("data_broken\n_cell_length_a oops\n")
    for name in ("features", "pipelines", "model"):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(REPO / name, root / name)
    content = (root / "params.yaml").read_text().replace("source: cif_folder", "source: cif_folder\n  path: data/input")
    every = ("describe", "paraphrase", "embed", "tensorize", "chgnet", "split", "evaluate")
    (root / "params.yaml").write_text(content + "".join(f"{stage}: {{}}\n" for stage in every))
    run(root, "dvc", "init", "--no-scm", "--quiet")
    run(root, "dvc", "repro")
    return root


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_repro_makes_everything(project: Path) -> None:
    metrics = json.loads((project / "data/results/metrics.json").read_text())
    assert sum(metrics["split"].values()) == 20
    for name in ("report.html", "explanations.html", "parity.csv"):
        assert (project / "data/results" / name).stat().st_size > 0
    assert "broken" in run(project, sys.executable, "-m", "features", "rejects")
    rows = catalog.query(project, "select m.formula, m.k_vrh, d.text from materials m join descriptions d "
                                  "using (material_id) order by k_vrh desc limit 3").to_pylist()
    known = [line.split(",") for line in (CRYSTALS / "properties.csv").read_text().splitlines()[1:]]
    hardest = sorted((float(k) for name, k, _ in known if name in TWENTY), reverse=True)[:3]
    assert [row["k_vrh"] for row in rows] == hardest
    assert all("crystallizes in the" in row["text"] for row in rows)
    assert run(project, sys.executable, "-m", "features", "validate").strip().endswith("tables are valid")


@pytest.mark.slow
def test_a_second_repro_does_nothing_and_a_parameter_reruns_what_depends_on_it(project: Path) -> None:
    assert "Data and pipelines are up to date." in run(project, "dvc", "repro")
    set_params(project, split={"seed": 3})
    stale = run(project, "dvc", "status")
    changed = {line.rstrip(":") for line in stale.splitlines() if line and not line.startswith(("\t", " "))}
    assert changed == {"split"}
    log = run(project, "dvc", "repro")
    ran = {line.split("'")[1] for line in log.splitlines() if line.startswith("Running stage")}
    assert ran == {"split", "train", "evaluate", "explain"}


@pytest.mark.slow
def test_predict_a_file_and_count_a_bad_one(project: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    (tmp_path / "bad.cif").write_text("nothing")
    out = subprocess.run(
        [sys.executable, "-m", "model", "predict", str(CRYSTALS / "mp-30.cif"), str(tmp_path / "bad.cif"), "--json",
         "--html", str(page)], cwd=project, env=ENV, capture_output=True, text=True, check=False, timeout=200)
    assert out.returncode == 2
    assert out.stderr.splitlines()[-1].startswith("error: 1 of 2 files could not be used")
    good, bad = json.loads(out.stdout)
    assert (good["formula"], good["unit"]) == ("Cu", "GPa")
    assert good["value"] > 0
    assert good["text"].startswith("Cu is Copper structured")
    assert bad["error"].startswith("unreadable")
    assert "Cu(1)" in page.read_text()


@pytest.mark.slow
def test_plan_computes_nothing(project: Path) -> None:
    lines = run(project, sys.executable, "-m", "pipelines", "plan").splitlines()
    assert [line.split()[3] for line in lines[1:8]] == ["0"] * 7
    assert len(lines) == 11
