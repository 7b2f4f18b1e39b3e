"""Feature view `structures`: a crystal as tensors, with the neighbour lists that the structure encoders sum over.

Atoms that a symmetry operation carries into each other (an *orbit*) see the same distances, so every encoder gives
them the same token, and all lists are stored once per orbit, seen from its first atom. Nothing is lost by it, and a
crystal of the Materials Project has a third as many orbits as atoms.

*Images*, for CrystalFormer's attention: for every ordered pair of orbits (i, j) the images of all atoms of j around the
first atom of i with r² − r²_min < `reach`, where r_min is the nearest (Taniai et al., ICLR 2024, restated in
`model/nets/encoders/crystalformer.py`). The weight of an image is exp(−(r² − r²_min)/2σ²) relative to the nearest and
σ < 1.98 Å, so each image left out weighs less than exp(−reach/7.84 Å²), and all of them together at most about twice
the share `neglected` of the pair's weight.

*Neighbours*, for graph networks: the nearest images around each orbit, as vectors.

*Axes*, for angles: the shortest lattice vectors. Three that are independent can often be chosen in several ways, so
all that belong to some choice are kept, each with the share of the choices that hold it.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import spglib
from numpy.typing import NDArray
from pydantic import Field

from features import crystal
from features.errors import RowError
from features.params import LONGEST_S, Section
from features.rules import Mask, Rule, arrays, as_many, finite, largest, lengths, no_gaps, of_lists, present
from features.view import FeatureView, column, rowwise

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("lattice", pa.list_(pa.float64()), "lattice vectors as rows of a 3×3 matrix, flattened", "Å"),
    column("frac_coords", pa.list_(pa.float64()), "fractional coordinates, [nsites × 3] flattened"),
    column("atomic_numbers", pa.list_(pa.int16()), "atomic numbers, [nsites]"),
    column("orbit", pa.list_(pa.int16()), "orbit of each atom, numbered by first atoms, [nsites]"),
    column("edge_i", pa.list_(pa.int16()), "central orbit of each image, sorted by (i, j, distance)"),
    column("edge_j", pa.list_(pa.int16()), "orbit of the image"),
    column("edge_distance", pa.list_(pa.float32()), "distance of the image", "Å"),
    column("edge_count", pa.list_(pa.int16()), "number of images at this distance"),
    column("near_i", pa.list_(pa.int16()), "central orbit of each neighbour, sorted by (i, distance)"),
    column("near_j", pa.list_(pa.int16()), "orbit of the neighbour"),
    column("near_vector", pa.list_(pa.float32()), "from the orbit's first atom to the neighbour, [neighbours × 3] "
                                                  "flattened", "Å"),
    column("axis_vector", pa.list_(pa.float32()), "shortest lattice vectors, one of each ±, [axes × 3] flattened", "Å"),
    column("axis_weight", pa.list_(pa.float32()), "share of the choices of three that hold the axis; sums to 3"),
    column("n_edges", pa.int32(), "number of entries in the list of images"),
])

NUMBERS = ("lattice", "frac_coords", "edge_distance", "near_vector", "axis_vector", "axis_weight")
ORBITS = ("edge_i", "edge_j", "near_i", "near_j")
WIDEST_REACH = 200.0
"""Å², the largest that `reach` may be."""
DENSEST = 1.0
"""Å³ that an atom takes at least: in diamond 5.7, in hydrogen under the pressure of planets 2."""
DIGIT = 1e-3
"""Å; more than what single precision loses."""


def _of_sites(rows: pa.RecordBatch) -> Mask:
    sites = lengths(rows["atomic_numbers"])
    wrong: Mask = ((lengths(rows["lattice"]) != 9) | (sites < 1) | (lengths(rows["frac_coords"]) != 3 * sites)
                   | (lengths(rows["orbit"]) != sites))
    return wrong


def _beyond_orbits(rows: pa.RecordBatch) -> Mask:
    orbits = largest(rows["orbit"]) + 1
    wrong: Mask = orbits > lengths(rows["atomic_numbers"])
    for name in ORBITS:
        wrong |= (largest(rows[name]) >= orbits) | (largest(rows[name], np.minimum, 0) < 0)
    return wrong


def _cells(rows: pa.RecordBatch) -> Floats:
    """Lattices `[rows, 3, 3]`, NaN where there are not nine numbers, which another rule is about."""
    whole = lengths(rows["lattice"]) == 9
    result = np.full((len(rows), 3, 3), np.nan)
    result[whole] = _numbers(rows["lattice"].filter(pa.array(whole))).reshape(-1, 3, 3)
    return result


def _numbers(array: pa.Array) -> Floats:
    return np.asarray(array.flatten().to_numpy(zero_copy_only=False), np.float64)


def _too_dense(rows: pa.RecordBatch) -> Mask:
    volumes: Floats = np.abs(np.linalg.det(_cells(rows)))
    wrong: Mask = volumes < DENSEST * lengths(rows["atomic_numbers"])
    return wrong


def _outside_cell(rows: pa.RecordBatch) -> Mask:
    fractions = rows["frac_coords"]
    inside = np.abs(_numbers(fractions) - 0.5) <= 0.5 + DIGIT
    wrong: Mask = ~of_lists(fractions, inside, np.logical_and, True)
    return wrong


def _too_far(rows: pa.RecordBatch) -> Mask:
    """The nearest image of an atom is no farther than half the cell's edges together."""
    distances = rows["edge_distance"]
    half = np.linalg.norm(_cells(rows), axis=2).sum(axis=1) / 2
    numbers = _numbers(distances)
    wrong: Mask = (of_lists(distances, numbers, np.fmin, 0) < 0) | (
        of_lists(distances, numbers, np.fmax, 0) > np.sqrt(half**2 + WIDEST_REACH) + DIGIT)
    return wrong


