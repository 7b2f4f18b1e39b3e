"""`python -m features sql` without a query: a prompt over the tables."""

from __future__ import annotations

import contextlib
import io
import os
import pydoc
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from features.catalog import meanings, virtual
from features.catalog.session import Session
from features.commands.output import Format, show
from features.commands.patience import Patience
from features.errors import UserError, of_the_machine
from features.redaction import redacted
from features.terminal import printable

PROMPT, MORE = "sql> ", "...> "
SHOWN_ROWS = 1000
"""Rows of a result that a prompt shows,"""
SHOWN_BYTES = 1 << 16
"""and about how many bytes of them: a row of vectors is long."""
COMMANDS = {
    ".tables": "list the tables with their meaning; .tables v1 lists those of a revision",
    ".describe": ".describe materials: columns of a table, or of a function's result, with type and meaning",
    ".functions": "list the table functions: similar, find, near",
    ".help": "this",
    ".quit": "leave; so does Ctrl-D",
}
HELP = """A query goes on over lines until its semicolon. Up and down bring earlier ones, Tab completes, Ctrl-C stops a
query or drops a line. Tables of another git revision are head.materials, "v1".materials."""
_QUOTED = re.compile(r"\b[eE]'(?:[^'\\]|''|\\.)*'|(?<!\b[eE])'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\""
                     r"|(\$(?:[^\W\d]\w*)?\$).*?\1|--[^\n]*|/\*.*?\*/", re.DOTALL)
_WORD = re.compile(r"[.\w]+$")
_TABLE_NEXT = re.compile(r"\b(from|join|describe|summarize)\s+[.\w]*$", re.IGNORECASE)


def run(root: Path, at: str | None, timeout_s: float) -> None:
    """Read and answer until the end. What a user gets wrong is one line. Raises `UserError` if there are no tables."""
    with Session(root, at, timeout_s) as session:
        session.check()
        shell = Shell(session)
        print(f"{len(session.tables)} tables; .help says how this works, Ctrl-D leaves")
        asked: PromptSession[str] = PromptSession(
            PROMPT, history=_history(), completer=shell, complete_while_typing=False, multiline=True,
            prompt_continuation=MORE, key_bindings=_keys(), enable_history_search=Condition(lambda: True))
        while True:
            try:
                text = asked.prompt()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            try:
                if not shell.answer(text.strip()):
                    return
            except (KeyboardInterrupt, typer.Abort):  # the latter at a question whether to fetch a revision
                print("stopped")


def is_whole(text: str) -> bool:
    """Whether what was typed can be answered: a command, nothing, or statements with a semicolon at the end."""
    rest = _QUOTED.sub(lambda match: " " if match[0].startswith(("-", "/")) else "_", text).strip()
    inside = "'" in rest or '"' in rest or "/*" in rest or "$$" in rest
    return not text.strip() or text.lstrip().startswith(".") or (rest.endswith(";") and not inside)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        if is_whole(event.current_buffer.text):
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    return keys


def _history() -> History:
    """Earlier queries of this user; only those of this time where their file cannot be written."""
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    path = Path(home) / "multimodal-cpf" / "sql-history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8"):
            return FileHistory(path)
    except OSError as error:
        print(f"earlier queries are not kept: {of_the_machine(error)}", file=sys.stderr)
        return InMemoryHistory()


