"""Errors of the test crystals by what they are: element, crystal system, space group, prototype, size, chemistry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from features.paths import Paths
from features.store import tables
from model.chemistry import ORDER, SIZES, chemistry, sizes
from model.evaluation.metrics import bootstrap
from model.params import EvaluateParams

COLUMNS = ("material_id", "reduced_formula", "elements", "nsites", "space_group", "crystal_system")
"""Columns of `materials` that this reads."""
SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")


def read_crystals(root: Path, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What these crystals are, by id: `COLUMNS`, and the `mineral` that the description names, where there is one."""
    found = {row["material_id"]: {**row, "mineral": None}
             for row in tables.read(root, "materials", COLUMNS, ids).to_pylist()}
    if Paths(root).table("descriptions").is_dir():  # a model without text needs none
        for row in tables.read(root, "descriptions", ["material_id", "mineral"], ids).to_pylist():
            found[row["material_id"]]["mineral"] = row["mineral"]
    return found


def by_group(rows: Sequence[Mapping[str, Any]], crystals: Mapping[str, Mapping[str, Any]],
             params: EvaluateParams) -> dict[str, list[dict[str, Any]]]:
    """Errors in the learned unit: for each way to group crystals its groups.

    Each has `name`, `crystals`, `mae` with `low` and `high` (bootstrapped; None below `cautions.FEW` crystals),
    `bias`, the mean of predicted minus true, and `held`, the share of true values inside their intervals.

    Args:
        rows: test crystals as in the table `predictions`.
        crystals: what they are, by id.
        params: of the bootstrap.
    """
    members: dict[str, dict[str, list[int]]] = {way: defaultdict(list) for way in (
        "element", "crystal system", "space group", "prototype", "size", "chemistry")}
    for number, row in enumerate(rows):
        crystal = crystals[row["material_id"]]
        for element in crystal["elements"]:
            members["element"][element].append(number)
        members["crystal system"][crystal["crystal_system"]].append(number)
        members["space group"][crystal["space_group"]].append(number)
        members["prototype"][crystal["mineral"] or "none"].append(number)
        members["size"][next(iter(sizes([crystal["nsites"]])))].append(number)
        members["chemistry"][chemistry(crystal["elements"])].append(number)
    errors = np.array([row["y_fused"] - row["y_true"] for row in rows])
    held = np.array([float(row["y_low"] <= row["y_true"] <= row["y_high"]) if np.isfinite(row["y_high"]) else np.nan
                     for row in rows])
    orders = {"crystal system": SYSTEMS, "size": tuple(SIZES), "chemistry": ORDER}
    result = {}
    for way, groups in members.items():
        order = {name: place for place, name in enumerate(orders.get(way, ()))}
        names = sorted(groups, key=lambda name: (order.get(name, len(order)), -len(groups[name]), name))
        result[way] = [_group(name, errors[groups[name]], held[groups[name]], params) for name in names]
    return result


def _group(name: str, errors: Any, held: Any, params: EvaluateParams) -> dict[str, Any]:
    low, high = bootstrap(np.abs(errors), params)
    return {"name": name, "crystals": len(errors), "mae": float(np.abs(errors).mean()), "low": low, "high": high,
            "bias": float(errors.mean()), "held": float(held.mean()) if np.isfinite(held).all() else None}