def _no_neighbour(rows: pa.RecordBatch) -> Mask:
    """Vectors to neighbours that have no length, or one beyond `reach`."""
    vectors, neighbours = rows["near_vector"], rows["near_i"]
    numbers = _numbers(vectors)
    if len(numbers) != 3 * int(lengths(neighbours).clip(0).sum()):
        return np.zeros(len(rows), bool)  # another rule is about that
    squared = (numbers.reshape(-1, 3) ** 2).sum(axis=1)
    wrong: Mask = (of_lists(neighbours, squared, np.fmin, 1) <= 0) | (
        of_lists(neighbours, squared, np.fmax, 1) > (np.sqrt(WIDEST_REACH) + DIGIT) ** 2)
    return wrong


CONTRACT: tuple[Rule, ...] = (
    *present(*SCHEMA.names),
    *no_gaps(*(field.name for field in SCHEMA if pa.types.is_list(field.type))),
    *finite(*NUMBERS),
    arrays("lattice has 9 numbers, frac_coords three and orbit one for each atom", (
        "lattice", "frac_coords", "atomic_numbers", "orbit"), _of_sites),
    arrays(f"lattice (Å) leaves each atom {DENSEST:g} Å³ or more", ("lattice", "atomic_numbers"), _too_dense),
    arrays("frac_coords lie within the cell, from 0 to 1", ("frac_coords",), _outside_cell),
    arrays("edge_distance (Å) is not negative, and no farther than the nearest image may be and tensorize.reach beyond",
           ("lattice", "edge_distance"), _too_far),
    arrays(f"near_vector (Å) is longer than 0 and no longer than {math.sqrt(WIDEST_REACH):.1f} Å",
           ("near_i", "near_vector"), _no_neighbour),
    arrays("atomic_numbers are those of elements, from 1 to 118", ("atomic_numbers",), lambda rows: (
        (largest(rows["atomic_numbers"]) > 118) | (largest(rows["atomic_numbers"], np.minimum, 1) < 1))),
    arrays("images and neighbours are numbered by the orbits that there are, of which no more than atoms",
           ("atomic_numbers", "orbit", *ORBITS), _beyond_orbits),
    as_many(("edge_i", "edge_j", "edge_distance", "edge_count")),
    arrays("n_edges counts the images", ("n_edges", "edge_i"),
           lambda rows: rows["n_edges"].fill_null(-1).to_numpy(zero_copy_only=False) != lengths(rows["edge_i"])),
    arrays("each image is there at least once", ("edge_count",),
           lambda rows: largest(rows["edge_count"], np.minimum, 1) < 1),
    as_many(("near_i", "near_j")),
    arrays("near_vector has three numbers for each neighbour, and axis_vector for each axis",
           ("near_i", "near_vector", "axis_vector", "axis_weight"), lambda rows: (
               (lengths(rows["near_vector"]) != 3 * lengths(rows["near_i"]))
               | (lengths(rows["axis_vector"]) != 3 * lengths(rows["axis_weight"])))),
)

