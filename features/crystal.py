"""One standard presentation of a crystal, so that how a file is written never changes a feature.

The same crystal can be written with its atoms in any order, any origin, any cell and any orientation. The canonical
crystal is its primitive cell, symmetrised within `symprec`, with

1. the shortest lattice vectors (successive minima; in three dimensions they always form a basis) as a right-handed
   basis, and among equivalent bases the one with the lexicographically smallest lengths and scalar products,
2. the origin on an atom of the rarest element,
3. the sites sorted by atomic number and position,

and among all bases and origins that 1 and 2 allow, the one whose sorted list of sites is the smallest. Handedness is
kept: only proper rotations are used. Numbers are rounded to 1e-6 (fractions of an edge) and 1e-6 Å; two files of one
crystal give the same bytes unless rounding in the file itself moves a free coordinate across such a step.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

from features.errors import RowError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SYMPREC = 0.01  # Å; the value at which Robocrystallographer itself looks for symmetry
MIN_DISTANCE = 0.5  # Å; no two nuclei are closer than those of H2 (0.74 Å)
MIN_DENSITY = 0.005  # g/cm³; the lightest frameworks have 0.1, a sheet of graphene in a cell of 100 Å 0.08
MAX_DENSITY = 50.0  # g/cm³; osmium has 22.6, and not twice that under the pressure of the Earth's core
DECIMALS = 6
EDGE = 0.137  # of a rounding step
GRID = 30240  # = 2^5·3^3·5·7: every special position lies in the middle of a step, never on its edge
LENGTH_TOLERANCE = 1e-4  # relative: lattice vectors closer in length than this count as equally long


def canonical_structure(structure: Any) -> Any:
    """The canonical presentation of a pymatgen `Structure` (ordered, periodic in three dimensions).

    Raises `RowError` for what has no canonical crystal: empty, disordered, overlapping, no symmetry found.
    """
    _check(structure)
    written = ""
    for _ in range(4):  # rounding can break a symmetry by its last digit; the next pass settles it
        structure = _pass(structure)
        before, written = written, to_cif(structure)
        structure = from_cif(written)
        if written == before:
            break
    return structure


def _pass(structure: Any) -> Any:
    from pymatgen.core import Lattice, Structure

    lattice, fractions, numbers = _primitive(structure)
    lattice, fractions = _symmetrise(lattice, fractions, numbers)
    bases = _shortest_bases(lattice)
    lattice, fractions, numbers = _smallest_presentation(lattice, fractions, numbers, bases)
    cell = Lattice.from_parameters(*_round(np.array(Lattice(lattice).parameters)))
    return Structure(cell, [int(z) for z in numbers], _round(fractions) % 1.0)


def space_group(structure: Any) -> tuple[str, int, str]:
    """Hermann-Mauguin symbol, number and crystal system of a structure, within `SYMPREC`.

    By lengths alone (spglib's angle tolerance of -1), as the canonical crystal itself is found: within 5°, the default
    of pymatgen, a slightly tetragonal crystal can be called cubic.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    symmetry = SpacegroupAnalyzer(structure, symprec=SYMPREC, angle_tolerance=-1)
    return symmetry.get_space_group_symbol(), symmetry.get_space_group_number(), symmetry.get_crystal_system()


def structure_hash(structure: Any) -> str:
    """sha256 of a canonical structure's rounded numbers."""
    cell = np.round(structure.lattice.parameters, DECIMALS)
    sites = np.round(structure.frac_coords, DECIMALS) % 1.0
    content = (*cell.tolist(), *structure.atomic_numbers, *sites.ravel().tolist())
    return hashlib.sha256(repr(content).encode()).hexdigest()


def to_cif(structure: Any) -> str:
    """A P1 CIF of a canonical structure, with labels and lines in a fixed order."""
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    lines = [
        f"data_{structure.composition.reduced_formula.replace(' ', '')}",
        "_symmetry_space_group_name_H-M   'P 1'",
        *(f"_cell_length_{name}   {value:.{DECIMALS}f}" for name, value in zip("abc", (a, b, c), strict=True)),
        *(f"_cell_angle_{name}   {value:.{DECIMALS}f}"
          for name, value in zip(("alpha", "beta", "gamma"), (alpha, beta, gamma), strict=True)),
        "_symmetry_Int_Tables_number   1",
        "loop_", " _symmetry_equiv_pos_site_id", " _symmetry_equiv_pos_as_xyz", "  1  'x, y, z'",
        "loop_", " _atom_site_type_symbol", " _atom_site_label", " _atom_site_fract_x", " _atom_site_fract_y",
        " _atom_site_fract_z", " _atom_site_occupancy",
    ]
    for index, site in enumerate(structure):
        x, y, z = site.frac_coords
        symbol = site.specie.symbol
        lines.append(f"  {symbol}  {symbol}{index}  {x:.{DECIMALS}f}  {y:.{DECIMALS}f}  {z:.{DECIMALS}f}  1")
    return "\n".join(lines) + "\n"


def from_cif(text: str) -> Any:
    """Read back what `to_cif` wrote: a plain parse, since nothing in it is left to interpretation."""
    from pymatgen.core import Lattice, Structure

    lines = text.splitlines()
    cell = [float(line.split()[1]) for line in lines if line.startswith("_cell_")]
    start = lines.index(" _atom_site_occupancy") + 1
    sites = [line.split() for line in lines[start:]]
    coordinates = [[float(value) for value in site[2:5]] for site in sites]
    return Structure(Lattice.from_parameters(*cell), [site[0] for site in sites], coordinates)


def _round(values: Floats) -> Floats:
    """Round to `DECIMALS`, with the edges of the steps moved off the decimal halves.

    Files give six or eight decimals, and averaging symmetric atoms halves them: such numbers would sit exactly on the
    edges of plain rounding, and the last bit of a rotation would decide.
    """
    scale = 10.0**DECIMALS
    return np.asarray(np.floor(values * scale + 0.5 + EDGE) / scale)


def _check(structure: Any) -> None:
    from pymatgen.core import DummySpecies

    if len(structure) == 0:
        raise RowError("empty", "the structure has no atoms")
    if not structure.is_ordered:
        partly = next(site for site in structure if not site.is_ordered)
        raise RowError("disordered", f"site {partly.species_string} is only partly occupied; ordered crystals only")
    strange = [site for site in structure if isinstance(site.specie, DummySpecies)]
    if strange:
        raise RowError("unreadable", f"'{strange[0].specie.symbol}' is no chemical element")
    if structure.lattice.volume < 1.0:
        raise RowError("implausible", f"the cell has a volume of only {structure.lattice.volume:.3g} Å³: edges are "
                                      "expected in Å, not in nm")
    if not MIN_DENSITY < structure.density < MAX_DENSITY:
        why = "atoms are listed twice, or the cell is too small: edges are expected in Å" \
            if structure.density > 1 else "the cell is too large: edges are expected in Å, not in pm"
        raise RowError("implausible", f"the crystal would have a density of {structure.density:.3g} g/cm³; {why}")
    distances = structure.distance_matrix + np.eye(len(structure)) * 9.0
    first, second = np.unravel_index(distances.argmin(), distances.shape)
    closest = float(min(distances[first, second], *structure.lattice.abc))
    if closest < MIN_DISTANCE:
        raise RowError("overlapping", f"atoms {structure.labels[first]} and {structure.labels[second]} are "
                                      f"{closest:.3f} Å apart")


def _primitive(structure: Any) -> tuple[Floats, Floats, Ints]:
    """Primitive cell as it stands in the file: lattice rows (Å, right-handed), fractional coordinates, numbers."""
    cell = (structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure])
    try:
        standardized = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SYMPREC)
    except spglib.SpglibError as error:
        raise RowError("no_symmetry", f"spglib: {error}") from None
    if standardized is None:
        raise RowError("no_symmetry", f"spglib finds no space group within {SYMPREC} Å")
    lattice, fractions, numbers = standardized
    sign = np.sign(np.linalg.det(lattice))
    return sign * np.asarray(lattice, float), sign * np.asarray(fractions, float), np.asarray(numbers, np.int64)


