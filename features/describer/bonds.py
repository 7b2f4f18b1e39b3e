"""Bonds of a crystal with their lengths, and the neighbours of every image of a site in the order of stock."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = tuple[int, int, int]
HOME: Image = (0, 0, 0)
Bond = tuple[int, Image, Any, Any]


class Bonds:
    """The bonds of a structure graph, without a site object for each image."""

    def __init__(self, bonded_structure: Any) -> None:
        structure = bonded_structure.structure
        self.bonded_structure = bonded_structure
        self._graph = bonded_structure.graph
        self._fractions = np.array(structure.frac_coords)
        self._matrix = np.array(structure.lattice.matrix)
        self._hashes = [hash(site) for site in structure]
        self._places: dict[tuple[int, Image], NDArray[np.float64]] = {}
        self._bonds: dict[int, list[Bond]] = {}
        self._around: dict[tuple[int, Image], list[tuple[int, Image]]] = {}

    def place(self, index: int, image: Image) -> NDArray[np.float64]:
        """`[3]`, Cartesian coordinates of an image of a site, Å."""
        key = (index, image)
        if key not in self._places:
            self._places[key] = np.dot(self._fractions[index] + image, self._matrix)
        return self._places[key]

    def of(self, n: int) -> list[Bond]:
        """Bonds of a site of the cell: neighbour, its image, weight, length; in the order of the graph's edges."""
        if n not in self._bonds:
            edges = [(v, data, 1) for _, v, data in self._graph.out_edges(n, data=True)]
            edges += [(u, data, -1) for u, _, data in self._graph.in_edges(n, data=True)]
            home = self._fractions[n]
            bonds = []
            for other, data, sign in edges:
                offset = data["to_jimage"]
                image = (sign * int(offset[0]), sign * int(offset[1]), sign * int(offset[2]))
                vector = np.dot(np.array(image) + self._fractions[other] - home, self._matrix)
                bonds.append((other, image, data.get("weight"), np.sqrt(vector.dot(vector))))
            self._bonds[n] = bonds
        return self._bonds[n]

    def around(self, n: int, image: Image = HOME) -> list[tuple[int, Image]]:
        """Neighbours of an image of a site, nearest first.

        Equally near ones come in the order in which Python iterates the stock code's set of site objects; a set of
        tuples with the same hashes, filled in the same order, gives the same one.
        """
        key = (n, image)
        if key not in self._around:
            next_neighbours: set[tuple[int, Image, int, Any, Any]] = set()
            seen: set[tuple[int, Image]] = set()
            for other, offset, weight, distance in self.of(n):
                place = (offset[0] + image[0], offset[1] + image[1], offset[2] + image[2])
                if (other, place) not in seen:
                    seen.add((other, place))
                    next_neighbours.add((self._hashes[other], place, other, weight, distance))
            self._around[key] = [(item[2], item[1]) for item in sorted(next_neighbours, key=lambda item: item[4])]
        return self._around[key]