class Shell(Completer):
    """Answers what was typed, and completes it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._columns: dict[str, list[str]] | None = None
        self._keywords: list[str] | None = None

    def answer(self, text: str) -> bool:
        """Print the answer to a command or to statements; False if that was the end."""
        if text.startswith("."):
            name, _, rest = text.rstrip(";").partition(" ")
            if name in (".quit", ".exit"):
                return False
            return self._one_line(lambda: self._command(name, rest.strip()))
        return self._one_line(lambda: self._queries(text))

    def _one_line(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except UserError as error:
            _complain(str(error))
        except typer.Abort:
            raise
        except Exception as error:  # whatever a library makes of an odd value, the prompt stays
            _complain(f"{type(error).__name__}: {error}")
        return True

    def _command(self, name: str, rest: str) -> None:
        if name == ".help":
            print(HELP + "\n")
            for command, what in COMMANDS.items():
                print(f"{command:11} {what}")
        elif name == ".tables":
            self._show(self._listed(rest))
        elif name == ".functions":
            self._show(pa.table({"function": list(meanings.FUNCTIONS), "meaning": list(meanings.FUNCTIONS.values())}))
        elif name == ".describe" and rest:
            self._show(self._described(rest))
        elif name == ".describe":
            raise UserError(f".describe names a table: {', '.join(self.session.tables)}")
        else:
            raise UserError(f"no command {name}; there are: {', '.join(COMMANDS)}")

    def _listed(self, revision: str) -> pa.Table:
        names = self.session.tables_of(revision.strip('"'))
        return pa.table({"table": names, "meaning": [meanings.meaning(name) for name in names]})

    def _described(self, name: str) -> pa.Table:
        schema, _, table = name.rpartition(".")
        schema, table = schema.strip('"'), table.strip('"')
        known = self.session.tables_of(schema)
        place = f"{_identifier(schema)}.{_identifier(table)}" if schema else _identifier(table)
        if table.casefold() in meanings.FUNCTIONS:
            return self._whole("SELECT column_name AS column, column_type AS type "  # noqa: S608 (quoted)
                               f"FROM (DESCRIBE FROM {place}('x', 0))")
        if table.casefold() not in map(str.casefold, known):
            raise UserError(f"no table '{table}'; there are: {', '.join(known)}")
        if table.casefold() not in virtual.names():
            self._whole(f"FROM {place} LIMIT 0")  # so that its view is there, or said to be damaged
        return self._whole("SELECT column_name AS column, data_type AS type, comment AS meaning FROM duckdb_columns() "  # noqa: S608 (quoted)
                           f"WHERE lower(table_name) = lower({_text(table)}) AND lower(schema_name) = "
                           f"lower({_text(schema or 'main')}) ORDER BY column_index")

    def _queries(self, text: str) -> None:
        for statement in self.session.statements(text):
            self._query(statement)

    def _query(self, statement: str) -> None:
        began = time.monotonic()
        table, more = self._first(statement)
        lasted = time.monotonic() - began
        self._show(table)
        rows = f"the first {len(table):,} rows" if more else f"{len(table):,} row{'s' * (len(table) != 1)}"
        print(f"{rows}, {lasted:.2f} s{'; `--format csv` gives all of them' if more else ''}")

    def _whole(self, statement: str) -> pa.Table:
        return self._first(statement, sys.maxsize, sys.maxsize)[0]

    def _first(self, statement: str, limit: int = SHOWN_ROWS, size: int = SHOWN_BYTES) -> tuple[pa.Table, bool]:
        """The first rows of a result, of about `size` bytes at most, and whether there are more."""
        batches: list[pa.RecordBatch] = []
        with Patience() as patience, self.session.answer(statement, patience) as answer:
            for batch in answer:
                fits = max(1, size * len(batch) // max(1, batch.nbytes))
                room = min(limit, fits) - sum(map(len, batches))
                batches.append(batch.slice(0, max(0, room)))
                if len(batch) > room:
                    return pa.Table.from_batches(batches, answer.schema), True
            return pa.Table.from_batches(batches, answer.schema), False

    def _show(self, table: pa.Table) -> None:
        """Print a table, through a pager if it is longer than the screen."""
        with contextlib.redirect_stdout(_Screen()) as screen:
            show(table, Format.table)
        text = screen.getvalue()
        if text.count("\n") < shutil.get_terminal_size().lines - 2:
            print(text, end="")
        else:
            os.environ.setdefault("LESS", "-FRSX")
            os.environ["LESSSECURE"] = "1"  # it reads, and runs and writes nothing
            pydoc.pager(text)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:  # noqa: ARG002 (of the base)
        """Commands at the start of a line; else tables, columns, functions and words of SQL."""
        found = _WORD.search(document.text_before_cursor)
        word = found[0] if found else ""
        qualifier, _, prefix = word.rpartition(".")
        line = document.text_before_cursor.lstrip()
        if line.startswith(".") and " " not in line:
            yield from (Completion(name, -len(line)) for name in COMMANDS if name.startswith(line))
            return
        asked = bool(prefix or qualifier)
        if line.startswith("."):
            offered, asked = self.session.tables, True
        elif not qualifier and _TABLE_NEXT.search(document.text_before_cursor):
            offered, asked = [*self.session.tables, *meanings.FUNCTIONS], True
        else:
            offered = self._words(document.text, qualifier)
        for name in dict.fromkeys(offered) if asked else ():
            if name.casefold().startswith(prefix.casefold()):
                yield Completion(name, -len(prefix))

    def _words(self, text: str, qualifier: str) -> list[str]:
        """What may stand in a query, columns of the tables that it names first; after a qualifier, what is in it."""
        if self._columns is None:
            self._columns = self.session.columns()
        words = {word.casefold() for word in re.findall(r"\w+", text)}
        near = [name for table, names in self._columns.items() if table.casefold() in words for name in names]
        if qualifier:
            own = {table.casefold(): names for table, names in self._columns.items()}.get(qualifier.casefold())
            return own or [*near, *self.session.tables, *meanings.FUNCTIONS]  # an alias, or a revision
        others = [name for names in self._columns.values() for name in names]
        if self._keywords is None:
            self._keywords = self._whole("SELECT keyword_name FROM duckdb_keywords()")["keyword_name"].to_pylist()
        return [*near, *self.session.tables, *meanings.FUNCTIONS, *self._keywords, *others]


def _complain(words: str) -> None:
    print(f"error: {printable(redacted(' '.join(words.split())))}", file=sys.stderr, flush=True)


class _Screen(io.StringIO):
    """What is printed for a terminal, before it is known whether it fits there."""

    def isatty(self) -> bool:
        return True


def _identifier(name: str) -> str:
    return '"' + name.strip('"').replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.strip('"').replace("'", "''") + "'"
