"""Whether the tables are what their views say they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features import registry
from features.errors import UserError
from features.paths import Paths
from features.store import tables
from features.view import FeatureView, only_input


def check(root: Path) -> int:
    """Check every table against its view: whole files, schema, version, unique keys, no row without its upstream row.

    Returns how many tables there are. Raises `UserError` with all that is wrong.
    """
    problems = [str(damage) for name in tables.names(root) for damage in tables.damages(root, name)]
    if problems:
        raise UserError("; ".join(problems))  # nothing else can be said of what cannot be read
    checked = 0
    for view in registry.all_views():
        if not tables.exists(root, view.name):
            continue
        checked += 1
        if not tables.schema(root, view.name).equals(view.schema):
            problems.append(f"{view.name}: columns differ from the view's; rerun `python -m pipelines {view.stage}`")
            continue
        keys = tables.read(root, view.name, view.key)
        if keys.group_by(list(view.key)).aggregate([]).num_rows != len(keys):
            problems.append(f"{view.name}: a key occurs twice")
        version = tables.footer(tables.files(root, view.name)[0]).get("version")
        if version != view.version:
            problems.append(f"{view.name}: version {version} on disk, {view.version} in the code")
        orphans = _orphans(view, root, keys)
        if orphans:
            problems.append(f"{view.name}: {orphans} rows are not in {' or '.join(view.inputs)}; run `dvc repro`")
    problems += _of_other_crystals(root)
    if not checked:
        raise UserError(f"there are no tables under {Paths(root).features} yet; run `dvc repro` to make them")
    if problems:
        raise UserError("; ".join(problems))
    return checked


def _of_other_crystals(root: Path) -> Iterator[str]:
    """Tables that are no views, such as predictions, and were made from other crystals than there are."""
    if not tables.exists(root, "materials"):
        return
    crystals = tables.read(root, "materials", ["material_id"])["material_id"]
    for name in sorted({*tables.names(root)} - {view.name for view in registry.all_views()}):
        if "material_id" in tables.schema(root, name).names:
            ids = tables.read(root, name, ["material_id"])["material_id"]
            if strangers := pc.sum(pc.invert(pc.is_in(ids, value_set=crystals))).as_py():
                yield f"{name}: {strangers} rows are not in materials; run `dvc repro`"


def _orphans(view: FeatureView[Any], root: Path, keys: pa.Table) -> int:
    """How many rows belong to no unit. A unit has those columns of the key that its rows share."""
    if not view.inputs or not all(tables.exists(root, upstream) for upstream in view.inputs):
        return 0
    # units that are the rows of one table have its columns, so the key is enough: crystals and texts stay on disk
    units = view.units({upstream: tables.read(root, upstream, [name for name in columns
                                                               if view.units is not only_input or name in view.key])
                        for upstream, columns in view.inputs.items()})
    shared = [name for name in view.key if name in units.column_names]
    return int(keys.join(units.select(shared), keys=shared, join_type="left anti").num_rows)
