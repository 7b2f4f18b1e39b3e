"""No statement of a user's SQL session writes a file or reads one that is no table, whatever it is wrapped in.

Statements and wrappers are multiplied. Each product runs in a session without the check of the statement's type, which
is a second line of defence and has its own test below.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import catalog
from features.errors import UserError
from pipelines.engine import stages
from tests.conftest import make_project

MARK = "sesame-7391"
"""What the secret files hold, and the environment, and a variable."""
HIDDEN = "walnut-2264"
"""Part of a file's name, which only a listing of its folder would tell."""

PLACES = {
    "part": "{root}/data/features/splits/part-00000.parquet",
    "link": "{root}/links/part-00000.parquet",
    "table": "tables://0/splits/part-00000.parquet",
    "new table": "tables://0/splits/part-00009.parquet",
    "revision": "tables://1/splits/part-00000.parquet",
    "above tables": "tables://../data/features/splits/part-00000.parquet",
    "no folder": "tables://",
    "new": "{root}/empty/new",
    "relative": "empty/new",
    "draft": ".tmp/new",
    "url": "file://{root}/data/features/splits/part-00000.parquet",
}
COPIES = [
    "copy (select 'mp-1' as material_id) to '{place}' (format parquet, use_tmp_file false)",
    "copy (select 'mp-1' as material_id) to '{place}' (format parquet)",
    "copy (select 'mp-1' as material_id) to '{place}' (format csv, use_tmp_file false)",
    "copy (select 'mp-1' as material_id) to '{place}' (format json, use_tmp_file false)",
    "copy splits to '{place}' (format parquet, use_tmp_file false)",
    "copy (select 1 as a) to '{place}' (format parquet, per_thread_output true, overwrite true)",
    "copy (select 1 as a, 2 as b) to '{place}' (format parquet, partition_by (a), overwrite true)",
]
OTHER_WRITES = [
    "export database '{place}'",
    "attach '{place}' as other",
    "attach '{place}' as other (storage_version 'v1.0.0'); create table other.t as select 1; checkpoint other",
    "call enable_logging(storage = 'file', storage_path = '{place}')",
    "set temp_directory = '{place}'",
    "set log_query_path = '{place}'",
    "set profiling_output = '{place}'",
    "pragma profiling_output = '{place}'",
    "install '{place}'",
    "load '{place}'",
]
OTHER_STATEMENTS = [
    "import database '{root}/exported'",
    "create table stolen (line varchar); copy stolen from '{root}/secret.txt' (format csv); select * from stolen",
    "attach '{root}/secret.duckdb' as other (read_only); select * from other.secrets",
    "attach '{root}/secret.duckdb' as other; insert into other.secrets values ('x'); checkpoint other",
    "copy from database memory to other", "detach memory", "use other",
    "install httpfs", "force install httpfs", "load httpfs", "update extensions",
    "create persistent secret s (type s3, key_id 'a', secret 'b')", "create secret s (type s3, key_id 'a')",
    "drop persistent secret s",
    "create table x as select 1 as a", "create view x as select 1", "create macro x() as 1", "create schema x",
    "create sequence x", "create type x as enum ('a')", "create index x on materials (material_id)",
    "insert into materials select * from materials", "update materials set formula = 'X'", "delete from materials",
    "truncate materials", "merge into materials using splits on true when matched then delete",
    "drop view materials", "alter view materials rename to x", "alter table materials drop formula",
    "comment on view materials is 'x'", "vacuum", "analyze", "checkpoint", "force checkpoint", "from checkpoint()",
    "call pragma_version()", "execute nothing", "deallocate nothing",
    "begin", "begin; drop view splits; commit", "rollback",
    "pragma enable_profiling", "pragma enable_checkpoint_on_shutdown", "pragma database_list",
    "select write_log('x')", "select * from duckdb_secrets()", "select * from duckdb_extensions()",
    "set variable x = 1", "set enable_logging = true", "select getenv('CPF_SECRET')",
    "from secret_table", "from SECRET_TABLE", "select * from query('from secret_table')",
    *(f"set {name} = {value}" for name, value in [
        ("enable_external_access", "true"), ("allowed_directories", "['{root}']"), ("disabled_filesystems", "''"),
        ("allowed_paths", "['{root}/secret.txt']"), ("lock_configuration", "false"), ("home_directory", "'{root}'"),
        ("python_enable_replacements", "true"), ("python_scan_all_frames", "true"), ("file_search_path", "'{root}'"),
        ("allow_unsigned_extensions", "true"), ("extension_directory", "'{root}/empty'"),
        ("secret_directory", "'{root}/empty'"), ("memory_limit", "'1TB'"), ("max_execution_time", "0")]),
    *(f"reset {name}" for name in ["enable_external_access", "allowed_paths", "disabled_filesystems", "memory_limit",
                                  "lock_configuration", "temp_directory", "max_execution_time"]),
]
READERS = [
    "read_text('{secret}.txt')", "read_blob('{secret}.txt')", "read_text(['{secret}.txt'])", "read_csv('{secret}.csv')",
    "read_csv_auto('{secret}.csv')", "sniff_csv('{secret}.csv')", "read_json('{secret}.json')",
    "read_json_auto('{secret}.json')", "read_json_objects('{secret}.json')", "read_ndjson('{secret}.json')",
    "read_ndjson_objects('{secret}.json')", "read_parquet('{secret}.parquet')", "parquet_scan('{secret}.parquet')",
    "parquet_metadata('{secret}.parquet')", "parquet_schema('{secret}.parquet')",
    "parquet_kv_metadata('{secret}.parquet')", "parquet_file_metadata('{secret}.parquet')",
    "parquet_bloom_probe('{secret}.parquet', 'a', 1)", "read_duckdb('{secret}.duckdb')",
    "read_duckdb('{secret}.duckdb', table_name = 'secrets')", "glob('{folder}/*')",
    "'{secret}.txt'", "'{secret}.csv'", "'{secret}.json'", "'{secret}.parquet'", "'{folder}/*.csv'",
    "query('from read_text(''{secret}.txt'')')", "query_table(['{secret}.parquet'])", "query_table('{secret}.csv')",
]
FOLDERS = ["tables://..", "tables://0/splits/../../../..", "tables://{root}", "tables:///{root}", "file://{root}", "."]

