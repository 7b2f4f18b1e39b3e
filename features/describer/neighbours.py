"""Nearest neighbours by CrystalNN, once per symmetry orbit instead of three times per site.

Stock Robocrystallographer asks CrystalNN for the bonds, for the site fingerprints and for the structure fingerprint,
each time for every site of the conventional cell. `OrbitNN` is a CrystalNN that remembers the neighbours of a
structure and carries the neighbours of one atom to its symmetry images. Where the operations do not map the atoms onto
each other within `MATCH`, it takes the stock path for that site.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.analysis.local_env import CrystalNN
from pymatgen.core.structure import PeriodicNeighbor

from features.describer import voronoi

SYMPREC = 0.01  # Å, as in Robocrystallographer
MATCH = 2 * SYMPREC  # Å by which an image may miss its atom
REMEMBERED = 4  # structures: the crystal, and what it becomes when its molecules shrink to points


class OrbitNN(CrystalNN):
    """CrystalNN with its default settings, remembering structures and using their symmetry."""

    def __init__(self) -> None:
        super().__init__()
        self._remembered: dict[bytes, SiteMemory] = {}
        self._latest: tuple[Any, SiteMemory] | None = None

    def get_nn_data(self, structure: Any, n: int, length: int | None = None) -> Any:
        """Neighbours of site `n`, as CrystalNN gives them; the entries are the caller's to change."""
        known = self._latest is not None and self._latest[0] is structure
        if length is not None or not (known or structure.is_ordered):
            return super().get_nn_data(structure, n, length)
        memory = self.memory(structure)
        if n not in memory.data:
            self._fill(structure, n, memory)
        return _copy(memory.data[n])

    def stock_nn_data(self, structure: Any, n: int) -> Any:
        """Neighbours in the order in which CrystalNN finds them, which symmetry does not carry from site to site."""
        memory = self.memory(structure)
        if n not in memory.in_stock_order:
            found = voronoi.nn_data(structure, n, memory.fractions, memory.pairs)
            memory.data[n] = super().get_nn_data(structure, n) if found is None else found
            memory.in_stock_order.add(n)
        return memory.data[n]

    def memory(self, structure: Any) -> SiteMemory:
        """What is remembered of a structure, found by its bytes."""
        if self._latest is not None and self._latest[0] is structure:
            return self._latest[1]
        key = structure_key(structure)
        if key not in self._remembered:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[key] = SiteMemory(structure)
        self._latest = structure, self._remembered[key]
        return self._remembered[key]

    def _fill(self, structure: Any, n: int, memory: SiteMemory) -> None:
        source = memory.orbit_of[n]
        if source not in memory.data:
            self.stock_nn_data(structure, source)
        if n not in memory.data:
            memory.data[n] = memory.image(structure, source, n) or self.stock_nn_data(structure, n)


class SiteMemory:
    """What is remembered of one structure: each site's neighbours, its fingerprint, and the first site of its orbit."""

    def __init__(self, structure: Any) -> None:
        self.data: dict[int, Any] = {}
        self.in_stock_order: set[int] = set()
        self.fingerprints: NDArray[np.float64] | None = None
        self.fractions: NDArray[np.float64] = structure.frac_coords
        self.pairs = voronoi.Pairs(structure)
        numbers = [site.specie.Z for site in structure]
        try:
            dataset = spglib.get_symmetry_dataset((structure.lattice.matrix, self.fractions, numbers), SYMPREC)
        except spglib.SpglibError:
            dataset = None
        self.orbit_of: list[int] = list(range(len(structure)))
        self.rotations: NDArray[np.int_] = np.zeros((0, 3, 3), int)
        self.translations: NDArray[np.float64] = np.zeros((0, 3))
        if dataset is not None:
            self.orbit_of = [int(index) for index in dataset.equivalent_atoms]
            self.rotations, self.translations = np.asarray(dataset.rotations), np.asarray(dataset.translations)

    def image(self, structure: Any, source: int, n: int) -> Any | None:
        """Neighbours of `source` under an operation that takes it to `n`; None if there is none that fits."""
        fractions = self.fractions
        matrix = structure.lattice.matrix
        landed = self.rotations @ fractions[source] + self.translations - fractions[n]
        misses = np.linalg.norm((landed - np.rint(landed)) @ matrix, axis=1)
        best = int(np.argmin(misses))
        if misses[best] > MATCH:
            return None
        rotation, translation = self.rotations[best], self.translations[best] - np.rint(landed[best])
        data = self.data[source]
        given = np.array([entry["site"].frac_coords for entry in data.all_nninfo], float).reshape(-1, 3)
        places = given @ rotation.T + translation
        gaps = fractions - places[:, None]
        indices = np.argmin(np.linalg.norm((gaps - np.rint(gaps)) @ matrix, axis=2), axis=1).tolist()
        images = np.rint(places - fractions[indices]).astype(int)
        misses = np.linalg.norm((places - images - fractions[indices]) @ matrix, axis=1)
        entries: dict[int, dict[str, Any]] = {}
        for entry, index, step, miss in zip(data.all_nninfo, indices, images.tolist(), misses, strict=True):
            site, image = structure[index], tuple(step)
            if miss > MATCH or site.species != entry["site"].species:
                return None
            neighbour = PeriodicNeighbor(
                site.species, fractions[index] + image, structure.lattice, properties=site.properties,
                nn_distance=0.0, index=index, image=image, label=site.label)
            entries[id(entry)] = {"site": neighbour, "image": image, "weight": entry["weight"], "site_index": index}
        return CrystalNN.NNData(
            [entries[id(entry)] for entry in data.all_nninfo], dict(data.cn_weights),
            {cn: [entries[id(entry)] for entry in chosen] for cn, chosen in data.cn_nninfo.items()})


def structure_key(structure: Any) -> bytes:
    """The exact bytes of a structure: equal for equal crystals, whoever built the object."""
    key: bytes = structure.lattice.matrix.tobytes() + structure.frac_coords.tobytes()
    return key + " ".join(map(str, structure.species)).encode()


def _copy(data: Any) -> Any:
    """The same neighbours in new entries: CrystalNN's callers write into them."""
    entries = {id(entry): dict(entry) for entry in data.all_nninfo}
    return CrystalNN.NNData(
        [entries[id(entry)] for entry in data.all_nninfo], dict(data.cn_weights),
        {cn: [entries[id(entry)] for entry in chosen] for cn, chosen in data.cn_nninfo.items()})


def vectors(structure: Any, n: int, neighbours: list[dict[str, Any]]) -> NDArray[np.float64]:
    """`[neighbours, 3]`, from site `n` to its neighbours, Å."""
    centre = structure[n].coords
    return np.array([entry["site"].coords - centre for entry in neighbours]).reshape(-1, 3)