WIDEST = 7.84
"""Å², 2σ² of CrystalFormer at its widest: σ² < r0²/(1 − b) with r0 = 1.4 Å and b = 0.5."""
SAME_DISTANCE = 1e-4
"""Å; images of one orbit that differ by less stand together, at their mean."""
SAME_SHELL = 1e-3
"""Å; neighbours this close in distance are equally near: the last shell is kept whole."""
SYMPREC = 1e-3
"""Å, of orbits; canonical crystals keep their symmetry to 1e-5."""
SAME_LENGTH = 1e-3
"""Relative; lattice vectors this close in length can stand for each other."""


class TensorizeParams(Section):
    """Section `tensorize`."""

    reach: float = Field(default=60.0, ge=10.0, le=WIDEST_REACH)
    """Images with r² − r²_min below this (Å²) are kept; 60 leaves out at most 0.3 % of a pair's weight, 40 3 %."""
    neighbours: int = Field(default=25, ge=1, le=100)
    """Nearest images for graph networks, none farther than √reach; more where several are equally far."""
    max_sites: int = Field(default=300, ge=1, le=2000)
    """Crystals with more atoms are rejected: the pairs grow with the square."""
    timeout_s: float = Field(default=120.0, gt=0, le=LONGEST_S, json_schema_extra={"runtime": True})
    """Longest time for one crystal."""


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: TensorizeParams) -> dict[str, Any]:
    """Tensors of one canonical crystal."""
    return {"material_id": unit["material_id"], **tensors(unit["cif"], params)}


def tensors(cif: str, params: TensorizeParams) -> dict[str, Any]:
    """The columns of this view, except the id, as arrays. Raises `RowError` for a crystal that is too large."""
    columns = structure_tensors(crystal.from_cif(cif), params)
    kinds = {field.name: field.type.value_type.to_pandas_dtype() for field in SCHEMA if pa.types.is_list(field.type)}
    return {name: np.asarray(value, kinds[name]) if name in kinds else value for name, value in columns.items()}


def structure_tensors(structure: Any, params: TensorizeParams) -> dict[str, Any]:
    """The same of a pymatgen `Structure`, which may be written in any cell, in double precision."""
    if len(structure) > params.max_sites:
        raise RowError("too_large", f"{len(structure)} atoms; tensorize.max_sites is {params.max_sites}")
    lattice = np.asarray(structure.lattice.matrix, float)
    fractions = np.asarray(structure.frac_coords, float)
    numbers = np.array(structure.atomic_numbers)
    return {
        "lattice": lattice.ravel(),
        "frac_coords": fractions.ravel(),
        "atomic_numbers": numbers,
        **lists(lattice, fractions, *symmetry(lattice, fractions, numbers), params),
    }


