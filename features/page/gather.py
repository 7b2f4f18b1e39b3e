"""What a page says of each table, as plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from features import about, contract, profiles
from features.catalog import meanings
from features.page import examples
from features.page.examples import Answer
from features.store import tables, versions

SHOWN = 50
"""Reasons of rejects that are shown."""


@dataclass(frozen=True)
class Column:
    """A column, or an entry of a map of numbers."""

    name: str
    type: str
    unit: str
    description: str
    rules: list[str]
    profile: dict[str, Any]
    """Its row of the table `profiles`."""


@dataclass(frozen=True)
class Table:
    """One table."""

    name: str
    meaning: str
    rows: int
    parts: int
    bytes: int
    origin: about.Origin
    downstream: list[str]
    """Tables whose stages read it."""
    same_crystals: list[str]
    """Tables that it is joined to by `material_id`."""
    columns: list[Column]
    rules: list[str]
    """Promises that are not of one column."""
    answers: list[Answer]


@dataclass(frozen=True)
class Reason:
    """Rejects of one view for one reason."""

    view: str
    error: str
    crystals: int
    example: str
    message: str


def all_tables(where: Path) -> list[Table]:
    """The tables of a project folder, upstream before downstream; of those that belong to no version none."""
    parts = {name: files for name, files in about.parts(where).items() if name not in versions.APART}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in profiles.read(where).to_pylist():
        found.setdefault(row["table_name"], []).append(row)
    if profiles.NAME in parts:  # it cannot tell its own numbers
        found[profiles.NAME] = profiles.profile(where, profiles.NAME)
    origins = {name: about.origin(where, name, files) for name, files in parts.items()}
    if profiles.NAME in parts:  # what dvc.lock said of its stage when that began, if anything, is of an earlier version
        of = tuple(sorted({*parts} - {profiles.NAME, tables.REJECTS}))
        origins[profiles.NAME] = replace(origins[profiles.NAME], stage="publish", upstream=of)
    filled = [name for name, files in parts.items() if any(map(tables.rows, files))]
    answers = examples.answers(where, filled)
    crystals = [name for name, files in parts.items() if "material_id" in tables.schema_of(files[0]).names]
    return [Table(
        name=name, meaning=meanings.meaning(name), rows=sum(map(tables.rows, parts[name])), parts=len(parts[name]),
        bytes=sum(path.stat().st_size for path in parts[name]), origin=origins[name],
        downstream=[other for other in parts if name in origins[other].upstream],
        same_crystals=[other for other in crystals if other != name] if name in crystals else [],
        columns=_columns(name, parts[name][0], found.get(name, [])),
        rules=[rule.rule for rule in contract.rules(name) if rule.column is None],
        answers=[answer for answer in answers if answer.example.table == name],
    ) for name in in_order({name: origin.upstream for name, origin in origins.items()})]


def in_order(upstream: dict[str, tuple[str, ...]]) -> list[str]:
    """Names of tables, each after those that it is made from; else in the order of the alphabet."""
    ordered: list[str] = []
    left = sorted(upstream)
    while left:
        name = next((name for name in left if not set(upstream[name]) & set(left) - {name}), left[0])
        ordered.append(name)
        left.remove(name)
    return ordered


def _columns(name: str, path: Path, rows: list[dict[str, Any]]) -> list[Column]:
    fields = {field.name: field for field in tables.schema_of(path)}
    said = contract.rules(name)
    columns = []
    for row in rows:
        field = fields.get(row["column_name"])
        columns.append(Column(row["column_name"], row["type"], row["unit"] or "",
                              about.text(field, "description") if field is not None else "a property of the source",
                              [rule.rule.removeprefix(f"{rule.column} is ") for rule in said
                               if rule.column == row["column_name"]], row))
    return columns


def rejects(where: Path) -> list[Reason]:
    """Why rows are missing, the most frequent reasons first."""
    files = about.parts(where).get(tables.REJECTS, [])
    rows = tables.read_parts(files).to_pylist() if files else []
    counts = Counter((row["view"], row["error"]) for row in rows)
    first = {(row["view"], row["error"]): row for row in reversed(rows)}
    return [Reason(*key, count, first[key]["material_id"], first[key]["message"])
            for key, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))][:SHOWN]