def _symmetrise(lattice: Floats, fractions: Floats, numbers: Ints) -> tuple[Floats, Floats]:
    """Average metric and positions over the space group, so that no atom of an orbit is preferred.

    spglib idealises from one representative atom; which one depends on the order of the file. The operations here
    are the exact ones of the tables, carried into this cell, so the result does not depend on that choice.
    """
    data = spglib.get_symmetry_dataset((lattice, fractions, numbers), symprec=SYMPREC)
    if data is None:
        raise RowError("no_symmetry", f"spglib finds no space group within {SYMPREC} Å")
    table = spglib.get_symmetry_from_database(data.hall_number)
    to_standard, shift = data.transformation_matrix, data.origin_shift
    back = np.linalg.inv(to_standard)
    rotations = np.rint(back @ table["rotations"] @ to_standard)
    translations = (table["rotations"] @ shift + table["translations"] - shift) @ back.T
    metric = lattice @ lattice.T
    metric = np.mean(np.swapaxes(rotations, 1, 2) @ metric @ rotations, axis=0)
    other_kind = np.where(numbers[:, None] == numbers[None, :], 0.0, np.inf)
    moves = np.zeros_like(fractions)
    for rotation, translation in zip(rotations, translations, strict=True):
        gaps = (fractions @ rotation.T + translation)[:, None] - fractions[None]
        gaps -= np.rint(gaps)
        target = np.argmin(np.einsum("ijk,kl,ijl->ij", gaps, metric, gaps) + other_kind, axis=1)
        np.add.at(moves, target, gaps[np.arange(len(target)), target])
    moves /= len(rotations)
    if np.sqrt(np.einsum("ik,kl,il->i", moves, metric, moves).max()) > 5 * SYMPREC:
        raise RowError("no_symmetry", "the symmetry found does not map the atoms onto each other")
    return np.linalg.cholesky(metric), fractions + moves


