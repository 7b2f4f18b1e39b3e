"""The tables from Python."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import features
from features.errors import UserError
from pipelines.engine import stages
from tests.conftest import make_project


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> features.Store:
    root = make_project(tmp_path_factory.mktemp("project"), only=["mp-30", "mp-149", "mp-22862"])
    for stage in ("ingest", "split", "tensorize"):
        stages.run(stage, root, "serial")
    return features.open(root)


def test_a_query_is_a_data_frame(store: features.Store) -> None:
    frame = store.sql("select material_id, k_vrh, other_properties from materials order by material_id")
    assert frame["material_id"].to_list() == ["mp-149", "mp-22862", "mp-30"]
    assert frame["k_vrh"].max() > 100
    assert store.sql("from near('mp-149')")["rank"].to_list() == [1, 2]
    with pytest.raises(UserError, match='column "nope" not found'):
        store.sql("select nope from materials")
    with pytest.raises(UserError, match=r"stopped after 0\.2 s"):
        store.sql("select count(*) from range(1000000000) a, range(1000000000) b where hash(a.range, b.range) = 7", 0.2)
    assert store.sql("select 1 as one").rows() == [(1,)]


def test_tables_columns_and_rows(store: features.Store) -> None:
    assert store.tables == ["lineage", "materials", "rejects", "splits", "structures"]
    assert store.table("splits", ["split", "material_id"], ["mp-30"]).columns == ["split", "material_id"]
    assert store.table("materials", ids=["mp-30", "mp-149"])["nsites"].to_list() in ([1, 2], [2, 1])
    assert store.table("materials", "nsites", "mp-30")["nsites"].to_list() == [1]
    assert store.table("materials", ["nsites", "nsites"], ["mp-30", "mp-30"]).rows() == [(1,)]
    assert store.table("rejects", "view", ids="mp-30").shape == (0, 1)
    table = store.arrow("materials", ["volume"])
    assert isinstance(table, pa.Table)
    assert table.schema.field("volume").metadata[b"unit"] == "Å³".encode()


def test_own_properties_are_columns_that_may_be_asked_for(tmp_path: Path) -> None:
    root = make_project(tmp_path, only=["mp-30", "mp-149"])
    properties = root / "data" / "input" / "properties.csv"
    lines = properties.read_text().splitlines()
    properties.write_text("\n".join([f"{lines[0]},hardness", *(f"{line},{'12.5' * line.startswith('mp-149,')}"
                                                              for line in lines[1:])]) + "\n")
    stages.run("ingest", root, "serial")
    store = features.open(root)
    assert store.table("materials", ["material_id", "hardness"]).sort("material_id").rows() == [
        ("mp-149", 12.5), ("mp-30", None)]
    assert store.torch("materials", "hardness", "mp-149")["hardness"].tolist() == [12.5]
    with pytest.raises(UserError, match=r"no column 'Volumen'; there are: .*hardness"):
        store.table("materials", ["hardness", "Volumen"])


def test_threads_take_turns(store: features.Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: store.sql(f"select {n} as n")["n"][0], range(12)))
    assert answers == list(range(12))


def test_columns_as_tensors(store: features.Store) -> None:
    lattice = store.torch("structures", ["lattice", "n_edges"])
    assert lattice["lattice"].shape == (3, 9)
    assert lattice["lattice"].dtype == torch.float64
    volume = np.linalg.det(lattice["lattice"].numpy().reshape(3, 3, 3))
    ids = store.table("structures")["material_id"].to_list()
    known = dict(store.sql("select material_id, volume from materials").rows())
    assert volume == pytest.approx([known[name] for name in ids], abs=1e-4)
    assert set(store.torch("splits")) == {"fold"}
    assert store.torch("materials", ["e_total"])["e_total"].isnan().all()  # missing


@pytest.mark.parametrize(("call", "words"), [
    (lambda store: store.table("nothing"), "no table 'nothing'; there are: lineage, materials"),
    (lambda store: store.table("splits", ["nope"]), "splits has no column 'nope'; there are: material_id"),
    (lambda store: store.torch("materials", ["cif"]), "materials.cif is no tensor: it holds string"),
    (lambda store: store.torch("structures", ["orbit"]), "its lists have from 1 to"),
    (lambda store: store.sql("select [interval '1 year'] as v"), "polars has no list.*, as column v holds; "),
    (lambda store: features.open(store.root, at="--x"), "no name of a revision"),
])
def test_what_is_not_there_is_said(store: features.Store, call: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call(store)  # type: ignore[operator]
