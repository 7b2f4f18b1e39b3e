"""What a training set is asked to be: which targets, columns, splits and crystals, as the tables have them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import UserError
from features.store import chosen, tables
from features.views.materials import PROPERTIES

SPLITS = ("train", "validation", "test")
Placed = tuple[str | None, int | None, str | None]
"""Group, fold and split of a crystal."""


def read_targets(folder: Path, target: str) -> dict[str, float]:
    """A numeric property of every crystal that has one, by its id.

    Raises `UserError` if no crystal has it, or if a value is no finite number.
    """
    table = tables.read(folder, "materials", ["material_id", target if target in PROPERTIES else "other_properties"])
    values = table.column(1)
    if target not in PROPERTIES:
        values = pc.map_lookup(values, pa.scalar(target), "first")
    known = values.is_valid()
    ids, values = table["material_id"].filter(known), values.filter(known)
    if not len(ids):
        raise UserError(f"no crystal has '{target}'; there is {', '.join(_properties(folder)) or 'no property at all'}")
    finite = np.isfinite(values.to_numpy())
    if not finite.all():
        wrong = int(finite.argmin())
        raise UserError(f"{target} of {ids[wrong]} is {values[wrong]}, which is no number to learn "
                        f"({int((~finite).sum())} such crystals)")
    return dict(zip(ids.to_pylist(), values.to_pylist(), strict=True))


def _properties(folder: Path) -> list[str]:
    """Those that any crystal has."""
    table = tables.read(folder, "materials", [*PROPERTIES, "other_properties"])
    others = pc.unique(table["other_properties"].combine_chunks().keys).to_pylist()
    return [*(name for name in PROPERTIES if len(table) > table[name].null_count), *sorted(others)]


def columns_of(folder: Path, views: Sequence[str]) -> dict[str, list[str]]:
    """The columns of each table that are asked for, without its key."""
    there = tables.names(folder)
    wanted: dict[str, list[str]] = {}
    for asked in views:
        name, _, one = asked.partition(".")
        if name not in there:
            raise UserError(f"no table '{name}'; there are: {', '.join(there) or 'none yet'}")
        names = [field for field in tables.schema(folder, name).names if field not in (chosen.ID, chosen.VARIANT)]
        if chosen.ID not in tables.schema(folder, name).names:
            raise UserError(f"the rows of {name} belong to no crystals")
        if one and one not in names:
            raise UserError(f"no column '{one}' in {name}; there are: {', '.join(names)}")
        wanted[name] = list(dict.fromkeys([*wanted.get(name, ()), *([one] if one else names)]))
    if not wanted:
        raise UserError("a training set needs a view")
    return wanted


def splits_of(folder: Path, split: str | Mapping[str, str] | None) -> dict[str, Placed]:
    """Group, fold and split of each crystal.

    `split`: None is the table `splits`; `fold-N` tests fold N of it, validates on the next and trains on the others; or
    the split of each crystal by its id.
    """
    columns = tables.read(folder, "splits", ["material_id", "group", "fold", "split"]).to_pydict()
    own = {i: (group, fold, part) for i, group, fold, part in zip(*columns.values(), strict=True)}
    if split is None:
        return own
    if isinstance(split, str):
        folds = max(columns["fold"], default=-1) + 1
        number = int(split[5:]) if split.startswith("fold-") and split[5:].isdecimal() else folds
        if number >= folds:
            raise UserError(f"no split '{split}'; there are: " + ", ".join(f"fold-{one}" for one in range(folds)))
        part = {number: "test", (number + 1) % folds: "validation"}
        return {i: (group, fold, part.get(fold, "train")) for i, (group, fold, _) in own.items()}
    if wrong := next((i for i, part in split.items() if part not in SPLITS), None):
        raise UserError(f"the split of {wrong} is '{split[wrong]}', not train, validation or test")
    return {i: (*own.get(i, (None, None, None))[:2], part) for i, part in split.items()}


def fulfilling(folder: Path, where: str) -> list[str]:
    """Ids of the crystals that fulfil a condition in SQL on the columns of `materials`; of all without one."""
    ids: list[str]
    if not where:
        ids = tables.read(folder, "materials", ["material_id"])["material_id"].to_pylist()
        return ids
    from features import catalog

    _check_condition(where)
    query = f"select material_id from materials where ({where}\n)"  # noqa: S608 (one expression, checked)
    ids = catalog.query(folder, query)["material_id"].to_pylist()
    return ids


def _check_condition(where: str) -> None:
    """Raise `UserError` for what is not one expression in SQL, such as one that ends the parentheses around it."""
    import duckdb

    queries = [f"select ({text}\n)" for text in (where, "true")]
    try:
        with duckdb.connect(":memory:") as connection:
            parsed = [json.loads(connection.execute("select json_serialize_sql(?)", [one]).fetchall()[0][0])
                      for one in queries]
    except (duckdb.Error, RecursionError) as error:  # no text in UTF-8, or nested too deeply
        raise UserError(f"the condition on materials cannot be read: {' '.join(str(error).split())}") from None
    if parsed[0]["error"]:
        raise UserError(f"the condition '{where}' is no SQL: {' '.join(parsed[0]['error_message'].split())}")
    nodes = [[statement["node"] for statement in tree["statements"]] for tree in parsed]
    columns = [[node.pop("select_list", ()) for node in statements] for statements in nodes]
    if nodes[0] != nodes[1] or len(columns[0][0]) != 1:  # more than the list of what is selected, or more than one
        raise UserError(f"the condition '{where}' is not one expression in SQL")


def version_of(folder: Path, table: str) -> int:
    """The version of a table's view when its rows were made; 0 for a table that does not say."""
    return int(tables.footer(tables.files(folder, table)[0]).get("version", 0))
