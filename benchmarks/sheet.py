"""docs/benchmarks.csv: each figure with the command, the machine and the day that it is from."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from features.errors import UserError
from features.processes import available_cores
from features.store.files import write_text

COLUMNS = ("key", "what", "value", "unit", "bound", "note", "command", "machine", "date")


def read(path: Path) -> dict[str, dict[str, str]]:
    """All rows by their keys; none if there is no such file. Raises `UserError` if it is no such table."""
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        if any(tuple(row) != COLUMNS or None in row.values() for row in rows):
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        for row in rows:
            float(row["value"])
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path} is no table of figures: {error}") from None
    return {row["key"]: row for row in rows}


def add(path: Path, figures: Iterable[Mapping[str, str]]) -> None:
    """Put figures of this process into the file, in place of those with the same keys; the others stay."""
    mine = {"command": command(sys.orig_argv), "machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    made: dict[str, Mapping[str, str]] = {}
    for one in figures:
        if one["key"] in made:
            raise ValueError(f"two figures have the key {one['key']}")
        made[one["key"]] = {**one, **mine}
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # another benchmark may be adding its own
        rows = {**read(path), **made}
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[key] for key in sorted(rows))
        write_text(path, text.getvalue())
    finally:
        os.close(folder)


def command(words: Sequence[str]) -> str:
    """A command line as a reader types it: `python`, and of absolute paths the last part alone."""
    first = words.index("-m") if "-m" in words else 1  # what comes before are options of the interpreter
    given = []
    for word in words[first:]:
        option, is_one, value = word.partition("=") if word.startswith("--") else ("", "", word)
        given.append(f"{option}{is_one}{Path(value).name or value if Path(value).is_absolute() else value}")
    return shlex.join(["python", *given])


def machine() -> str:
    """Processor, cores that may be used, and memory."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {available_cores()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