def lists(lattice: Floats, fractions: Floats, orbit: Ints, primitive: Floats,
          params: TensorizeParams) -> dict[str, Any]:
    """The columns that follow from the orbits; with an orbit for each atom these are the lists of all atoms."""
    first = np.unique(orbit, return_index=True)[1]
    atom, j, vector = neighbour_images(lattice, fractions, params.reach, first)
    i, j, distance = orbit[atom], orbit[j], np.linalg.norm(vector, axis=1)
    near = nearest(i, distance, params.neighbours, np.sqrt(params.reach))
    axis_vector, axis_weight = axes(primitive)
    edge_i, edge_j, edge_distance, edge_count = merged(i, j, distance, params.reach)
    return {
        "orbit": orbit,
        "edge_i": edge_i,
        "edge_j": edge_j,
        "edge_distance": edge_distance,
        "edge_count": edge_count,
        "near_i": i[near],
        "near_j": j[near],
        "near_vector": vector[near].ravel(),
        "axis_vector": axis_vector.ravel(),
        "axis_weight": axis_weight,
        "n_edges": len(edge_i),
    }


def symmetry(lattice: Floats, fractions: Floats, numbers: NDArray[Any]) -> tuple[Ints, Floats]:
    """Index of each atom's orbit `[n]`, numbered in the order of their first atoms, and the primitive lattice."""
    symmetry = spglib.get_symmetry_dataset((lattice, fractions, numbers), symprec=SYMPREC)
    if symmetry is None:
        return np.arange(len(numbers)), lattice
    # not `equivalent_atoms`, which leaves out operations that the cell as it is written does not have
    orbit: Ints = np.unique(symmetry.crystallographic_orbits, return_inverse=True)[1].astype(np.int64)
    return orbit, np.asarray(symmetry.primitive_lattice, float)


