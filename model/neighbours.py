"""Training crystals near a crystal, as the model sees them: by structure and by text.

The vector of a structure is the mean of its atoms' tokens in each structure network, one behind the other; that of a
text is the mean of its sentences' tokens in each network that reads one. Where only trees read the text, it is their
statistics of it, each divided by its standard deviation over the training crystals. Distances are Euclidean, divided by
the standard deviation of the distances between random training crystals. The vectors lie in `crystals.parquet` beside
the model, with the distance of each training crystal to the nearest other one: what lies further from all of them than
99 % of them from each other is unlike what was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.store import tables
from features.view import column
from model.checkpoint import Trained
from model.input import targets
from model.input.batch import StructureBatch, TextBatch
from model.input.loader import Dataset
from model.input.words import WordBatch
from model.nets.ensemble import Ensemble
from model.nets.trees import TextTrees
from model.params import TrainParams
from model.records import Neighbour

NAME = "crystals"
"""Of the companion file."""
View = Literal["structure", "text"]
VIEWS: tuple[View, ...] = ("structure", "text")
SAME = 0.001
"""Distance by structure below which a crystal of the same formula and space group is a training crystal. Cells that
another calculation relaxed anew lie further apart."""
UNLIKE = 0.99
"""Share of the training crystals that are nearer to another one than what is said to be unlike them."""
ASKED = 2000
"""Training crystals at most whose nearest other one is looked for, and that stand for all."""
PAIRS = 20_000
"""Random pairs of training crystals whose distances give the unit of distance."""
BATCH = 64
SCALE = b"scale"
"""Key of what the vectors were divided by, for each view, in the table's metadata."""
Floats = NDArray[np.float64]

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("reduced_formula", pa.string(), "reduced formula"),
    column("space_group", pa.string(), "Hermann-Mauguin symbol"),
    column("structure_hash", pa.string(), "sha256 of the canonical crystal"),
    column("value", pa.float64(), "target in its own unit; null if only a further target is known"),
    *(field for view in VIEWS for field in (
        column(view, pa.list_(pa.float32()), f"vector by {view}, in units of distance; null if there is none"),
        column(f"nearest_by_{view}", pa.float64(), "distance to the nearest other training crystal; null if it was "
               "not asked for"))),
])


@torch.no_grad()
def vectors(net: Ensemble, structure: StructureBatch, text: TextBatch | WordBatch) -> dict[View, Floats | None]:
    """`[crystals, dim]` of each view, not yet divided by anything; None where no member reads it.

    Rows of crystals without a text are not numbers.
    """
    by_structure: list[Tensor] = []
    by_text: list[Tensor] = []
    trees: TextTrees | None = None
    for kind, one in zip(net.kinds, net.networks(), strict=True):
        if isinstance(one, TextTrees):
            trees = one
            continue
        if kind in ("fused", "structure"):
            by_structure.append(one.structure_tokens(structure).mean())
        if kind in ("fused", "text"):
            tokens = one.text_branch(text, None)
            by_text.append(torch.where(tokens.present[:, None], tokens.mean(), torch.nan))
    if trees is not None and not by_text and isinstance(text, WordBatch):
        by_text.append(torch.where(text.mask.any(1, keepdim=True), trees.facts(text), torch.nan))
    found = dict(zip(VIEWS, (by_structure, by_text), strict=True))
    return {view: torch.cat(several, dim=1).double().cpu().numpy() if several else None
            for view, several in found.items()}


def table(root: Path, net: Ensemble, params: TrainParams, training: Dataset, device: torch.device) -> pa.Table:
    """The table that is saved beside the model, in the order of the training crystals."""
    made: dict[View, list[Floats]] = {view: [] for view in VIEWS}
    net.eval()
    for batch in training.batches(training.plan(BATCH)):
        found = vectors(net, batch.structure.to(device), batch.text.to(device))
        for view, values in found.items():
            if values is not None:
                made[view].append(values)
    columns = ["material_id", "reduced_formula", "space_group", "structure_hash"]
    material = {row["material_id"]: row for row in tables.read(root, "materials", columns, training.ids).to_pylist()}
    values = targets.untransform(training.targets, params.transform)
    result: dict[str, Any] = {name: [material[one][name] for one in training.ids] for name in columns}
    result["value"] = [float(value) if np.isfinite(value) else None for value in values]
    scales: dict[str, list[float]] = {}
    of_facts = not any(kind in ("fused", "text") for kind in net.kinds)
    for view, several in made.items():
        matrix = np.concatenate(several) if several else np.full((len(training), 0), np.nan)
        rows = np.flatnonzero(np.isfinite(matrix).all(axis=1) & (matrix.shape[1] > 0))
        scale = _scale(matrix[rows], each=view == "text" and of_facts)
        scales[view] = scale.tolist()
        scaled = (matrix / scale).astype(np.float32)
        nearest = dict(zip(*_nearest(scaled, rows), strict=True))
        known = set(rows.tolist())
        result[view] = [scaled[row].tolist() if row in known else None for row in range(len(training))]
        result[f"nearest_by_{view}"] = [nearest.get(row) for row in range(len(training))]
    made_table = pa.Table.from_pydict(result, schema=SCHEMA)
    return made_table.replace_schema_metadata({SCALE: json.dumps(scales).encode()})


