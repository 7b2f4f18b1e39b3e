"""What a session of SQL shows beside the rows: own properties, meanings, and the tables of other revisions."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from features import catalog
from features.catalog import virtual
from features.catalog.session import Session
from features.catalog.sql import collected
from features.commands.prompt import Shell
from features.errors import UserError
from features.paths import Paths
from features.store import tables, versions
from features.view import column
from pipelines.engine import stages
from tests.conftest import make_project, set_params

GIT = shutil.which("git") or "git"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a property of its own, in an own unit, and two revisions: `v1` has one crystal less."""
    root = make_project(tmp_path_factory.mktemp("project"), only=["mp-30", "mp-149", "mp-22862"])
    table = root / "data" / "input" / "properties.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(f"{line},{extra}" for line, extra in zip(
        lines, ["hardness", *("12.5" if line.startswith("mp-149") else "" for line in lines[1:])], strict=True)) + "\n")
    set_params(root, ingest={"units": {"hardness": "GPa"}})
    (root / "data" / "input" / "mp-30.cif").rename(root / "mp-30.cif")
    for stage in ("ingest", "split"):
        stages.run(stage, root, "serial")
    revision(root, "v1")
    (root / "mp-30.cif").rename(root / "data" / "input" / "mp-30.cif")
    for stage in ("ingest", "split"):
        stages.run(stage, root, "serial")
    revision(root, "v2")
    return root


