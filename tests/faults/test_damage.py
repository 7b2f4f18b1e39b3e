"""The judge of damages cannot be fooled, and damage is done as a disk does it."""

import os
import random
from pathlib import Path

import pytest

from tests.faults.answers import names
from tests.faults.commands import copy
from tests.faults.damage import KINDS, SILENT, TRACEBACKS, UNNAMED, Case, _flip, _judged
from tests.faults.forks import OK, SAID, TRACEBACK, Ended

PART = "data/features/materials/part-00000.parquet"
SEGMENT = "data/.rowstore/materials/v3/rows-0badc0de.parquet"
BY_KIND = {kind.name: kind for kind in KINDS}
RIGHT = "materials [{'material_id': 'mp-149', 'density': 2.3}]\n"
OTHER = RIGHT.replace("2.3", "9.9")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A table of one part, published under a second name, and a segment."""
    for name in (PART, SEGMENT):
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(range(200)) + name.encode())
    version = tmp_path / "project" / "data" / ".published" / "0" / PART
    version.parent.mkdir(parents=True)
    os.link(tmp_path / "project" / PART, version)
    return tmp_path / "project"


def judged(root: Path, reader: str, ended: Ended, given: object = OTHER, right: object = RIGHT,
           place: str = PART) -> str:
    kind = BY_KIND["segments" if place == SEGMENT else "parts"]
    return _judged(Case(kind, "flipped", reader, 0), names(root, root / place), ended, given, right)[0]


@pytest.mark.parametrize(("reader", "said"), [
    ("sql", ""),
    ("list", ""),
    ("sql", "materials: 40 rows, 0 computed, 40 reused, 0 rejected"),
    ("ingest", f"wrote {PART}"),
    ("sql", "warning: data/features/splits/part-00000-of-2.parquet is damaged"),
    ("sql", "warning: data/features/materials looks odd"),
])
def test_another_answer_without_a_line_on_the_file_is_silent(root: Path, reader: str, said: str) -> None:
    assert judged(root, reader, Ended(OK, OTHER, f"{said}\n")) == SILENT


def test_what_a_query_prints_names_nothing(root: Path) -> None:
    said = f"{OTHER}warning: {PART} is damaged\n"
    assert judged(root, "sql", Ended(OK, said, ""), said) == SILENT
    assert judged(root, "plan", Ended(OK, said, ""), said) == ""
    assert judged(root, "plan", Ended(OK, "split  data/features/materials is modified\n", "")) == ""
    assert judged(root, "plan", Ended(OK, "split  data/features/splits is modified\n", "")) == SILENT


def test_other_files_are_silent_too(root: Path) -> None:
    said = "materials: 40 rows, 0 computed, 40 reused, 0 rejected\n"
    assert judged(root, "ingest", Ended(OK, "", said), {PART: b"a"}, {PART: b"b"}, SEGMENT) == SILENT
    dropped = "materials: 1 damaged segment is dropped, its rows are computed again\n"
    assert judged(root, "ingest", Ended(OK, "", dropped), {PART: b"a"}, {PART: b"b"}, SEGMENT) == ""


@pytest.mark.parametrize(("code", "line", "kind"), [
    (SAID, f"error: {PART} is damaged (sum); `python -m pipelines repair` mends it", ""),
    (SAID, "error: part-00000.parquet cannot be read", ""),
    (SAID, f"error: data/.published/0/{PART} is damaged", ""),
    (SAID, "error: something is damaged", UNNAMED),
    (SAID, "error: data/features/splits/sums.json is damaged", UNNAMED),
    (SAID, "error: data/features/splits/part-00000.parquet is damaged", UNNAMED),
    (TRACEBACK, f"Traceback (most recent call last):\nValueError: {PART}", TRACEBACKS),
    (OK, f"warning: {PART} is damaged", ""),
])
def test_an_error_names_the_file(root: Path, code: int, line: str, kind: str) -> None:
    assert judged(root, "sql", Ended(code, "", f"{line}\n"), "") == kind


def test_the_right_answer_needs_no_line(root: Path) -> None:
    assert judged(root, "sql", Ended(OK, RIGHT, ""), RIGHT) == ""


def test_a_flip_is_under_both_names_and_keeps_the_times(root: Path) -> None:
    twin = copy(root, root.with_name("twin"))
    part, version = twin / PART, twin / "data" / ".published" / "0" / PART
    part.chmod(0o444)
    before, content = part.stat(), part.read_bytes()
    _flip(part, random.Random(0), (0.0, 1.0))
    after = part.stat()
    assert part.read_bytes() == version.read_bytes() != content
    assert (after.st_ino, after.st_mtime_ns, after.st_size, after.st_mode) == \
        (before.st_ino, before.st_mtime_ns, before.st_size, before.st_mode)
    assert (root / PART).read_bytes() == content
