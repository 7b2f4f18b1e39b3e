"""Feature view `structures`: a crystal as tensors, with the neighbour list that CrystalFormer's attention sums over.

For every ordered pair of atoms (i, j) of the cell the list holds the images n with r² − r²_min < `reach`, where
r = |p_j + n·L − p_i| and r_min is the pair's nearest image (Taniai et al., ICLR 2024, restated in
`model/encoders/crystalformer.py`). The weight of an image in the attention is exp(−(r² − r²_min)/2σ²) relative to
the nearest one and σ < 1.98 Å, so every image left out weighs less than exp(−reach/7.84 Å²).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from features import crystal
from features.errors import RowError
from features.params import Section
from features.view import FeatureView, column, rowwise

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("lattice", pa.list_(pa.float64()), "lattice vectors as rows of a 3×3 matrix, flattened", "Å"),
    column("frac_coords", pa.list_(pa.float64()), "fractional coordinates, [nsites × 3] flattened"),
    column("atomic_numbers", pa.list_(pa.int16()), "atomic numbers, [nsites]"),
    column("edge_i", pa.list_(pa.int16()), "index of the central atom of each neighbour, sorted by (i, j, distance)"),
    column("edge_j", pa.list_(pa.int16()), "index of the neighbour atom in the cell"),
    column("edge_distance", pa.list_(pa.float32()), "distance of each neighbour image", "Å"),
])


class TensorizeParams(Section):
    """Section `tensorize`."""

    reach: float = Field(default=60.0, ge=10.0, le=200.0)
    """Images with r² − r²_min below this (Å²) are kept; 60 leaves out weights below 0.05 %, 40 below 0.6 %."""
    max_sites: int = Field(default=300, ge=1, le=2000)
    """Crystals with more atoms are rejected: the pairs grow with the square."""
    timeout_s: float = Field(default=120.0, gt=0, json_schema_extra={"runtime": True})
    """Longest time for one crystal."""


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: TensorizeParams) -> dict[str, Any]:
    """Tensors of one canonical crystal."""
    return {"material_id": unit["material_id"], **tensors(unit["cif"], params)}


def tensors(cif: str, params: TensorizeParams) -> dict[str, Any]:
    """The columns of this view, except the id, as arrays. Raises `RowError` for a crystal that is too large."""
    structure = crystal.from_cif(cif)
    if len(structure) > params.max_sites:
        raise RowError("too_large", f"{len(structure)} atoms; tensorize.max_sites is {params.max_sites}")
    lattice = np.asarray(structure.lattice.matrix, float)
    fractions = np.asarray(structure.frac_coords, float)
    i, j, distance = neighbour_images(lattice, fractions, params.reach)
    return {
        "lattice": lattice.ravel(),
        "frac_coords": fractions.ravel(),
        "atomic_numbers": np.array(structure.atomic_numbers, np.int16),
        "edge_i": i.astype(np.int16),
        "edge_j": j.astype(np.int16),
        "edge_distance": distance.astype(np.float32),
    }


def neighbour_images(
    lattice: NDArray[np.float64], fractions: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """All images of every ordered pair with r² − r²_min < reach, as (i, j, distance), sorted.

    Args:
        lattice: `[3, 3]`, rows are the lattice vectors in Å.
        fractions: `[n, 3]`.
        reach: in Å².

    The images searched are all n with |n_k| ≤ ⌈R/h_k⌉ + 1, where h_k is the distance of the lattice planes and R the
    radius that must be covered: no image within it can be missed, however skewed the cell.
    """
    gaps = fractions[None, :, :] - fractions[:, None, :]
    gaps -= np.floor(gaps + 0.5)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    # The wrapped gap is a bound on the nearest image, so this radius covers every image that is wanted.
    nearest = np.linalg.norm(gaps @ lattice, axis=-1).max()
    radius = np.sqrt(nearest**2 + reach)
    counts = np.ceil(radius / heights).astype(int) + 1
    images = np.stack(np.meshgrid(*(np.arange(-c, c + 1) for c in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    shifts = images @ lattice
    parts: list[tuple[Any, Any, Any]] = []
    for atom in range(len(fractions)):  # one central atom at a time: memory stays at n × images
        vectors = (gaps[atom] @ lattice)[:, None, :] + shifts[None]
        squared = np.einsum("jnk,jnk->jn", vectors, vectors)
        keep = squared - squared.min(axis=1, keepdims=True) < reach
        j, n = np.nonzero(keep)
        values = squared[j, n]
        order = np.lexsort((values, j))
        parts.append((np.full(len(j), atom), j[order], np.sqrt(values[order])))
    i, j, distance = (np.concatenate(column) for column in zip(*parts, strict=True))
    return i, j, distance


VIEW = FeatureView(
    name="structures",
    stage="tensorize",
    key=("material_id",),
    inputs={"materials": ("material_id", "cif")},
    schema=SCHEMA,
    version=1,
    params=TensorizeParams,
    compute=compute,
    libraries=("pymatgen-core",),
    batch_size=64,
    timeout_s=lambda params: params.timeout_s,
    preload=("pymatgen.core",),
)
