"""A whole `dvc repro` becomes one version for those who read; a part of one does not."""

import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from features import catalog, profiles
from features.errors import UserError
from features.paths import Paths
from features.store import versions
from pipelines import commands
from pipelines.engine import runs, stages
from pipelines.publishing import publish
from pipelines.refresh.renew import Options, renew
from tests.conftest import CRYSTALS, make_project, set_params

IDS = ["mp-30", "mp-127", "mp-149", "mp-984", "mp-361", "mp-22862", "mp-938"]
COUNTS = "select (select count(*) from materials) a, (select count(*) from splits) b"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two stages and the one that publishes, which has run."""
    root = tmp_path_factory.mktemp("made") / "project"
    make_project(root, only=IDS, split={})
    outs = {name: [f"data/features/{name}", f"data/features/rejects/{name}.parquet"]
            for name in ("materials", "splits")}
    stage = {name: {"cmd": f"python -m pipelines {name} --executor serial", "params": [name]}
             for name in ("ingest", "split")}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {
        "ingest": {**stage["ingest"], "deps": ["data/input"], "outs": outs["materials"]},
        "split": {**stage["split"], "deps": ["data/features/materials"], "outs": outs["splits"]},
        "publish": {"cmd": "python -m pipelines publish", "deps": [*outs["materials"], *outs["splits"]],
                    "outs": [{"data/features/profiles": {"persist": True}},
                             {"data/published.json": {"persist": True}}]}}}))
    subprocess.run([commands.program("dvc"), "init", "--no-scm", "--quiet"], cwd=root, check=True)
    repro(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))


def repro(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([commands.program("dvc"), "repro"], cwd=root, env=commands.environment(), text=True,
                          capture_output=True, check=False)


def counts(root: Path) -> tuple[int, int]:
    row = catalog.query(root, COUNTS).to_pylist()[0]
    return row["a"], row["b"]


def fewer_crystals(root: Path) -> None:
    set_params(root, ingest={"source": "folder", "limit": 4})


def test_readers_never_miss_a_table_nor_see_two_versions(root: Path) -> None:
    fewer_crystals(root)
    seen: list[tuple[int, int]] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(counts(root))

    reader = threading.Thread(target=read)
    reader.start()
    done = repro(root)
    over.set()
    reader.join()
    assert done.returncode == 0, done.stderr
    assert set(seen) <= {(7, 7), (4, 4)}
    assert seen[0] == (7, 7)
    assert counts(root) == (4, 4)


def test_a_stage_that_fails_takes_nothing_from_readers(root: Path) -> None:
    fewer_crystals(root)
    set_params(root, split={"test": 7.0})
    assert repro(root).returncode != 0
    assert not Paths(root).table("splits").exists()  # DVC has removed it
    assert counts(root) == (7, 7)


def test_a_stage_by_hand_is_published_by_a_word_if_all_belongs_together(root: Path) -> None:
    fewer_crystals(root)
    stages.run("ingest", root, "serial")
    assert counts(root) == (7, 7)
    with pytest.raises(UserError, match="splits: 3 rows are not in materials"):
        publish(root)
    assert counts(root) == (7, 7)
    stages.run("split", root, "serial")
    publish(root)
    assert counts(root) == (4, 4)
    assert runs.latest(root)["publish"].note == f"version {versions.current(root).name}"
    profiled = catalog.query(root, "select distinct table_name as t, rows from profiles where table_name <> 'rejects'")
    assert sorted(map(tuple, zip(*profiled.to_pydict().values(), strict=True))) == [("materials", 4), ("splits", 4)]
    (part,) = Paths(root).table(profiles.NAME).glob("part-*")
    sound = part.read_bytes()
    part.unlink()  # a link to what is published: not to be written into
    part.write_bytes(sound[:-9])
    publish(root)
    assert part.read_bytes() == sound


def test_nothing_is_published_while_a_stage_runs(root: Path) -> None:
    with runs.recorded(root, "split"), pytest.raises(UserError, match="stage 'split' is at work here"):
        publish(root)


def test_a_checkout_of_an_older_revision_is_what_readers_read(root: Path) -> None:
    old = Paths(root).lock.read_bytes()
    fewer_crystals(root)
    assert repro(root).returncode == 0
    shutil.rmtree(Paths(root).versions)
    Paths(root).lock.write_bytes(old)
    subprocess.run([commands.program("dvc"), "checkout", "--force", "--quiet"], cwd=root, check=True)
    assert counts(root) == (7, 7)


def test_a_refresh_that_loses_crystals_publishes_only_if_told_to(root: Path) -> None:
    for number in range(20):
        shutil.copy(CRYSTALS / "mp-30.cif", root / f"data/input/copy-{number}.cif")
    assert renew(root).headline() == "crystals: 20 added; 2 stages ran"
    assert counts(root) == (27, 27)
    lock = Paths(root).lock.read_bytes()
    fewer_crystals(root)
    with pytest.raises(UserError, match="not published: materials: 23 of 27 crystals removed"):
        renew(root)
    assert counts(root) == (27, 27)
    assert Paths(root).lock.read_bytes() == lock
    assert renew(root, Options(accept=True)).headline().startswith("crystals: 23 removed")
    assert counts(root) == (4, 4)
    assert json.loads(Paths(root).published.read_text())["version"] == versions.current(root).name