def neighbour_images(lattice: Floats, fractions: Floats, reach: float,
                     centres: Ints | None = None) -> tuple[Ints, Ints, Floats]:
    """All images of every ordered pair of atoms with r² − r²_min < reach, as (i, j, vector), sorted by (i, j, r).

    Args:
        lattice: `[3, 3]`, rows are the lattice vectors in Å.
        fractions: `[n, 3]`.
        reach: in Å².
        centres: the atoms i; all of them if None.

    The images searched are all n with |n_k| ≤ ⌈R/h_k⌉ + 1, where h_k is the distance of the lattice planes and R the
    radius that must be covered: no image within it can be missed, however skewed the cell. Every image nearer than
    √reach is among them.
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
    for atom in range(len(fractions)) if centres is None else centres:  # one at a time: memory stays at n × images
        vectors = (gaps[atom] @ lattice)[:, None, :] + shifts[None]
        squared = np.einsum("jnk,jnk->jn", vectors, vectors)
        keep = squared - squared.min(axis=1, keepdims=True) < reach
        j, n = np.nonzero(keep)
        order = np.lexsort((squared[j, n], j))
        parts.append((np.full(len(j), atom), j[order], vectors[j[order], n[order]]))
    i, j, vector = (np.concatenate(column) for column in zip(*parts, strict=True))
    return i, j, vector


def neglected(reach: float) -> float:
    """Share of a pair's weight beyond `reach` (Å²), at the widest σ: the tail of a Maxwell distribution.

    ∫ r² exp(−r²/2σ²) dr from √reach to ∞ over that from 0: what a pair whose nearest image is at 0 would neglect if its
    images filled space evenly. Since they stand in shells, a single pair may neglect up to twice as much. A narrower σ
    neglects less.
    """
    x = reach / WIDEST
    return math.erfc(math.sqrt(x)) + 2 * math.sqrt(x / math.pi) * math.exp(-x)


def merged(i: Ints, j: Ints, distance: Floats, reach: float) -> tuple[Ints, Ints, Floats, Ints]:
    """Images of all atoms of orbit j around orbit i, those at one distance as one with their number.

    The attention gives all atoms of an orbit the same key and value, so the pair (i, j) of orbits has one nearest
    image, and the bound on what is left out holds relative to it.
    """
    order = np.lexsort((distance, j, i))
    i, j, distance = i[order], j[order], distance[order]
    new_pair = np.concatenate([[True], (np.diff(i) != 0) | (np.diff(j) != 0)])
    low = distance[new_pair][np.cumsum(new_pair) - 1]
    keep = distance**2 - low**2 < reach
    i, j, distance, new_pair = i[keep], j[keep], distance[keep], new_pair[keep]
    start = np.flatnonzero(new_pair | np.concatenate([[True], np.diff(distance) > SAME_DISTANCE]))
    count = np.diff(np.append(start, len(i)))
    return i[start], j[start], np.add.reduceat(distance, start) / count, count


def nearest(i: Ints, distance: Floats, neighbours: int, cutoff: float) -> Ints:
    """Indices of each centre's nearest images within the cutoff (Å), itself left out, by (i, distance).

    The shell in which the count is reached is kept whole, so that symmetry is never broken by the cut.
    """
    usable = np.flatnonzero((distance > SAME_SHELL) & (distance < cutoff))
    usable = usable[np.lexsort((distance[usable], i[usable]))]
    owner, r = i[usable], distance[usable]
    counts = np.bincount(owner, minlength=int(i.max()) + 1)
    start = np.cumsum(counts) - counts
    last = (start + np.minimum(counts, neighbours) - 1).clip(0)
    reach = np.where(counts > 0, r[np.minimum(last, len(r) - 1)], 0.0) if len(r) else np.zeros(len(counts))
    return usable[r <= reach[owner] + SAME_SHELL]


def axes(lattice: Floats) -> tuple[Floats, Floats]:
    """The shortest lattice vectors `[m, 3]` (Å, one of each ±) and their weights `[m]`, which sum to 3.

    A choice is three linearly independent vectors of the successive minima of length; an axis weighs the share of all
    choices that hold it. Neither cell nor rotation changes the set.
    """
    import pymatgen.core.lattice as pml

    reduced = pml.Lattice(lattice).get_lll_reduced_lattice().matrix
    half = np.array([n for n in itertools.product(range(-2, 3), repeat=3) if n > (0, 0, 0)])
    vectors = half @ reduced
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.argsort(lengths, kind="stable")
    vectors, lengths = vectors[order], lengths[order]
    chosen: list[int] = []
    for index in range(len(vectors)):
        if np.linalg.matrix_rank(vectors[[*chosen, index]], tol=1e-4 * lengths[0]) > len(chosen):
            chosen.append(index)
        if len(chosen) == 3:
            break
    shells = [np.flatnonzero(lengths <= lengths[index] * (1 + SAME_LENGTH)) for index in chosen]
    # all that is no longer than a minimum, but of its own length: the greedy choice takes a length, not a vector
    shells = [shell[lengths[shell] >= lengths[index] * (1 - SAME_LENGTH)]
              for shell, index in zip(shells, chosen, strict=True)]
    triples = np.array(list(itertools.product(*shells)))
    volume = np.abs(np.linalg.det(vectors[triples]))
    triples = triples[volume > 1e-4 * lengths[0] ** 3]
    distinct, times = np.unique(triples, return_counts=True)
    return vectors[distinct], times / len(triples)


VIEW = FeatureView(
    name="structures",
    stage="tensorize",
    key=("material_id",),
    inputs={"materials": ("material_id", "cif")},
    schema=SCHEMA,
    version=2,
    contract=CONTRACT,
    params=TensorizeParams,
    compute=compute,
    libraries=("pymatgen-core", "spglib"),
    baselined=("numpy",),
    batch_size=64,
    timeout_s=lambda params: params.timeout_s,
    preload=("pymatgen.core", "spglib"),
)
