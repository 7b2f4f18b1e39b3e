import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features import catalog
from features.__main__ import app
from features.catalog import sql as session
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


@pytest.mark.parametrize(("sql", "message"), [
    ("select fromula from materials",
     'SQL: Binder Error: Referenced column "fromula" not found in FROM clause! Candidate bindings: "formula"'),
    ("select lenght(formula) from materials",
     'SQL: Catalog Error: Scalar Function with name lenght does not exist! Did you mean "length"?'),
    ("from material", 'SQL: Catalog Error: Table with name material does not exist! Did you mean "materials'),
    ("select list_sum('a')", "Candidate functions: list_aggr(list ANY[]"),
    ("select 1 +", 'SQL: Parser Error: syntax error at or near "+"'),
    ("select cast('x' || nsites as int) from materials", "SQL: Conversion Error: Could not convert string 'x"),
])
def test_hints_stay_in_one_line_without_the_picture(made: Path, sql: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        catalog.query(made, sql)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "LINE 1" not in str(refused.value)


ENDLESS = "select count(*) from range(1000000000) a, range(1000000000) b where hash(a.range, b.range) = 7"
UNINTERRUPTIBLE = "select levenshtein(repeat('a', 300000), repeat('b', 300000) || range) from range(1)"
ROW_BY_ROW = "select range, levenshtein(repeat('a', 500), repeat('b', 500) || range) from range(1000000)"


@pytest.mark.parametrize("sql", [ENDLESS, UNINTERRUPTIBLE.replace("300000", "60000"), ROW_BY_ROW])
def test_a_query_has_a_time_limit(made: Path, sql: str) -> None:
    with pytest.raises(UserError, match=r"the query was stopped after 0\.5 s"):
        catalog.query(made, sql, timeout_s=0.5)
    assert len(catalog.query(made, "select 1", timeout_s=60)) == 1


@pytest.mark.parametrize("sql", [ENDLESS, UNINTERRUPTIBLE])
def test_a_time_limit_on_the_command_line(made: Path, sql: str) -> None:
    command = [sys.executable, "-m", "features", "sql", sql, "--root", str(made), "--timeout", "0.5"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 2
    assert process.stderr == ("error: SQL: the query was stopped after 0.5 s; "
                              "ask for less, or allow more time (--timeout)\n")


def test_a_result_has_a_largest_size(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "RESULT_BYTES", 1 << 20)
    assert len(catalog.query(made, "from range(100000)")) == 100_000
    with pytest.raises(UserError, match="larger than 1,048,576 bytes"):
        catalog.query(made, "from range(100000000000)")


def test_limits_are_set_and_locked(made: Path) -> None:
    with catalog.connect(made, timeout_s=7) as connection:
        values = connection.execute(
            "select current_setting('max_execution_time'), current_setting('temp_directory'), "
            "current_setting('max_temp_directory_size'), current_setting('python_enable_replacements'), "
            "current_setting('autoload_known_extensions'), current_setting('enable_external_access'), "
            "current_setting('lock_configuration'), current_setting('memory_limit')").fetchone()
        assert values[:-1] == (7000, "", "0 bytes", False, False, False, True)
        with duckdb.connect(":memory:") as unlimited:
            assert unlimited.execute("select current_setting('memory_limit')").fetchone() != (values[-1],)
        assert connection.execute("select current_setting('allowed_paths')").fetchone() == ([],)
        assert connection.execute("select current_setting('allowed_directories')").fetchone() == (["tables://"],)


@pytest.mark.parametrize(("sql", "options"), [
    (ENDLESS, []), (UNINTERRUPTIBLE, []), (ROW_BY_ROW, []),
    ("from range(300000)", ["--format", "json"]),  # nobody reads what it prints, so it waits in the middle
])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_query(made: Path, sql: str, options: list[str], kind: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-m", "features", "sql", sql, "--root", str(made), *options],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    status = Path(f"/proc/{process.pid}/status")
    until = time.monotonic() + 60
    while time.monotonic() < until and not _catches(status, signal.SIGTERM):
        time.sleep(0.05)
    time.sleep(1)  # the query is at work
    assert process.poll() is None
    process.send_signal(kind)
    began = time.monotonic()
    while process.poll() is None and time.monotonic() < began + 30:
        time.sleep(0.02)
    assert process.returncode == 128 + kind
    _, errors = process.communicate()
    assert errors == f"stopped by {kind.name}\n"


def _catches(status: Path, kind: signal.Signals) -> bool:
    mask = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt")).split()[1]
    return bool(int(mask, 16) >> (kind - 1) & 1)


def test_a_column_that_only_a_later_part_has(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "features" / "toys"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"material_id": ["a"]}), folder / "part-00000.parquet")
    pq.write_table(pa.table({"material_id": ["b"], "half": pa.array([[0.5, 2.0]], pa.list_(pa.float16())),
                             "map": pa.array([[("x", 1.0)]], pa.map_(pa.string(), pa.float64()))}),
                   folder / "part-00001.parquet")
    rows = catalog.query(tmp_path, "from toys order by material_id").to_pylist()
    assert rows == [{"material_id": "a", "half": None, "map": None},
                    {"material_id": "b", "half": [0.5, 2.0], "map": [("x", 1.0)]}]


def test_only_what_is_asked_for_is_read(made: Path) -> None:
    plan = catalog.query(made, "explain select formula from materials where material_id = 'mp-149'")
    text = " ".join(plan.to_pylist()[0]["explain_value"].split())
    assert "Projections: formula" in text
    assert "Filters: material_id" in text.replace('"', "")


def test_an_exception_in_the_main_thread_ends_the_query(made: Path) -> None:
    def ring(*_arguments: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(KeyboardInterrupt):
            catalog.query(made, ENDLESS, timeout_s=200)
    finally:
        signal.signal(signal.SIGALRM, before)
    at_work = [thread for thread in threading.enumerate() if thread.name == session.THREAD]
    for thread in at_work:
        thread.join(30)
    assert not any(thread.is_alive() for thread in at_work)


def test_duckdb_1_reads_the_catalog_file(made: Path) -> None:
    catalog.refresh(made)
    content = Paths(made).catalog.read_bytes()
    assert content[8:12] == b"DUCK"
    assert int.from_bytes(content[12:20], "little") == 64  # the storage version of DuckDB 1.0 and 1.1


def test_a_folder_in_place_of_the_catalog_file_is_one_line(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Paths(made).catalog
    path.unlink()
    path.mkdir()
    catalog.refresh(made)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Is a directory" in said
    assert str(path) in said
    path.rmdir()
    catalog.refresh(made)
    assert path.is_file()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), duckdb.IOException("could not lock"),
                                   TypeError("a bug")])
def test_a_catalog_file_that_cannot_be_written_is_a_warning(
        made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    before = Paths(made).catalog.read_bytes()
    monkeypatch.setattr(session, "_create_views", fail)
    stages.run("split", made, "serial")
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == 1
    assert f"{type(error).__name__}: {error}" in lines[0]
    assert "run any stage again" in lines[0]
    assert Paths(made).catalog.read_bytes() == before
    assert not [name for name in os.listdir(Paths(made).data) if name.startswith(".catalog")]


def test_json_has_no_word_for_infinity(made: Path) -> None:
    sql = "select 'nan'::float as a, {'b': ['inf'::double, 1.5]} as c, 'NaN' as d"
    result = CliRunner().invoke(app, ["sql", sql, "--root", str(made), "--format", "json"])
    rows = json.loads(result.output, parse_constant=pytest.fail)
    assert rows == [{"a": None, "c": {"b": [None, 1.5]}, "d": "NaN"}]
