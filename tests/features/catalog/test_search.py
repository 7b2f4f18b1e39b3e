"""`similar` and `find` over the vectors of a small project."""

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
import yaml

from features import catalog
from features.catalog import search
from features.errors import UserError
from features.paths import Paths
from features.store import tables
from pipelines.engine import stages
from tests.conftest import make_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"), only=["mp-22862", "mp-149", "mp-5229", "mp-48"],
                        paraphrase={"variants": 1})
    for stage in ("ingest", "describe", "paraphrase", "embed"):
        stages.run(stage, root, "serial")
    return root


def vectors(root: Path) -> dict[str, np.ndarray]:
    rows = tables.read(root, "text_embeddings", ["material_id", "variant", "pooled"]).to_pylist()
    return {row["material_id"]: np.array(row["pooled"], float) for row in rows if row["variant"] == 0}


def test_similar_is_the_cosine_of_descriptions(made: Path) -> None:
    found = catalog.query(made, "select * from similar('mp-149', 2)").to_pylist()
    known = vectors(made)
    own = known.pop("mp-149")
    expected = {i: v @ own / np.linalg.norm(v) / np.linalg.norm(own) for i, v in known.items()}
    assert [row["material_id"] for row in found] == sorted(expected, key=lambda i: -expected[i])[:2]
    for row in found:
        assert row["similarity"] == pytest.approx(expected[row["material_id"]], abs=1e-5)


def test_find_embeds_the_query(made: Path) -> None:
    text = catalog.query(made, "select text from descriptions where material_id = 'mp-48'").to_pylist()[0]["text"]
    found = catalog.query(made, f"select material_id, similarity from find('{text}', 4)").to_pylist()  # noqa: S608 (texts of ours)
    assert len(found) == 4
    assert found[0]["material_id"] == "mp-48"
    assert found[0]["similarity"] == pytest.approx(1.0, abs=1e-5)
    joined = catalog.query(made, "select formula, similarity from find('corner-sharing TiO6 octahedra, perovskite', 1) "
                                 "join materials using (material_id)").to_pylist()
    assert joined[0]["formula"] == "SrTiO3"


def test_other_clients_have_similar_too(made: Path) -> None:
    with duckdb.connect(str(Paths(made).catalog), read_only=True) as connection:
        assert len(connection.sql("select * from similar('mp-149', 3)").fetchall()) == 3


@pytest.mark.parametrize(("sql", "message"), [
    ("from similar('mp-999', 3)", "no vector of the description of mp-999"),
    ("from find(' ', 3)", "the query is empty"),
])
def test_what_cannot_be_found_is_said(made: Path, sql: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        catalog.query(made, sql)


def test_an_encoder_that_changed_is_said(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.weights, "same_weights", lambda *_: False)
    with pytest.raises(UserError, match="not those that made text_embeddings"):
        catalog.query(made, "from find('octahedra', 1)")


def test_without_embeddings(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    shutil.rmtree(Paths(root).table("text_embeddings"))
    with pytest.raises(UserError, match="need the table text_embeddings"):
        catalog.query(root, "from find('octahedra', 1)")


@pytest.mark.parametrize("sql", ["from similar('mp-149', NULL)", "from find('octahedra', NULL)"])
def test_no_number_means_ten(made: Path, sql: str) -> None:
    assert 3 <= len(catalog.query(made, sql)) <= 4
    assert len(catalog.query(made, "from find(NULL, 3)")) == 0


def test_without_vectors_of_documents(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    params = yaml.safe_load((root / "params.yaml").read_text()) | {"embed": {"levels": ["sentence"]}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    stages.run("embed", root, "serial")
    with pytest.raises(UserError, match="no vector of the description of mp-149"):
        catalog.query(root, "from similar('mp-149', 1)")
    with pytest.raises(UserError, match="into embed"):
        catalog.query(root, "from find('octahedra', 1)")
