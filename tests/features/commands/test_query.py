"""`python -m features sql`: queries from files and standard input, formats, results that stream."""

import csv
import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features.__main__ import app
from features.commands.output import Format, show
from features.errors import UserError
from pipelines.engine import stages
from tests.conftest import make_project

QUERY = "select material_id, elements, map {'a|b': 1.5} as m, 'x' || chr(10) || 'y|z' as word, " \
        "sum(nsites) over () as s from materials order by material_id"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"), only=["mp-30", "mp-22862"])
    stages.run("ingest", root, "serial")
    return root


def ask(root: Path, *arguments: str, text: str = "") -> tuple[int, bytes, str]:
    """Exit code, standard output and the line of the error."""
    result = CliRunner().invoke(app, ["sql", "--root", str(root), *arguments], input=text)
    if isinstance(result.exception, UserError):
        return 2, result.stdout_bytes, str(result.exception)
    assert result.exit_code == 0, result.exception
    return 0, result.stdout_bytes, result.stderr


def test_statements_of_a_file_and_of_standard_input_run_in_order(made: Path, tmp_path: Path) -> None:
    script = "select 1 as a; -- a comment; with a semicolon\nselect ';' as b;\n"
    (tmp_path / "queries.sql").write_text(script)
    for done in (ask(made, "--format", "csv", text=script), ask(made, "-", "--format", "csv", text=script),
                 ask(made, "--format", "csv", "-f", str(tmp_path / "queries.sql"))):
        assert done == (0, b"a\n1\n\nb\n;\n", "")
    code, out, said = ask(made, "--format", "csv", text="select 1 as a;\nselect nope;\nselect 3")
    assert (code, out) == (2, b"a\n1\n\n")
    assert said.startswith('SQL: Binder Error: Referenced column "nope" was not found')
    code, out, said = ask(made, text="select 1;\n\nselec 2")
    assert (code, out, said) == (2, b"", 'SQL: Parser Error: syntax error at or near "selec" (line 3)')


@pytest.mark.parametrize(("arguments", "words"), [
    (["select 1", "-f", "x.sql"], "either a query or --file"),
    (["-f", "missing.sql"], "there is no such file"),
    (["-f", "."], "it is a folder"),
    (["--format", "parquet"], "parquet holds one result, and these are 2 queries"),
    (["-f", "/dev/null"], "only regular files are read"),
    (["--at", "-x", "select 1"], "'-x' is no name of a revision"),
])
def test_what_cannot_be_run_is_one_line(made: Path, arguments: list[str], words: str) -> None:
    code, out, said = ask(made, *arguments, text="select 1; select 2")
    assert (code, out) == (2, b"")
    assert words in said
    assert "\n" not in said


def test_every_format_gives_whole_values(made: Path) -> None:
    rows = [{"material_id": "mp-22862", "elements": ["Cl", "Na"], "m": {"a|b": 1.5}, "word": "x\ny|z", "s": 3},
            {"material_id": "mp-30", "elements": ["Cu"], "m": {"a|b": 1.5}, "word": "x\ny|z", "s": 3}]
    out = {form: ask(made, QUERY, "--format", form)[1].decode("utf-8")
           for form in ("json", "jsonl", "csv", "markdown")}
    assert json.loads(out["json"]) == rows
    assert [json.loads(line) for line in out["jsonl"].splitlines()] == rows
    read = list(csv.DictReader(io.StringIO(out["csv"])))
    assert [json.loads(row["elements"]) for row in read] == [["Cl", "Na"], ["Cu"]]
    assert [json.loads(row["m"]) for row in read] == [{"a|b": 1.5}] * 2
    assert out["markdown"].splitlines() == [
        "| material_id | elements | m | word | s |", "| --- | --- | --- | --- | ---: |",
        '| mp-22862 | ["Cl", "Na"] | {"a\\|b": 1.5} | x y\\|z | 3 |',
        '| mp-30 | ["Cu"] | {"a\\|b": 1.5} | x y\\|z | 3 |']
    table = pq.read_table(io.BytesIO(ask(made, QUERY, "--format", "parquet")[1]))
    assert table["s"].to_pylist() == [3, 3]
    assert table["m"].to_pylist() == [[("a|b", Decimal("1.5"))]] * 2


def test_columns_of_one_name_are_all_there(made: Path) -> None:
    query = "select 1 as k, 2 as k, 3 as k_2, 4 as k, 5 as k_2"
    assert json.loads(ask(made, query, "--format", "json")[1]) == [{"k": 1, "k_3": 2, "k_2": 3, "k_4": 4, "k_2_2": 5}]


@pytest.mark.parametrize(("value", "form", "words"), [
    ("date '99999-01-01'", "csv", "column v holds a date32[day] that is out of range here"),
    ("[timestamp 'infinity']", "json", "that is out of range here"),
    ("interval '1 year'", "parquet", "parquet does not hold this"),
    ("map {[1]: 2}", "jsonl", None),
])
def test_values_that_a_format_does_not_hold(made: Path, value: str, form: str, words: str | None) -> None:
    code, out, said = ask(made, f"select {value} as v", "--format", form)
    if words is None:
        assert (code, out) == (0, b'{"v": {"[1]": 2}}\n')
    else:
        assert code == 2
        assert words in said
        assert "`::varchar`" in said
        assert "\n" not in said


def test_closed_standard_output_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        with pytest.raises(UserError, match="standard output is closed"):
            show(pa.table({"a": [1]}), Format.csv)


def test_a_large_result_streams_in_bounded_memory(made: Path) -> None:
    """Of 800 MB of words nothing is held, and a reader that has seen enough ends it without a word."""
    code = ("import sys; from features.__main__ import app\n"
            "try: app()\n"  # the peak of this program alone: `ru_maxrss` begins with that of the process that forked
            "finally: print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), "
            "file=sys.stderr)")
    query = "select repeat('x', 20000) || range as word from range(40000)"
    process = subprocess.Popen([sys.executable, "-c", code, "sql", query, "--root", str(made), "--format", "jsonl"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    read = 0
    while read < 200 << 20:
        read += len(process.stdout.read(1 << 20))
    process.stdout.close()
    said = process.stderr.read().decode().split()
    assert process.wait(60) == 141
    (peak_kb,) = map(int, said)
    assert peak_kb < 600_000


def test_without_tables_that_is_what_is_said(tmp_path: Path) -> None:
    for command in (["sql", "select 1"], ["profiles"]):
        result = CliRunner().invoke(app, [*command, "--root", str(tmp_path)])
        assert isinstance(result.exception, UserError)
        assert str(result.exception).startswith("there are no tables under ")
