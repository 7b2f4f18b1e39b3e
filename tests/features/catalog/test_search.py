"""`similar`, `find` and `near` over the vectors of a small project, in a session and in other clients."""

import itertools
import json
import re
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
import yaml

from features import catalog, sentences
from features.catalog import light_encoder, search
from features.errors import UserError
from features.paths import Paths
from features.store import tables
from features.text_encoder import TextEncoder
from features.text_encoder.weights import EncoderParams
from features.vectors import structure
from pipelines.engine import stages
from tests.conftest import make_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"), only=["mp-22862", "mp-149", "mp-5229", "mp-48"],
                        paraphrase={"variants": 1})
    for stage in ("ingest", "describe", "paraphrase", "embed", "tensorize"):
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


def test_ranks_and_facts_join_in_their_order(made: Path) -> None:
    rows = catalog.query(made, "select rank, material_id, s.reduced_formula, m.density, m.reduced_formula as formula "
                               "from similar('mp-149', 10) s join materials m using (material_id) order by rank")
    assert rows["rank"].to_pylist() == [1, 2, 3]
    assert rows["reduced_formula"].to_pylist() == rows["formula"].to_pylist()
    each = catalog.query(made, "select m.material_id, s.material_id as other, s.similarity "
                               "from materials m, similar(m.material_id, 1) s order by 1").to_pylist()
    assert len(each) == 4
    assert all(row["material_id"] != row["other"] for row in each)


def test_near_compares_structures(made: Path) -> None:
    rows = catalog.query(made, "from near('mp-149')").to_pylist()
    ids, matrix = structure(made)
    gaps = {name: float(np.linalg.norm(matrix[place] - matrix[ids.index("mp-149")])) for place, name in enumerate(ids)}
    del gaps["mp-149"]
    assert [row["material_id"] for row in rows] == sorted(gaps, key=lambda name: gaps[name])
    expected = [1 / (1 + gap) for gap in sorted(gaps.values())]
    assert [row["similarity"] for row in rows] == pytest.approx(expected, abs=1e-5)


def test_the_sentence_that_matches_best(made: Path) -> None:
    first = catalog.query(made, "from find('TiO6 octahedra that share corners', 1)").to_pylist()[0]
    assert first["reduced_formula"] == "SrTiO3"
    text = catalog.query(made, "select text from descriptions where material_id = 'mp-5229'").to_pylist()[0]["text"]
    assert first["sentence"] in text
    assert "TiO6 octahedra" in first["sentence"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_query_is_embedded_as_texts_are(precision: str) -> None:
    params = EncoderParams(precision=precision)
    texts = ["Sr is bonded to twelve O atoms to form SrO12 cuboctahedra.", "[CLS] É \u5149 [MASK]\0"]
    encoded = TextEncoder(params.folder(), params).encode(texts, [sentences.tag(text) for text in texts])
    for (text, whole), pooling in itertools.product(zip(texts, encoded, strict=True), ("mean", "cls")):
        light, full = light_encoder.vector(params.folder(), text, pooling), whole.pooled(pooling)
        assert light is not None
        cosine = light @ full / np.linalg.norm(light) / np.linalg.norm(full)
        assert cosine == pytest.approx(1, abs=1e-6 if precision == "float32" else 1e-3)
    assert light_encoder.vector(params.folder(), "cubic " * 511, "mean") is None  # it would be several windows


def test_other_encoders_need_torch(tmp_path: Path) -> None:
    for path in EncoderParams().folder().glob("*.*"):
        (tmp_path / path.name).symlink_to(path)
    assert light_encoder.vector(tmp_path, "TiO6", "mean") is not None
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}))
    light_encoder.files.weights_digest.cache_clear()
    assert light_encoder.vector(tmp_path, "TiO6", "mean") is None


def test_find_embeds_the_query(made: Path) -> None:
    text = catalog.query(made, "select text from descriptions where material_id = 'mp-48'").to_pylist()[0]["text"]
    found = catalog.query(made, f"select material_id, similarity from find('{text}', 4)").to_pylist()  # noqa: S608 (texts of ours)
    assert len(found) == 4
    assert found[0]["material_id"] == "mp-48"
    assert found[0]["similarity"] == pytest.approx(1.0, abs=1e-4)  # the table may have been made in bfloat16
    joined = catalog.query(made, "select formula, similarity from find('corner-sharing TiO6 octahedra, perovskite', 1) "
                                 "join materials using (material_id)").to_pylist()
    assert joined[0]["formula"] == "SrTiO3"


def test_other_clients_have_the_same_in_sql_alone(made: Path) -> None:
    with duckdb.connect(str(Paths(made).catalog), read_only=True) as connection:
        for name in ("similar", "near"):
            theirs = connection.sql(f"from {name}('mp-149', 3)").to_arrow_table()
            ours = catalog.query(made, f"from {name}('mp-149', 3)")
            assert theirs.column_names == ours.column_names
            assert theirs["material_id"].to_pylist() == ours["material_id"].to_pylist()
            assert theirs["similarity"].to_pylist() == pytest.approx(ours["similarity"].to_pylist(), abs=1e-5)
        found = connection.sql("from find('TiO6 octahedra that share corners', 2)").fetchall()
        assert found[0][:3] == (1, "mp-5229", "SrTiO3")
        assert "TiO6" in found[0][4]
        assert 0 < found[0][3] <= 1
        assert connection.sql("from find('', 2)").fetchall() == []
        with pytest.raises(duckdb.Error, match=r"structures has no row of mp-999"):
            connection.sql("from near('mp-999', 2)").fetchall()
        each = connection.sql("select * from materials m, near(m.material_id, 1)").fetchall()
        assert len(each) == 4


@pytest.mark.parametrize(("sql", "message"), [
    ("from similar('mp-999', 3)", "no vector of the description of mp-999"),
    ("from find(' ', 3)", "the query is empty"),
    ("from find(chr(8203), 3)", "reads no word"),
    ("from near('mp-999')", "structures has no row of mp-999"),
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


BLOCKS = re.findall(r"```sql\n(.*?)```", (Path(__file__).parents[3] / "docs" / "sql.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("sql", [block for block in BLOCKS if "HEAD" not in block])
def test_the_queries_of_the_documentation_run(made: Path, sql: str) -> None:
    assert len(catalog.query(made, sql)) >= 1


def test_the_documentation_has_queries() -> None:
    assert len(BLOCKS) >= 4