WRAPPERS = {
    "plain": "{}",
    "comment": "\t-- copy\n /* ; */\v\n{}",
    "with": "with x as ({}) select * from x",
    "with materialized": "with x as materialized ({}) from x",
    "with recursive": "with recursive x as ({} union select * from x) select * from x",
    "with unused": "with x as ({}) select 1",
    "nested with": "with y as (with x as ({}) from x) from y",
    "subquery": "select * from ({})",
    "from first": "from ({}) select *",
    "scalar": "select ({})",
    "exists": "select 1 where exists ({})",
    "array": "select array({})",
    "lateral": "select * from splits, lateral ({})",
    "union": "select 1 union all ({})",
    "explain": "explain {}",
    "explain analyze": "explain analyze {}",
    "explain options": "explain (analyze, format json) {}",
    "explain with": "explain analyze with x as ({}) select * from x",
    "prepare": "prepare p as {}; execute p",
    "prepare with": "prepare p as with x as ({}) select * from x; execute p",
    "pivot": "pivot ({}) on material_id using count(*)",
    "pivot in with": "with x as ({}) select * from (pivot x on material_id in ('a') using count(*))",
    "unpivot": "unpivot ({}) on columns(*)",
    "macro": "create or replace macro m() as table {}; from m()",
    "macro with": "create or replace macro m() as table with x as ({}) select * from x; from m()",
    "scalar macro": "create or replace macro m() as ({}); select m()",
    "view": "create or replace view v as with x as ({}) select * from x; from v",
    "table": "create or replace table t as {}",
    "insert": "create or replace table t (a varchar); insert into t with x as ({}) from x",
    "second": "select 1; {}",
    "first": "{}; select 1",
    "transaction": "begin; {}; commit",
    "describe": "describe {}",
    "summarize": "summarize {}",
    "summarize with": "summarize with x as ({}) select * from x",
    "query function": "from query($${}$$)",
    "query function with": "from query($$with x as ({}) select * from x$$)",
    "copy": "copy ({}) to '{root}/empty/copied' (use_tmp_file false)",
}



def reads(reader: str, folder: str) -> str:
    source = reader.replace("{secret}", f"{folder}/secret").replace("{folder}", folder)
    return "select * from " + source  # noqa: S608 (an attack is the point)


