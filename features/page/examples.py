"""Example queries with the answers that the tables of a page give."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pyarrow as pa
import yaml

from features import catalog
from features.errors import UserError
from features.printing import ITEMS
from features.store.sums import Damaged

TEXT = 200
"""Characters of an answer's text that are shown."""


@dataclass(frozen=True)
class Example:
    """A question, in words and in SQL."""

    title: str
    table: str
    """Under which it stands."""
    needs: tuple[str, ...]
    """Tables that must be there and have rows."""
    sql: str


@dataclass(frozen=True)
class Answer:
    """What came of it."""

    example: Example
    names: list[str]
    numbers: list[bool]
    """Whether a column is one of numbers."""
    rows: list[list[str]]
    refusal: str = ""
    """Why there is none: earlier revisions have not all of the columns."""


def all_examples() -> list[Example]:
    """Those of `examples.yaml`, in its order."""
    read = yaml.safe_load((resources.files("features.page") / "examples.yaml").read_text(encoding="utf-8"))
    return [Example(one["title"], one["table"], tuple(one["needs"]), one["sql"].strip()) for one in read]


def answers(where: Path, filled: Collection[str]) -> list[Answer]:
    """Answers of all examples whose tables are among those that have rows, or why one has none. Raises `Damaged`."""
    return [_answer_or_why(where, example) for example in all_examples() if set(example.needs) <= set(filled)]


def _answer_or_why(where: Path, example: Example) -> Answer:
    try:
        return answer(where, example)
    except Damaged:
        raise
    except UserError as error:
        return Answer(example, [], [], [], str(error))


def answer(where: Path, example: Example) -> Answer:
    """The answer that the tables of a project folder give. Raises `UserError` with DuckDB's own words."""
    found = catalog.query(where, example.sql)
    numbers = [bool(pa.types.is_integer(one.type) or pa.types.is_floating(one.type) or pa.types.is_decimal(one.type))
               for one in found.schema]
    return Answer(example, found.column_names, numbers,
                  [[_cell(value) for value in row.values()] for row in found.to_pylist()])


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return ", ".join(map(_cell, value[:ITEMS])) + (" …" if len(value) > ITEMS else "")
    text = str(value)
    return text if len(text) <= TEXT else f"{text[:TEXT].rsplit(' ', 1)[0]} …"
