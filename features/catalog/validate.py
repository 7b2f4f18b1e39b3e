"""Whether the tables are what their views say they are."""

from __future__ import annotations

from pathlib import Path

from features import registry
from features.errors import UserError
from features.paths import Paths
from features.store import tables


def check(root: Path) -> int:
    """Check every table against its view: schema, version, unique keys, no row without its upstream row.

    Returns how many tables there are. Raises `UserError` with all that is wrong.
    """
    problems = []
    checked = 0
    for view in registry.all_views():
        if not tables.exists(root, view.name):
            continue
        checked += 1
        found = tables.schema(root, view.name)
        if not found.equals(view.schema):
            problems.append(f"{view.name}: columns differ from the view's; rerun `python -m pipelines {view.stage}`")
            continue
        keys = tables.read(root, view.name, view.key)
        if keys.group_by(list(view.key)).aggregate([]).num_rows != len(keys):
            problems.append(f"{view.name}: a key occurs twice")
        version = tables.footer(tables.files(root, view.name)[0]).get("version")
        if version != view.version:
            problems.append(f"{view.name}: version {version} on disk, {view.version} in the code")
        for upstream in view.inputs:
            if not tables.exists(root, upstream):
                continue
            strangers = set(keys["material_id"].to_pylist()) - set(
                tables.read(root, upstream, ["material_id"])["material_id"].to_pylist())
            if strangers and view.name != "text_embeddings":
                problems.append(f"{view.name}: {len(strangers)} rows are not in {upstream}; run `dvc repro`")
    if not checked:
        raise UserError(f"there are no tables under {Paths(root).features} yet; run `dvc repro` to make them")
    if problems:
        raise UserError("; ".join(problems))
    return checked