ATTACKS = [
    *(statement.replace("{place}", place) for statement in COPIES[:2] for place in PLACES.values()),
    *(statement.replace("{place}", PLACES[name]) for statement in COPIES[2:] for name in ("part", "table", "new")),
    *(statement.replace("{place}", PLACES[name]) for statement in OTHER_WRITES for name in ("part", "new")),
    *OTHER_STATEMENTS,
    *(reads(reader, "{root}") for reader in READERS),
    *(reads(reader, folder) for reader in ("read_text('{secret}.txt')", "glob('{folder}/*')", "'{secret}.csv'")
      for folder in FOLDERS),
]
SECRET_TABLE = pa.table({"line": [MARK]})


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with published tables, hard links of them, files with a secret, and an empty folder; all of it is
    the working directory and the home of the process."""
    root = make_project(tmp_path_factory.mktemp("canary"), only=["mp-30", "mp-149", "mp-22862"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("features.store.placement.MIN_PARTS", 2)
        for stage in ("ingest", "split"):
            stages.run(stage, root, "serial")
        for name in ("links", "empty", "exported"):
            (root / name).mkdir()
        for part in (root / "data" / "features" / "splits").iterdir():
            os.link(part, root / "links" / part.name)
        for name in ("secret.txt", "secret.csv", f"{HIDDEN}.csv"):
            (root / name).write_text(f"line\n{MARK}\n")
        (root / "secret.json").write_text(f'{{"line": "{MARK}"}}\n')
        pq.write_table(SECRET_TABLE, root / "secret.parquet")
        (root / "exported" / "schema.sql").write_text("create table imported (line varchar);")
        (root / "exported" / "load.sql").write_text(f"copy imported from '{root}/secret.csv'; from imported;")
        with duckdb.connect(str(root / "secret.duckdb")) as connection:
            connection.execute("create table secrets as select ? as line", [MARK])
        patch.chdir(root)
        patch.setenv("HOME", str(root / "empty"))
        patch.setenv("CPF_SECRET", MARK)
        yield root


def state(root: Path) -> dict[str, tuple[int, ...]]:
    """What tells of any change below a folder: a write to a file moves its ctime, a new file that of its folder."""
    places = [root, *(Path(folder) / name for folder, folders, files in os.walk(root) for name in (*folders, *files))]
    facts = {str(place): os.lstat(place) for place in places}
    return {place: (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for place, stat in facts.items()}


def contents(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def outcome(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Everything that a statement shows: its rows, or its error."""
    secret_table = SECRET_TABLE  # noqa: F841 (a variable that a query would see if it saw Python's)
    try:
        return str(connection.execute(sql).fetchall())
    except Exception as error:  # of DuckDB, and of Python through it
        return str(error)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_statement_in_any_wrapper_touches_a_file(canary: Path, attack: str) -> None:
    before, files = state(canary), contents(canary)
    with catalog.connect(canary, timeout_s=20) as connection:
        for name, wrapper in WRAPPERS.items():
            sql = wrapper.replace("{}", attack).replace("{root}", str(canary))
            shown = outcome(connection, sql)
            assert MARK not in shown, name
            assert HIDDEN not in shown, name
            assert state(canary) == before, name
            if "begin" in sql:
                outcome(connection, "rollback")  # a transaction that an error ended would refuse all that follows
    assert state(canary) == before
    assert contents(canary) == files


@pytest.mark.parametrize("wrapper", ["plain", "comment", "with", "explain analyze", "explain with", "prepare", "pivot",
                                     "macro", "second", "query function with"])
@pytest.mark.parametrize("attack", [
    COPIES[0].replace("{place}", PLACES["part"]), COPIES[0].replace("{place}", PLACES["table"]),
    COPIES[6].replace("{place}", PLACES["new"]), "attach '{root}/secret.duckdb'", "create table x as select 1 as a",
    "select * from read_text('{root}/secret.txt')", "select * from 'secret.csv'",
    'select * from "{root}/secret.duckdb".secrets', 'select * from "../../secret".splits',
    'select * from "--output={root}/empty/new".splits', 'select * from "-c core.pager=touch new".splits',
    "select * from read_parquet('tables://0/../../secret.parquet')",
])
def test_a_query_says_in_one_line_why_it_was_refused(canary: Path, attack: str, wrapper: str) -> None:
    before = state(canary)
    with pytest.raises(UserError) as refused:
        catalog.query(canary, WRAPPERS[wrapper].replace("{}", attack).replace("{root}", str(canary)))
    assert state(canary) == before
    assert MARK not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_the_wrappers_do_their_harm_where_nothing_is_closed(canary: Path, tmp_path: Path) -> None:
    written, shown = set(), set()
    for name, wrapper in WRAPPERS.items():
        for attack in (COPIES[0].replace("{place}", f"{tmp_path}/{name}"), reads(READERS[0], str(canary))):
            with duckdb.connect(":memory:") as connection:
                connection.execute("create view splits as select 1 as a")
                if MARK in outcome(connection, wrapper.replace("{}", attack).replace("{root}", str(tmp_path))):
                    shown.add(name)
        if (tmp_path / name).exists():
            written.add(name)
    assert written >= {"plain", "comment", "with", "with materialized", "with unused", "prepare", "prepare with",
                       "first", "second", "explain analyze", "explain options", "explain with", "transaction"}
    assert shown >= {"plain", "comment", "with", "with materialized", "with recursive", "nested with", "subquery",
                     "view", "from first", "lateral", "macro", "macro with", "prepare", "prepare with",
                     "query function", "query function with", "second", "summarize", "summarize with", "transaction"}