def _shortest_bases(lattice: Floats) -> Ints:
    """Every right-handed basis (integer rows, `[n, 3, 3]`) of shortest vectors with the smallest metric."""
    import pymatgen.core.lattice as pml

    reduced = pml.Lattice(lattice).get_lll_reduced_lattice().matrix
    change = np.rint(reduced @ np.linalg.inv(lattice)).astype(np.int64)
    steps = np.array([v for v in itertools.product(range(-2, 3), repeat=3) if any(v)], np.int64) @ change
    lengths = np.linalg.norm(steps @ lattice, axis=1)
    order = np.argsort(lengths, kind="stable")
    steps, lengths = steps[order], lengths[order]
    minima = _successive_minima(steps, lengths)
    candidates = [steps[lengths <= length * (1 + LENGTH_TOLERANCE)] for length in minima]
    a, b, c = (m.reshape(-1, 3) for m in candidates)
    triples = np.stack(np.broadcast_arrays(a[:, None, None], b[None, :, None], c[None, None, :]), axis=-2)
    triples = triples.reshape(-1, 3, 3)
    triples = triples[np.rint(np.linalg.det(triples)) == 1]
    vectors = triples @ lattice
    metric = np.einsum("nik,njk->nij", vectors, vectors)
    size = minima[2] ** 2
    key = np.stack([metric[:, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], axis=1) / size
    keep = np.arange(len(key))
    for position in range(6):  # a lexicographic minimum that rounding errors cannot tip
        values = key[keep, position]
        keep = keep[values <= values.min() + 2 * LENGTH_TOLERANCE]
    return triples[keep]


def _successive_minima(steps: Ints, lengths: Floats) -> tuple[float, float, float]:
    """Lengths of the three shortest independent lattice vectors; `steps` are sorted by length."""
    chosen: list[Ints] = []
    minima: list[float] = []
    for step, length in zip(steps, lengths, strict=True):
        if np.linalg.matrix_rank(np.array([*chosen, step])) > len(chosen):
            chosen.append(step)
            minima.append(float(length))
            if len(chosen) == 3:
                break
    return minima[0], minima[1], minima[2]


def _smallest_presentation(
    lattice: Floats, fractions: Floats, numbers: Ints, bases: Ints
) -> tuple[Floats, Floats, Ints]:
    """Among all given bases and all origins on an atom of the rarest element, the smallest sorted list of sites."""
    counts = {int(z): int((numbers == z).sum()) for z in np.unique(numbers)}
    rarest = min(counts, key=lambda z: (counts[z], z))
    origins = fractions[numbers == rarest]
    best: tuple[tuple[int, ...], Floats, Ints, Floats] | None = None
    order_by_number = np.argsort(numbers, kind="stable")
    numbers, fractions = numbers[order_by_number], fractions[order_by_number]
    for basis in bases:
        inverse = np.linalg.inv(basis)
        # x·L = y·(B·L), so y = x·B⁻¹
        moved = (fractions[None] - origins[:, None]) @ inverse
        moved = np.where(np.abs(moved - np.rint(moved)) < 0.5 / GRID, 0.0, moved) % 1.0
        coarse = np.rint(moved * GRID).astype(np.int64) % GRID
        keys = ((numbers * GRID + coarse[..., 0]) * GRID + coarse[..., 1]) * GRID + coarse[..., 2]
        order = np.argsort(keys, axis=1, kind="stable")
        keys = np.take_along_axis(keys, order, axis=1)
        fine = np.take_along_axis(np.rint(moved * 1e8).astype(np.int64), order[..., None], axis=1)
        ranking = np.concatenate([keys, fine.reshape(len(fine), -1)], axis=1)
        index = np.lexsort(ranking.T[::-1])[0]
        candidate = tuple(ranking[index].tolist())
        if best is None or candidate < best[0]:
            best = (candidate, moved[index][order[index]], numbers[order[index]], basis @ lattice)
    if best is None:
        raise RowError("no_symmetry", "no right-handed reduced basis found")
    return best[3], best[1], best[2]
