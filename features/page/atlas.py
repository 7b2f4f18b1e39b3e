"""A map of all crystals: those with similar descriptions lie near each other, coloured by what is known of them.

The place is that of the vector of the description on the two directions in which these vectors differ most (principal
components). Two numbers cannot say what 384 do: how much of the differences they hold stands beside the map.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features import about, vectors
from features.errors import UserError
from features.store import tables

MOST = 20_000
"""Crystals that a page holds: 2 MB. Of more, as many are taken evenly from the order of the part files, which is that
of a hash of their ids."""
ERROR = "test prediction error"
"""Of test crystals alone: the model was trained, or chosen, on the others."""


def atlas(where: Path) -> dict[str, Any]:
    """Ids, formulas, places and values of crystals, for the script of the page. Raises `UserError` without vectors."""
    ids, matrix = vectors.pooled(where)
    if len(ids) < 3:
        raise UserError(f"--map needs vectors of at least three descriptions; there are {len(ids)}")
    taken = np.arange(len(ids)) if len(ids) <= MOST else np.linspace(0, len(ids) - 1, MOST).astype(int)
    ids = [ids[place] for place in taken]
    places, share = principal(np.asarray(matrix[taken], np.float32))
    crystals = _by_id(where, about.CRYSTALS, ids)
    columns = {field.name: field for field in crystals.schema if pa.types.is_floating(field.type)}
    values = {name: crystals[name] for name in columns}
    units = {name: about.text(field, "unit") for name, field in columns.items()}
    if tables.exists(where, "predictions"):
        said = _by_id(where, "predictions", ids)
        if {"split", "target", "value_fused", "value_true"} <= {*said.column_names}:  # not so in earlier revisions
            target = next((name for name in said["target"].to_pylist() if name), "")
            errors = pc.abs(pc.subtract(said["value_fused"], said["value_true"]))
            values = {ERROR: pc.if_else(pc.equal(said["split"], "test"), errors, None), **values}
            units[ERROR] = units.get(target, "")
    shown = {name: [None if value is None else float(f"{value:.4g}") for value in column.to_pylist()]
             for name, column in values.items() if pc.count_distinct(column).as_py() > 1}
    return {"ids": ids, "formulas": crystals["reduced_formula"].to_pylist(), "x": places[:, 0].round(4).tolist(),
            "y": places[:, 1].round(4).tolist(), "values": shown,
            "units": {name: units[name] for name in shown},
            "share": [round(float(part), 3) for part in share]}


def principal(matrix: NDArray[np.float32]) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Places on the first two principal components, `[n, 2]`, and the share of the variance that each holds.

    Each direction points to where its largest coordinate is positive, so that a page does not flip.
    """
    centred = matrix - matrix.mean(axis=0, dtype=np.float64).astype(np.float32)
    variances, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(matrix))
    best = directions[:, ::-1][:, :2]
    best = best * np.sign(best[np.abs(best).argmax(axis=0), [0, 1]])
    return centred @ best, variances[::-1][:2] / max(float(variances.sum()), 1e-300)


def _by_id(where: Path, name: str, ids: list[str]) -> pa.Table:
    """Rows of a table in the order of ids; empty ones where it has none."""
    schema = tables.schema(where, name)
    wanted = [field.name for field in schema if pa.types.is_floating(field.type)
              or field.name in ("material_id", "reduced_formula", "split", "target")]
    read = tables.read(where, name, wanted)
    return read.take(pc.index_in(pa.array(ids, pa.string()), value_set=read["material_id"].combine_chunks()))
