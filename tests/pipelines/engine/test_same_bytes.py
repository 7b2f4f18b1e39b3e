"""The project's own views on a Dask cluster: byte for byte what `serial` writes, after a clean and a grown build."""

import shutil
from pathlib import Path

import pytest

from pipelines.engine import stages
from tests.conftest import CRYSTALS, make_project
from tests.pipelines.executors.scattered import contents

STAGES = ("ingest", "describe", "paraphrase", "embed", "tensorize", "split")
NAMES = ["mp-30", "mp-149", "mp-22862", "mp-361", "mp-2305", "mp-48", "mp-127", "mp-165"]


def build(root: Path, executor: str, address: str | None = None) -> None:
    for stage in STAGES:
        stages.run(stage, root, executor, address=address)


@pytest.mark.nodes
def test_dask_makes_the_bytes_of_serial(tmp_path: Path) -> None:
    import dask
    from distributed import LocalCluster

    clean = make_project(tmp_path / "clean", only=NAMES)
    grown = make_project(tmp_path / "grown", only=NAMES[:-1])
    changed = grown / "data" / "input" / f"{NAMES[0]}.cif"
    shutil.copy(CRYSTALS / f"{NAMES[-1]}.cif", changed)
    with dask.config.set({"distributed.worker.daemon": False}), \
            LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        build(grown, "dask", cluster.scheduler_address)
        for name in NAMES:
            shutil.copy(clean / "data" / "input" / f"{name}.cif", grown / "data" / "input")
        shutil.copy(clean / "data" / "input" / "properties.csv", grown / "data" / "input")
        build(grown, "dask", cluster.scheduler_address)
    build(clean, "serial")
    found, wanted = contents(grown), contents(clean)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []
    assert {name.split("/")[0] for name in wanted} >= {"materials", "descriptions", "paraphrases", "text_embeddings",
                                                       "structures", "splits"}