def revision(root: Path, tag: str) -> None:
    """Put what is there into a cache as DVC does, and commit it."""
    outs = []
    for path in (Paths(root).table("materials"), Paths(root).table("splits")):
        listed = [{"md5": _stored(root, file.read_bytes()), "relpath": file.name} for file in sorted(path.iterdir())]
        digest = _stored(root, json.dumps(listed, separators=(",", ": ")).encode(), ".dir")
        outs.append({"path": str(path.relative_to(root)), "md5": digest, "hash": "md5", "size": 1,
                     "nfiles": len(listed)})
    Paths(root).lock.write_text(json.dumps({"schema": "2.0", "stages": {"all": {"cmd": "none", "outs": outs}}}))
    (root / ".gitignore").write_text("data\n.dvc\n*.cif\n")
    for command in (["init", "-q", "-b", "trunk"], ["add", "-A"], ["commit", "-qm", tag], ["tag", tag]):
        subprocess.run([GIT, "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=root, check=True)


def _stored(root: Path, content: bytes, kind: str = "") -> str:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest() + kind
    place = root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return digest


def test_own_properties_are_columns_with_their_unit(made: Path) -> None:
    rows = catalog.query(made, "select material_id, hardness from materials order by 1").to_pylist()
    assert rows == [{"material_id": "mp-149", "hardness": 12.5}, {"material_id": "mp-22862", "hardness": None},
                    {"material_id": "mp-30", "hardness": None}]
    assert "hardness" in catalog.query(made, "select * from materials limit 0").column_names
    said = "select comment from duckdb_columns() where table_name = 'materials' and column_name = 'hardness'"
    assert catalog.query(made, said)["comment"].to_pylist()[0].endswith(", in GPa")


def test_meanings_and_units_are_in_both_catalogs(made: Path) -> None:
    tables = "select comment from duckdb_views() where view_name = 'materials'"
    columns = "select comment from duckdb_columns() where table_name = 'materials' and column_name = 'k_vrh'"
    functions = "select count(comment) as n from duckdb_functions() where function_name in ('similar', 'near', 'find')"
    ours = [catalog.query(made, sql).column(0).to_pylist() for sql in (tables, columns, functions)]
    assert ours[0][0].startswith("one canonical crystal per row, with its properties and where it came from")
    assert "source folder" in ours[0][0]
    assert ours[1] == ["bulk modulus, Voigt-Reuss-Hill average, in GPa"]
    assert ours[2] == [3]
    with duckdb.connect(str(Paths(made).catalog), read_only=True) as connection:
        theirs = [[row[0] for row in connection.sql(sql).fetchall()] for sql in (tables, columns)]
        assert connection.sql("select hardness from materials where material_id = 'mp-149'").fetchall() == [(12.5,)]
    assert theirs == ours[:2]


def test_opening_opens_no_part(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = catalog.part_files.PartFiles.open
    monkeypatch.setattr(catalog.part_files.PartFiles, "open",
                        lambda self, path, *rest, **more: opened.append(path) or real(self, path, *rest, **more))
    with Session(made) as session:
        assert collected(session, "select 1 as one").to_pylist() == [{"one": 1}]
        assert opened == []
        collected(session, "select count(*) from splits")
        assert opened
        assert all("/splits/" in path for path in opened)


@pytest.mark.parametrize("sql", ["select count(*) as n from splits", "explain select count(*) as n from splits",
                                 "select view_name as n from duckdb_views() where view_name = 'materials'",
                                 "select table_name from information_schema.tables where table_name = 'materials'"])
def test_a_damaged_table_stops_only_queries_that_name_it(made: Path, tmp_path: Path, sql: str) -> None:
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    (next(iter(sorted(Paths(root).table("materials").glob("part-*"))))).unlink()
    with Session(root) as session:
        assert len(collected(session, sql))
        for naming in ("from materials", "select m.formula from splits join materials m using (material_id)",
                       "explain select * from materials"):
            with pytest.raises(UserError, match=r"materials/part-00000\.parquet is damaged"):
                collected(session, naming)
        assert len(collected(session, sql))


def test_revisions_are_schemas(made: Path) -> None:
    with Session(made) as session:
        gone = 'select a.material_id from head.materials a anti join "v1".materials b using (material_id)'
        assert collected(session, gone)["material_id"].to_pylist() == ["mp-30"]
        assert collected(session, "select count(*) as n from v2.splits")["n"].to_pylist() == [3]
        assert collected(session, "explain select * from \"HEAD~1\".splits").num_rows
        assert collected(session, "select hardness from v1.materials where hardness > 0").num_rows == 1
        for sql, words in (("from v3.materials", "no revision 'v3'"),
                           ('from "--output=x".materials', "no name of a revision"),
                           ('from "../..".materials', "no revision"), ("from v1.nothing", "nothing does not exist"),
                           ("from v1.similar('mp-149')", "need the table text_embeddings")):
            with pytest.raises(UserError, match=words):
                collected(session, sql)
        assert collected(session, "select count(*) as n from materials")["n"].to_pylist() == [3]
    assert len(catalog.query(made, "from materials", at="v1")) == 2


def test_the_prompt_describes_tables_and_functions_of_revisions(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Session(made) as session:
        for asked, last in ((".describe head.similar", "similarity"), (".describe v1.materials", "hardness"),
                            (".tables v1", "splits")):
            Shell(session).answer(asked)
            assert last in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "place", "name"), [("branch", "heads", "main"), ("tag", "tags", "system")])
def test_a_schema_of_duckdb_that_is_a_revision_too(made: Path, tmp_path: Path, kind: str, place: str, name: str
                                                   ) -> None:
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    subprocess.run([GIT, kind, name, "v1"], cwd=root, check=True)
    with Session(root) as session:
        for spelled in (name, name.upper()):
            with pytest.raises(UserError, match=rf'ambiguous: "{place}/{name}"\.splits is'):
                collected(session, f"from {spelled}.splits")
        assert len(collected(session, f'from "{place}/{name}".splits')) == 2
        assert len(collected(session, "from memory.main.splits")) == 3


def test_own_properties_that_differ_in_capitals_alone_are_no_columns(tmp_path: Path) -> None:
    own = [[("hardness", 1.0), ("gap", 3.0)], [("Hardness", 2.0)]]
    table = pa.table({"material_id": ["a", "b"], "other_properties": pa.array(own, pa.map_(pa.string(), pa.float64()))})
    tables.publish(Paths(tmp_path).table("materials"), table.schema, ("material_id",), iter([table]),
                   iter([{"parts": 1}]))
    assert catalog.query(tmp_path, "from materials").column_names[2:] == ["gap"]
    told = catalog.query(tmp_path, "select other_properties['Hardness'] as h from materials order by material_id")
    assert told["h"].to_pylist() == [None, 2.0]


def test_revisions_can_be_read_where_the_work_tree_has_no_tables(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    shutil.rmtree(Paths(root).features)
    assert catalog.query(root, "select count(*) as n from v1.materials")["n"].to_pylist() == [2]
    assert catalog.query(root, "describe v1.materials").num_rows
    for sql in ("from materials", "select 1", "selec"):
        with pytest.raises(UserError, match="there are no tables under"):
            catalog.query(root, sql)


def test_a_table_that_lies_in_no_file(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted:
        """How many tables there are."""

        SCHEMA = pa.schema([column("n", pa.int64(), "how many", "tables")])
        asked = 0

        @classmethod
        def make(cls, where: Path) -> pa.Table:
            cls.asked += 1
            return pa.table({"n": pa.array([len(list(Paths(where).features.iterdir()))], pa.int32())})

    monkeypatch.setattr(virtual, "MODULES", {"counted": "nowhere"})
    monkeypatch.setattr(virtual, "_module", {"counted": Counted}.get)
    with Session(made) as session:
        assert collected(session, "select 1").num_rows == 1
        assert Counted.asked == 0
        assert collected(session, "select n, s.split from counted, splits s limit 1")["n"].to_pylist()[0] >= 2
        assert collected(session, "from v1.counted")["n"].to_pylist() == [2]
        comment = "select comment from duckdb_columns() where table_name = 'counted' and schema_name = 'main'"
        assert collected(session, comment)["comment"].to_pylist() == ["how many, in tables"]
        assert collected(session, "show tables").column(0).to_pylist() == session.tables
        assert collected(session, "from counted")["n"].to_pylist()[0] >= 2


def test_a_session_reads_what_was_published_when_it_opened(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    versions.publish(root)
    with Session(root) as session:
        before = collected(session, "select count(*) as n from materials")["n"].to_pylist()
        (root / "data" / "input" / "mp-30.cif").unlink()
        for stage in ("ingest", "split"):
            stages.run(stage, root, "serial")
        versions.publish(root)
        assert collected(session, "select count(*) as n from splits")["n"].to_pylist() == before == [3]
    assert catalog.query(root, "select count(*) as n from splits")["n"].to_pylist() == [2]


@pytest.mark.parametrize(("sql", "words"), [
    ("explain analyze select s.splits from (select 1 as splits) s", None),  # an alias and a column, no revision
    ("with materials as (select 1 as a) select a from materials", None),
    ("explain pivot splits on split in ('test') using count(*)", None),
    ("pivot splits on split using count(*)", None),
    ("explain with p as (pivot splits on split using count(*)) from p;", None),
    ("create table t as pivot splits on split using count(*)", "only queries are allowed"),
    ("explain analyze copy (pivot splits on split using count(*)) to 'x'", "only queries are allowed"),
    ("select " + "abs(" * 900 + "1" + ")" * 900 + " from splits", None),
    ("from MAIN.Splits join memory.main.materials using (material_id)", None),
    ("from 'head'.splits", "syntax error"),
    ("select '\udc80'", "no text in UTF-8"),
    ("-- nothing", "one SQL statement is expected, found 0"),
    ("\0select 1", "syntax error"),
    ("select [340282366920938463463374607431768211455::uhugeint] as v", "column v is of UHUGEINT"),
])
def test_odd_queries(made: Path, sql: str, words: str | None) -> None:
    if words is None:
        assert len(catalog.query(made, sql))
    else:
        with pytest.raises(UserError, match=words):
            catalog.query(made, sql)
