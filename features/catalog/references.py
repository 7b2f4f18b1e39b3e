"""Whether the rows of tables fit those of other tables: which crystals, and made from what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import contract, profiles
from features.catalog import inputs
from features.catalog.problem import Problem, counted, of_parts, parts_promised
from features.paths import Paths
from features.rules import shown
from features.store import tables
from features.store.sums import Damaged
from features.view import FeatureView, only_input

SAME_VOLUME = 1e-3
"""Relative; far more than the digits of `materials` leave open."""


def has(root: Path, name: str, columns: tuple[str, ...]) -> bool:
    """Whether a table has these columns."""
    return set(columns) <= set(tables.schema(root, name).names)


def strangers(root: Path, name: str, unreadable: Collection[str] = ()) -> Iterator[Problem]:
    """Rows of a table that is no view, such as predictions, that were made from other crystals than there are."""
    key, rules = ((), ()) if (promised := contract.of(name)) is None else (promised.key, promised.rules)
    for rule in rules:
        upstream = rule.refers
        if upstream and upstream not in unreadable and tables.exists(root, upstream) and has(
                root, name, (*rule.needs, *key)):
            yield from _without(root, name, tables.read(root, upstream, rule.needs), rule.needs, key, upstream)


def orphans(root: Path, view: FeatureView[Any]) -> Iterator[Problem]:
    """Rows that belong to no unit. A unit has those columns of the key that its rows share."""
    if not view.inputs or not all(tables.exists(root, upstream) for upstream in view.inputs):
        return
    # units that are the rows of one table have its columns, so the key is enough: crystals and texts stay on disk
    units = view.units({upstream: tables.read(root, upstream, [name for name in columns
                                                               if view.units is not only_input or name in view.key])
                        for upstream, columns in view.inputs.items()})
    shared = tuple(name for name in view.key if name in units.column_names)
    yield from _without(root, view.name, units, shared, view.key, " or ".join(view.inputs))


def _without(root: Path, name: str, there: pa.Table, shared: tuple[str, ...], key: tuple[str, ...],
             upstream: str) -> Iterator[Problem]:
    """Rows of a table whose columns `shared` are those of no row of another one."""
    keys = tables.read(root, name, list(dict.fromkeys((*key, *shared))))
    numbers = numbered(pa.concat_tables([keys.select(list(shared)), there.select(list(shared))]))
    places = np.flatnonzero(~np.isin(numbers[:len(keys)], numbers[len(keys):]))
    if not len(places):
        return
    counts = [tables.rows(path) for path in tables.files(root, name)]
    part = int(np.searchsorted(np.cumsum(counts), places[0], side="right"))
    ids = tuple(shown([keys[column][int(place)].as_py() for column in key]) for place in places[:contract.SAMPLES])
    yield Problem(name, f"{counted(len(places), 'row is', 'rows are')} not in {upstream}; run `dvc repro`",
                  tables.files(root, name)[part].name, int(places[0]) - sum(counts[:part]), ids)


def numbered(rows: pa.Table) -> NDArray[np.int64]:
    """A number for each row, equal for equal rows. Arrow's groups, joins and `to_numpy` import pandas, which takes
    longer than all else that is asked of few columns."""
    numbers = np.zeros(len(rows), np.int64)
    for column in rows.columns:
        encoded = column.combine_chunks().dictionary_encode("encode")
        numbers = numbers * len(encoded.dictionary) + np.asarray(np.from_dlpack(encoded.indices), np.int64)
    return numbers


def volumes(root: Path) -> Iterator[Problem]:
    """Lattices that span another volume than `materials` says."""
    volumes = tables.read(root, "materials", ["material_id", "volume"])
    said = dict(zip(volumes["material_id"].to_pylist(), volumes["volume"].to_pylist(), strict=True))
    others: list[tuple[str, int, str]] = []
    for path in tables.files(root, "structures"):
        for place, row in enumerate(tables.read_parts([path], ["material_id", "lattice"]).to_pylist()):
            lattice, expected = row["lattice"] or (), said.get(row["material_id"])
            if expected and len(lattice) == 9 and None not in lattice:  # else another rule is about it
                volume = abs(np.dot(np.cross(lattice[:3], lattice[3:6]), lattice[6:]))
                if abs(volume - expected) > SAME_VOLUME * expected:
                    others.append((path.name, place, shown([row["material_id"]])))
    if others:
        yield Problem("structures", f"{counted(len(others), 'lattice spans', 'lattices span')} another volume (Å³) "
                      "than materials has", *others[0][:2], tuple(name for *_, name in others[:contract.SAMPLES]))


def made_from_others(root: Path, view: FeatureView[Any]) -> Iterator[Problem]:
    """Parts that were made from other upstream rows than there are, by the digests of their fingerprints."""
    if not all(tables.exists(root, upstream) for upstream in view.inputs):
        return
    files = tables.files(root, view.name)
    if parts_promised(files, [tables.footer(path) for path in files]) != len(files):
        return  # each digest is of the rows of a part of so many
    others = [path.name for path, is_so in inputs.digests(root, view) if not is_so]
    what = f"it was made from other rows of {' and '.join(view.inputs)} than there are"
    yield from of_parts(view.name, {what: others} if others else {}, "; run `dvc repro`")


def rejects(root: Path, view: FeatureView[Any]) -> Iterator[Problem]:
    """Rejects of crystals that are rows too, where a crystal is one or the other."""
    path = Paths(root).rejects(view.name)
    if not path.exists():
        return
    try:
        rejects = tables.read_parts([path]).to_pylist()
    except Damaged as damaged:
        yield Problem(view.name, str(damaged), f"rejects/{path.name}")
        return
    kinds = Counter(row["view"] for row in rejects if row["view"] != view.name)
    for kind, count in kinds.items():
        called = counted(count, "of its rejects is called one", "of its rejects are called those")
        yield Problem(view.name, f"{called} of {kind}", f"rejects/{path.name}")
    if view.units is not only_input:  # a text of a crystal may be a reject while another is a row
        return
    # of entries with one id the first is the row, and the others are rejects
    ids = {row["material_id"]: place for place, row in enumerate(rejects) if row["error"] != "duplicate"}
    rows = tables.read(root, view.name, ["material_id"])["material_id"]
    both = sorted(ids.keys() & set(rows.to_pylist()))
    if both:
        yield Problem(view.name, counted(len(both), "reject is a row too", "rejects are rows too"),
                      f"rejects/{path.name}", ids[both[0]], tuple(both[:contract.SAMPLES]))


def of_profiles(root: Path) -> Iterator[Problem]:
    """Profiles that were made of other tables than there are."""
    part, *more = tables.files(root, profiles.NAME)
    for other in more:
        yield Problem(profiles.NAME, "profiles have one part, and this is one too many", other.name)
    told, there = tables.footer(part).get("tables", {}), profiles.digests(root)
    if others := sorted(name for name in {*told, *there} if told.get(name) != there.get(name)):
        yield Problem(profiles.NAME, f"it is of other tables than there are: {', '.join(others)}; run `dvc repro`",
                      part.name)
