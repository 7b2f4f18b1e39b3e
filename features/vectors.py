"""One vector for each crystal: of its description, for `similar` and `find`, and of its structure, for `near`.

The vector of a structure names no element. It holds distances to the 1st, 2nd, … 24th nearest atom, averaged over the
atoms of the cell (*average minimum distances*, Widdowson et al., MATCH Commun. Math. Comput. Chem. 87, 529 (2022)), the
same to the nearest 8 atoms of the atom's own element, and the standard deviation of each of these, all over the cube
root of the volume per atom. None of it depends on the cell that is chosen or on the orientation, and all of it moves
smoothly when atoms do. So isotypic crystals are near each other, whatever their elements and size: Si and Ge have the
same vector, GaAs another, and that is the vector of InP.

What it does not tell: what is farther than 24 atoms, which element is which (of an antitype, the other one), and mirror
images. The vacuum beside a layer counts as volume, so that equal layers with other spacings lie apart.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import UserError
from features.paths import Paths
from features.store import matrices, tables

Floats = NDArray[np.floating[Any]]
Vectors = tuple[list[str], Floats]
"""Ids of crystals, and a vector of each as a row, in the order of the table. It may be mapped from a file and cannot be
written to."""
NEIGHBOURS = 24
"""Nearest atoms that the vector of a structure knows; `tensorize.neighbours` stores 25 by default."""
ALIKE = 8
"""Nearest atoms of the same element that it knows."""
WIDTH = 2 * (NEIGHBOURS + ALIKE)
FORMAT = 1
"""To be raised when the vector of a structure changes: its matrices are kept on disk."""


def pooled(where: Path) -> Vectors:
    """Vectors of all descriptions that have one, `[n, dimension]`, of the project folder `where`.

    Raises `UserError` if there is no table `text_embeddings`, and `Damaged`.
    """
    return _pooled(where.resolve(), _state(where, "text_embeddings"))


def units(where: Path) -> Vectors:
    """The same of length 1 and in single precision, ready for cosines; zero where a vector is."""
    return _units(where.resolve(), _state(where, "text_embeddings"))


def structure(where: Path) -> Vectors:
    """Vectors of all structures, `[n, WIDTH]`, without unit: all means, then all standard deviations.

    Raises `UserError` if there is no table `structures`, and `Damaged`.
    """
    return _structure(where.resolve(), _state(where, "structures"))


def prepare(where: Path) -> None:
    """Put the matrices on disk, so that the first search need not make them. Nothing where there is no such table."""
    for name, make in (("text_embeddings", units), ("structures", structure)):
        if tables.exists(where, name):
            make(where)


def _state(where: Path, table: str) -> tuple[int, int]:
    """Another one for a table that has been published anew in its place."""
    if not tables.exists(where, table):
        raise UserError(f"there is no table {table} under {Paths(where).features}; run `dvc repro` to make it")
    stat = os.stat(Paths(where).table(table))
    return stat.st_ino, stat.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _pooled(where: Path, _state: tuple[int, int]) -> Vectors:
    return matrices.kept(where, "text_embeddings", "pooled", lambda: _pooled_pieces(where))


@functools.lru_cache(maxsize=4)
def _units(where: Path, _state: tuple[int, int]) -> Vectors:
    return matrices.kept(where, "text_embeddings", "units", lambda: (
        (ids, unit(rows)) for ids, rows in _pooled_pieces(where)))


def unit(rows: Floats) -> NDArray[np.float32]:
    """Rows of a matrix at length 1, in single precision; zeros stay."""
    single = rows.astype(np.float32)
    single /= np.maximum(np.sqrt(np.einsum("ij,ij->i", single, single))[:, None], 1e-12)  # thrice as fast as `norm`
    return single


def _pooled_pieces(where: Path) -> Iterator[Vectors]:
    width = 0
    for part in tables.files(where, "text_embeddings"):
        table = tables.read_parts([part], ["material_id", "variant", "pooled"])
        table = table.filter(pc.and_(pc.equal(table["variant"], 0), pc.is_valid(table["pooled"])))
        vectors = table["pooled"].combine_chunks()
        flat: Floats = vectors.flatten().to_numpy(zero_copy_only=False)
        width = width or (len(flat) // len(vectors) if len(vectors) else 0)
        if len(vectors):
            yield table["material_id"].to_pylist(), flat.reshape(len(vectors), width)
    if not width:
        yield [], np.zeros((0, 1), np.float16)


@functools.lru_cache(maxsize=4)
def _structure(where: Path, _state: tuple[int, int]) -> Vectors:
    return matrices.kept(where, "structures", f"order-{FORMAT}", lambda: _structure_pieces(where))


def _structure_pieces(where: Path) -> Iterator[Vectors]:
    yield [], np.zeros((0, WIDTH), np.float32)
    for part in tables.files(where, "structures"):
        reach = float(tables.footer(part).get("params", {}).get("reach", 60.0))
        rows = tables.read_parts([part], ["material_id", "lattice", "atomic_numbers", "orbit", "near_i", "near_j",
                                          "near_vector"]).combine_chunks()
        if len(rows):
            yield rows["material_id"].to_pylist(), structure_vectors(rows, reach)


def structure_vectors(rows: pa.Table, reach: float) -> NDArray[np.float32]:
    """Vectors `[n, WIDTH]` of rows of the table `structures`.

    Args:
        rows: with the columns `lattice`, `atomic_numbers`, `orbit`, `near_i`, `near_j`, `near_vector`.
        reach: Å², of `tensorize`: where fewer neighbours are listed, the others are taken to be as far as that, and
            atoms alike that are not listed as far as the last that is.
    """
    crystal, orbit = _flat(rows["orbit"])
    n_orbits = np.zeros(len(rows), np.int64)
    np.maximum.at(n_orbits, crystal, orbit + 1)
    first = np.cumsum(n_orbits) - n_orbits  # number of each crystal's first orbit among those of all
    orbit = first[crystal] + orbit
    element = np.zeros(n_orbits.sum(), np.int64)
    element[orbit] = _flat(rows["atomic_numbers"])[1]
    atoms = np.bincount(crystal, minlength=len(rows))
    weight = np.bincount(orbit, minlength=len(element)) / np.repeat(atoms, n_orbits)

    owner, centre = _flat(rows["near_i"])
    centre = first[owner] + centre
    alike = element[centre] == element[first[owner] + _flat(rows["near_j"])[1]]
    distance = np.linalg.norm(_flat(rows["near_vector"])[1].reshape(-1, 3).astype(float), axis=1)
    beyond = np.full(len(element), np.sqrt(reach))
    last = np.zeros(len(element))
    np.maximum.at(last, centre, distance)
    last[last == 0] = np.sqrt(reach)
    nearest = np.concatenate([_sorted(centre, distance, np.repeat(beyond[:, None], NEIGHBOURS, axis=1)),
                              _sorted(centre[alike], distance[alike], np.repeat(last[:, None], ALIKE, axis=1))], axis=1)

    mean = np.add.reduceat(weight[:, None] * nearest, first)
    apart = nearest - np.repeat(mean, n_orbits, axis=0)
    spread = np.sqrt(np.add.reduceat(weight[:, None] * apart**2, first))
    lattice = _flat(rows["lattice"])[1].reshape(-1, 3, 3)
    length = np.cbrt(np.abs(np.linalg.det(lattice)) / atoms)
    return (np.concatenate([mean, spread], axis=1) / length[:, None]).astype(np.float32)


def _flat(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Row of each item of a column of lists, and the items."""
    lists = column.combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists)), lengths), lists.flatten().to_numpy(zero_copy_only=False)


def _sorted(centre: NDArray[np.int64], distance: Floats, missing: Floats) -> Floats:
    """Distances around each centre in order, as many as `missing` is wide, and of that where there are no more."""
    order = np.lexsort((distance, centre))
    centre, distance = centre[order], distance[order]
    place = np.arange(len(centre)) - np.searchsorted(centre, centre)
    keep = place < missing.shape[1]
    missing[centre[keep], place[keep]] = distance[keep]
    return missing
