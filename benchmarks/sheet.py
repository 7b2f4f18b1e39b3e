"""docs/benchmarks.csv: each figure with the command, the machine and the day that it is from."""

from __future__ import annotations

import csv
import io
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from features.processes import available_cores
from features.store.files import write_text

COLUMNS = ("key", "what", "value", "unit", "bound", "note", "command", "machine", "date")


def read(path: Path) -> dict[str, dict[str, str]]:
    """All rows by their keys; none if there is no such file."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def add(path: Path, figures: Iterable[Mapping[str, str]]) -> None:
    """Put figures of this process into the file, in place of those with the same keys; the others stay."""
    mine = {"command": command(sys.orig_argv), "machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    rows: dict[str, Mapping[str, str]] = {**read(path), **{one["key"]: {**one, **mine} for one in figures}}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[key] for key in sorted(rows))
    write_text(path, text.getvalue())


def command(words: Sequence[str]) -> str:
    """A command line as a reader types it: `python`, and of paths the last part alone."""
    given = [Path(word).name if os.sep in word else word for word in words[1:]]
    first = given.index("-m") if "-m" in given else 0  # what comes before are options of the interpreter
    return " ".join(["python", *given[first:]])


def machine() -> str:
    """Processor, cores that may be used, and memory."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {available_cores()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