def _scale(matrix: Floats, each: bool) -> Floats:
    """`[dim]`, what the vectors are divided by; with `each` every dimension by its own deviation first."""
    scale = matrix.std(axis=0) if each and len(matrix) else np.ones(matrix.shape[1])
    scale[scale == 0] = 1.0
    if len(matrix) < 3:
        return scale
    one, other = np.random.default_rng(0).integers(0, len(matrix), (2, PAIRS))
    apart = one != other
    spread = float(np.linalg.norm((matrix[one[apart]] - matrix[other[apart]]) / scale, axis=1).std())
    return scale * (spread or 1.0)


def _nearest(matrix: NDArray[np.float32], rows: NDArray[np.int64]) -> tuple[list[int], list[float]]:
    """Some of the rows, and the distance of each to the nearest other one of them."""
    if len(rows) < 2:
        return [], []
    asked = np.sort(np.random.default_rng(0).permutation(len(rows))[:ASKED])
    mine, result = matrix[rows], []
    for place in asked:
        distance = np.linalg.norm(mine - mine[place], axis=1)
        distance[place] = np.inf
        result.append(float(distance.min()))
    return rows[asked].tolist(), result


@dataclass(frozen=True)
class Neighbourhood:
    """The training crystals of a model, to ask for those near another crystal."""

    rows: pa.Table

    @classmethod
    def of(cls, trained: Trained) -> Self:
        """That of a model. Raises `UserError` if it is missing or damaged."""
        return cls(trained.companion(NAME))

    @cached_property
    def _scales(self) -> dict[str, Floats]:
        content = json.loads((self.rows.schema.metadata or {})[SCALE])
        return {view: np.array(scale) for view, scale in content.items()}

    @cached_property
    def _places(self) -> dict[str, NDArray[np.int64]]:
        """The crystals that have a vector, by view."""
        return {view: np.flatnonzero(self.rows[view].is_valid().to_numpy()) for view in VIEWS}

    @cached_property
    def _matrices(self) -> dict[str, NDArray[np.float32]]:
        return {view: np.array(self.rows[view].drop_null().to_pylist(), np.float32) for view in VIEWS}

    @cached_property
    def _known(self) -> dict[str, str]:
        return dict(zip(self.rows["structure_hash"].to_pylist(), self.rows["material_id"].to_pylist(), strict=True))

    @cached_property
    def limits(self) -> dict[str, float]:
        """By view, the distance to the nearest crystal that `UNLIKE` of the training crystals stay below."""
        found = {view: self.rows[f"nearest_by_{view}"].drop_null().to_numpy() for view in VIEWS}
        return {view: float(np.quantile(values, UNLIKE)) if len(values) else float("inf")
                for view, values in found.items()}

    def near(self, view: View, vector: Floats | None, many: int) -> tuple[Neighbour, ...]:
        """The nearest crystals, the nearest first; none where there is no vector. `vector`: a row of `vectors`."""
        matrix = self._matrices[view]
        if vector is None or not np.isfinite(vector).all() or not len(matrix):
            return ()
        distance = np.linalg.norm(matrix - (vector / self._scales[view]).astype(np.float32), axis=1)
        order = np.argsort(distance, kind="stable")[:many]
        chosen = self.rows.take(self._places[view][order]).select(
            ["material_id", "reduced_formula", "space_group", "value"]).to_pylist()
        return tuple(Neighbour(row["material_id"], row["reduced_formula"], row["space_group"], row["value"],
                               float(distance[place])) for row, place in zip(chosen, order, strict=True))

    def is_one(self, material: Mapping[str, Any], by_structure: Sequence[Neighbour]) -> str | None:
        """Id of the training crystal that a crystal is: the same canonical crystal, or else the nearest one if that has
        its formula and space group and lies within `SAME`."""
        known = self._known.get(material["structure_hash"])
        if known is not None:
            return known
        return next((one.material_id for one in by_structure if one.distance <= SAME
                     and (one.formula, one.space_group) == (material["reduced_formula"], material["space_group"])),
                    None)

    def unlike(self, view: View, near: Sequence[Neighbour]) -> str | None:
        """A warning, if the nearest crystal is further than `limits` allows."""
        if not near or near[0].distance <= self.limits[view]:
            return None
        what = "structure" if view == "structure" else "description"
        return (f"the {what} is unlike those trained on: the nearest, {near[0].material_id}, is {near[0].distance:.2g} "
                f"away, and 99 % of the training crystals have one within {self.limits[view]:.2g}")
