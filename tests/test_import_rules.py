"""`make lint` refuses a wrong import: each rule of ARCHITECTURE.md, broken once."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"], cwd=root,
                          capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rules")
    for name in ("features", "pipelines", "model"):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "pyproject.toml", root)
    return root


def test_the_code_keeps_the_rules(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("path", "line", "rule"), [
    ("features/store/tables.py", "import pipelines.params", "pipelines and model read features"),
    ("pipelines/engine/plan.py", "import model.params", "pipelines and model read features"),
    ("model/prediction/rows.py", "import pipelines.params", "pipelines and model read features"),
    ("features/store/tables.py", "import features.catalog.sql", "features: from the catalog down"),
    ("pipelines/engine/plan.py", "import pipelines.refresh.renew", "pipelines: from the command line down"),
    ("model/forward.py", "import model.evaluation.stage", "nothing imports a stage"),
    ("model/report/pages.py", "import model.checkpoint", "a page knows plain data only"),
    ("model/nets/fusion.py", "import model.nets.network", "no circles"),
    ("pipelines/engine/plan.py", "import prefect", "Prefect only where flows are"),
    ("pipelines/engine/stages.py", "from dask import config", "Dask and Ray only in their executors"),
    ("features/views/splits.py", "import torch", "torch only in the model"),
    ("pipelines/sources/optimade.py", "import mp_api.client", "mp-api only in the client"),
])
def test_a_wrong_import_is_refused(copy: Path, path: str, line: str, rule: str) -> None:
    file = copy / path
    text = file.read_text()
    try:
        # inside a function, where it would be easily missed
        file.write_text(f"{text}\n\ndef planted() -> None:\n    {line}\n")
        done = lint(copy)
    finally:
        file.write_text(text)
    assert done.returncode == 1
    broken = [report for report in done.stdout.splitlines() if " BROKEN" in report]
    assert any(rule in report for report in broken), broken
