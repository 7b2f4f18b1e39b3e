from pathlib import Path

import duckdb
import pytest

from features import catalog
from features.errors import UserError
from features.paths import Paths
from features.store import tables
from pipelines.engine import stages
from tests.conftest import make_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"), only=["mp-30", "mp-149", "mp-22862"])
    (root / "data" / "input" / "broken.cif").write_text("not a crystal")
    stages.run("ingest", root, "serial")
    stages.run("split", root, "serial")
    return root


def test_tables_join_and_rejects_are_a_table(made: Path) -> None:
    rows = catalog.query(made, "select m.reduced_formula from materials m join splits s using (material_id) "
                               "order by k_vrh desc").to_pylist()
    assert [row["reduced_formula"] for row in rows] == ["Cu", "Si", "NaCl"]
    rejects = catalog.query(made, "select view, material_id, error from rejects").to_pylist()
    assert rejects == [{"view": "materials", "material_id": "broken", "error": "unreadable"}]


@pytest.mark.parametrize("sql", [
    "copy (select 1) to '/tmp/stolen.csv'",
    "explain analyze copy (select 1) to 'data/features/materials/part-00000.parquet' (format parquet)",
    "EXPLAIN /* a */ ANALYZE drop view materials",
    "explain (analyze) drop view materials",
    "-- a comment\nexplain analyze create table x as select 1",
    "create table x as select 1",
    "drop view materials",
    "insert into materials select * from materials",
    "attach '/tmp/x.duckdb'",
    "install httpfs",
    "set enable_external_access = true",
    "select 1; select 2",
    "select * from read_text('/etc/hostname')",
    "select * from read_csv('/etc/passwd')",
    "select * from nothing",
    "selec 1",
    "",
])
def test_users_read_and_nothing_else(made: Path, sql: str) -> None:
    before = [path.read_bytes() for path in tables.files(made, "materials")]
    with pytest.raises(UserError):
        catalog.query(made, sql.replace("'data/", f"'{made}/data/"))
    assert [path.read_bytes() for path in tables.files(made, "materials")] == before


@pytest.mark.parametrize("sql", ["explain select * from materials", "explain analyze select 1",
                                 "describe materials", "summarize materials",
                                 "with x as (select 1 as a) select a from x"])
def test_other_kinds_of_questions(made: Path, sql: str) -> None:
    assert len(catalog.query(made, sql))


def test_columns_of_one_name_stay_apart(made: Path) -> None:
    found = catalog.query(made, "select * from materials m join splits s on m.material_id = s.material_id")
    assert "material_id_2" in found.column_names


def test_any_client_opens_the_catalog_file_read_only(made: Path) -> None:
    with duckdb.connect(str(Paths(made).catalog), read_only=True) as connection:
        assert connection.execute("select count(*) from materials").fetchone() == (3,)


def test_no_tables_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro"):
        catalog.query(tmp_path, "select 1")
