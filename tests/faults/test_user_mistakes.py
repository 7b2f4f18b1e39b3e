"""What a user can do wrong gets one clear line and exit code 2, loses nothing and leaves no half-written file."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from features.errors import UserError
from features.paths import Paths
from features.store import tables
from pipelines.engine import stages
from tests.conftest import CRYSTALS, make_project, set_params

NO_SERVER = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}


def command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False,
                          env={**NO_SERVER, **environment}, timeout=120)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"), only=["mp-30", "mp-149", "mp-22862"])
    stages.run("ingest", root, "serial")
    return root


@pytest.mark.parametrize(("arguments", "message"), [
    (["pipelines", "ingest", "--executor", "slurm"], "no executor 'slurm'; there are: serial, processes"),
    (["pipelines", "ingest", "--address", "tcp://host:8786"], "executor 'processes' uses this machine alone"),
    (["pipelines", "ingest", "--executor", "dask", "--address", "tcp://host:8786", "--workers", "2"],
     "the cluster at tcp://host:8786 has its own workers"),
    (["pipelines", "ingest", "--root", "nowhere"], "params.yaml does not exist"),
    (["pipelines", "embed"], "table 'descriptions' does not exist"),
    (["features", "describe", "nothing"], "no table 'nothing'; there are: lineage, materials, rejects"),
    (["features", "sql", "drop view materials"], "only queries are allowed"),
    (["features", "list", "--root", "nowhere"], "there are no tables"),
    (["model", "predict", "x.cif"], "there is no trained model yet"),
    (["model", "train"], "table 'structures' does not exist"),
])
def test_one_line_and_exit_code_2(project: Path, arguments: list[str], message: str) -> None:
    done = command(*arguments, cwd=project)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_where_a_stage_runs_can_stand_in_the_environment(project: Path) -> None:
    """So that `dvc repro` runs on a cluster as it is."""
    for name, value, message in (("CPF_EXECUTOR", "slurm", "no executor 'slurm'"),
                                 ("CPF_ADDRESS", "tcp://host:8786", "--address tcp://host:8786 (or CPF_ADDRESS)"),
                                 ("CPF_WORKERS", "none", "Invalid value for '--workers'")):
        done = command("pipelines", "ingest", cwd=project, **{name: value})
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("arguments", [["pipelines", "nonsense"], ["features", "list", "--nonsense"],
                                       ["pipelines", "ingest", "--workers", "0"]])
def test_a_command_that_does_not_exist(project: Path, arguments: list[str]) -> None:
    done = command(*arguments, cwd=project)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_unknown_parameter_loses_nothing(tmp_path: Path) -> None:
    root = make_project(tmp_path, only=["mp-30"])
    stages.run("ingest", root, "serial")
    before = [path.read_bytes() for path in tables.files(root, "materials")]
    set_params(root, ingest={"limt": 3})
    done = command("pipelines", "ingest", cwd=root)
    assert (done.returncode, done.stderr) == (
        2, "error: params.yaml: ingest.limt is not a parameter; did you mean 'limit'?\n")
    assert [path.read_bytes() for path in tables.files(root, "materials")] == before


def test_a_source_of_another_name(tmp_path: Path) -> None:
    root = make_project(tmp_path, only=["mp-30"])
    set_params(root, ingest={"source": "cif_folder"})
    done = command("pipelines", "ingest", cwd=root)
    assert (done.returncode, done.stderr) == (2, "error: params.yaml: ingest.source: 'cif_folder' is now called "
                                                 "'folder', since it takes other formats too\n")


def test_formats_of_a_result(project: Path) -> None:
    query = "select material_id, elements, k_vrh from materials order by material_id"
    shown = {form: command("features", "sql", query, "--format", form, cwd=project).stdout for form in ("csv", "json")}
    assert shown["csv"].splitlines()[0] == "material_id,elements,k_vrh"
    assert len(shown["csv"].splitlines()) == 4
    import json

    assert [row["material_id"] for row in json.loads(shown["json"])] == ["mp-149", "mp-22862", "mp-30"]


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_results_of_any_type_are_shown(project: Path, form: str) -> None:
    query = ("select sum(nsites) as total, interval 1 day as i, [date '2020-01-01'] as d, 'a'::blob as b, "
             "union_value(k := 1) as u, null as nothing from materials")
    done = command("features", "sql", query, "--format", form, cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    if form == "json":
        import json

        assert isinstance(json.loads(done.stdout)[0]["total"], int)


@pytest.mark.parametrize(("environment", "message"), [
    ({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "no Prefect server answers at PREFECT_API_URL"),
    ({"PREFECT_API_URL": "nonsense"}, "no Prefect server answers at PREFECT_API_URL"),
])
def test_a_server_that_is_not_there(project: Path, environment: dict[str, str], message: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines", "split"], cwd=project, capture_output=True, text=True,
                          check=False, env={**NO_SERVER, **environment}, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_missing_gpu_stops_the_run_and_rejects_nothing(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    from tests.model.small import small_project

    root = small_project(tmp_path, only=["mp-30", "mp-149", "mp-22862"], embed={"device": "auto"})
    before = [path.read_bytes() for path in tables.files(root, "text_embeddings")]
    set_params(root, embed={"device": "cuda"})
    import shutil

    shutil.rmtree(Paths(root).rowstore("text_embeddings"))
    with pytest.raises(UserError, match="torch sees no GPU"):
        stages.run("embed", root)
    assert [path.read_bytes() for path in tables.files(root, "text_embeddings")] == before
    set_params(root, embed={"device": "cpu"})
    assert stages.run("embed", root).rejected == 0


def test_a_typo_in_a_late_section_is_found_first(project: Path) -> None:
    set_params(project, train={"epochz": 3})
    done = command("model", "check", cwd=project)
    assert done.returncode == 2
    assert "train.epochz is not a parameter; did you mean 'epochs'?" in done.stderr
    set_params(project, train={})
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("epochz: 3", "epochs: 3"))
    assert command("model", "check", cwd=project).returncode == 0


def test_a_full_disk_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    root = make_project(tmp_path, only=["mp-30", "mp-149"])
    stages.run("ingest", root, "serial")
    before = {path.name: path.read_bytes() for path in tables.files(root, "materials")}
    set_params(root, ingest={"limit": 1})
    real = tables.write_parquet

    def full(table: pa.Table, path: Path) -> None:
        real(table, path)
        if "part-00003" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(tables, "write_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        stages.run("ingest", root, "serial")
    assert {path.name: path.read_bytes() for path in tables.files(root, "materials")} == before
    assert not [path for path in Paths(root).features.rglob("*") if "tmp" in path.name or ".new" in path.name]
    monkeypatch.undo()
    assert stages.run("ingest", root, "serial").computed == 0


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    import errno

    from features.errors import run_cli

    def app() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "data/x")

    with pytest.raises(SystemExit) as stopped:
        run_cli(app)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: cannot write: No space left on device: data/x; ")


@pytest.mark.slow
def test_a_killed_command_resumes(tmp_path: Path) -> None:
    """SIGKILL in the middle of `describe`: what was finished is not computed again."""
    root = make_project(tmp_path, only=["mp-30", "mp-149", "mp-22862", "mp-127"])
    stages.run("ingest", root, "serial")
    (root / "slow.py").write_text(
        "import dataclasses, pipelines.engine.materialize as m, features.views.descriptions as d\n"
        "m.SEGMENT_ROWS, d.VIEW = 1, dataclasses.replace(d.VIEW, batch_size=1)\n"
        "from pipelines.__main__ import app\n"
        "import sys; sys.argv = ['pipelines', 'describe', '--workers', '1']\n"
        "if __name__ == '__main__': app()\n")
    running = subprocess.Popen([sys.executable, "slow.py"], cwd=root, stderr=subprocess.DEVNULL, env=NO_SERVER,
                               start_new_session=True)
    store = Paths(root).rowstore("descriptions")
    limit = time.monotonic() + 150
    while not list(store.rglob("rows-*.parquet")) and time.monotonic() < limit:
        time.sleep(0.1)
    os.killpg(running.pid, 9)
    running.wait()
    finished = len(list(store.rglob("rows-*.parquet")))
    assert 1 <= finished < 4
    assert not tables.exists(root, "descriptions")
    report = stages.run("describe", root, "serial")
    assert (report.wanted, report.reused, report.computed, report.rejected) == (4, finished, 4 - finished, 0)
    assert {row["material_id"] for row in tables.read(root, "descriptions").to_pylist()} == {
        path.stem for path in CRYSTALS.glob("*.cif") if path.stem in {"mp-30", "mp-149", "mp-22862", "mp-127"}}
