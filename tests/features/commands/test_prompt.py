"""The prompt of `python -m features sql`, on a pseudo-terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from features.catalog.session import Session
from features.commands.prompt import Shell, is_whole
from pipelines.engine import stages
from tests.conftest import make_project

ROWS, COLUMNS = 24, 100
ENDLESS = "select count(*) from range(1000000000) a, range(1000000000) b where hash(a.range, b.range) = 7;"


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", XDG_STATE_HOME=str(state), NO_COLOR="1",
                              PAGER="cat; echo secure=$LESSSECURE")
            command = [sys.executable, "-m", "features", "sql", "--root", str(folder)]
            os.execv(command[0], command)  # noqa: S606 (no shell is wanted)
        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.shown = ""
        self.ended: int | None = None

    def type(self, keys: str) -> None:
        os.write(self.handle, keys.encode())

    def until(self, words: str, seconds: float = 20) -> str:
        """What is shown until these words are, from where the last call ended, without what moves the cursor."""
        end = time.monotonic() + seconds
        while words not in self.shown and time.monotonic() < end:
            if not select.select([self.handle], [], [], 0.1)[0]:
                continue
            piece = os.read(self.handle, 1 << 16)
            if b"\x1b[6n" in piece:  # where is the cursor?
                os.write(self.handle, b"\x1b[1;1R")
            self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", piece.decode(errors="replace"))
        before, found, self.shown = self.shown.partition(words)
        assert found, before
        return before + found

    def end(self) -> int:
        """Exit code, once it has ended by itself."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.ended = os.waitstatus_to_exitcode(status)
                return self.ended
            if select.select([self.handle], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):  # it has closed its terminal
                    os.read(self.handle, 1 << 16)
        raise AssertionError("it goes on")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"), only=["mp-30", "mp-22862"])
    stages.run("ingest", root, "serial")
    return root


@pytest.fixture
def terminal(made: Path, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(made, tmp_path)
    terminal.until("sql>")
    yield terminal
    if terminal.ended is None:
        os.kill(terminal.pid, signal.SIGKILL)
        os.waitpid(terminal.pid, 0)
    os.close(terminal.handle)


def test_queries_commands_errors_and_the_end(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("select count(*) as n\r")
    terminal.until("...>")
    terminal.type("from materials;\r")
    assert re.search(r"n\s+─\s+2\s", terminal.until("1 row, "))
    terminal.type("select nope from materials;\r")
    assert "error: SQL: Binder Error" in terminal.until('"nsites"')
    terminal.type("select date '99999-01-01' as d;\r")
    terminal.until("error: column d holds a date32[day] that is out of range here")
    terminal.type("select range as n, repeat('y', 3000) as word from range(1000);\r")
    assert "secure=1" in terminal.until("; `--format csv` gives all")
    terminal.type(".tables\r")
    assert "one canonical crystal per row" in terminal.until("rejects")
    terminal.type(".describe splitz\r")
    terminal.until("no table 'splitz'; there are: lineage, materials, rejects")
    terminal.type(".describe similar\r")
    assert re.search(r"rank\s+BIGINT", terminal.until("similarity"))
    terminal.type(".describe materials\r")
    assert re.search(r"k_vrh\s+DOUBLE\s+bulk modulus", terminal.until("other_properties"))
    terminal.type("select repeat('y', 3) as long_name, * from materials limit 1;\r")
    assert re.search(r"row 1\s+long_name\s+yyy", terminal.until("1 row, "))
    terminal.type("\x10")  # the one before, by Ctrl-P
    terminal.until("long_name")
    terminal.type("\x03\x04")  # Ctrl-C drops the line, Ctrl-D leaves
    assert terminal.end() == 0
    assert "long_name" in (tmp_path / "multimodal-cpf" / "sql-history").read_text()


def test_ctrl_c_stops_a_query_and_keeps_the_prompt(terminal: Terminal) -> None:
    terminal.type(ENDLESS + "\r")
    terminal.until("Ctrl-C stops it")  # after two seconds it says how long it has been at work
    terminal.type("\x03")
    terminal.until("stopped")
    terminal.type("select 6 * 7 as answer;\r")
    assert "42" in terminal.until("1 row, ")
    terminal.type(".quit\r")
    assert terminal.end() == 0


def test_tab_completes_tables_columns_functions_and_commands(terminal: Terminal) -> None:
    for typed, completed, rest, answer in (
            ("select count(*) from mater\t", "ials", ";\r", "1 row, "), (".des\t", "cribe", " rejects\r", "message"),
            ("select max(volu\t", "me", ") from materials;\r", "1 row, "),
            ("from simi\t", "lar", "('x');\r", "need the table text_embeddings")):
        terminal.type(typed)
        terminal.until(typed.strip())
        terminal.until(completed)  # only what is new is written
        terminal.type(rest)
        terminal.until(answer)


@pytest.mark.parametrize(("text", "whole"), [
    ("select 1;", True), ("select 1", False), ("select ';", False), ("select ';';", True), ("select 1 -- ;", False),
    ("select 1; -- done", True), ("", True), (".tables", True), ("select /* ;", False), ('select "a;', False),
    ("select $$a'b$$;", True), ("select $x$ $$ ' $x$;", True), ("select $$ ;", False), (r"select E'it\'s';", True),
    (r"select e'\\';", True), (r"select E'\';", False),
    ("select date'2020-01-01';", True),
])
def test_a_query_ends_with_its_semicolon(text: str, whole: bool) -> None:
    assert is_whole(text) is whole


def test_what_is_offered_before_a_first_letter(made: Path) -> None:
    with Session(made) as session:
        shell = Shell(session)
        for text, first, offered in (("select * from ", "lineage", True), (".describe ", "lineage", True),
                                     ("select materials.", "material_id", True), ("select Rejects.", "view", True),
                                     ("select 1 from materials m where m.", "material_id", True),
                                     ("from head.", "lineage", True), ("select ", "", False)):
            names = [item.text for item in shell.get_completions(Document(text), CompleteEvent())]
            assert bool(names) is offered, text
            assert names[:1] == [first] * offered, text


def test_a_question_that_is_not_answered_is_no_error(made: Path, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    def raising(error: Exception) -> None:
        raise error

    with Session(made) as session:
        shell = Shell(session)
        monkeypatch.setattr(shell, "_queries", lambda _text: raising(typer.Abort()))
        with pytest.raises(typer.Abort):  # `run` goes on, as after Ctrl-C
            shell.answer("from v1.materials;")
        monkeypatch.setattr(shell, "_queries", lambda _text: raising(ZeroDivisionError("what\nis odd")))
        assert shell.answer("select 1;")
    assert capsys.readouterr().err == "error: ZeroDivisionError: what is odd\n"
