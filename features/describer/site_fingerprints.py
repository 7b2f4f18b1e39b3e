"""Site and structure fingerprints of Robocrystallographer, from shared neighbours and compiled order parameters."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from matminer.featurizers.site import CrystalNNFingerprint
from matminer.featurizers.structure import SiteStatsFingerprint
from numpy.typing import NDArray

from features.describer import order_parameters
from features.describer.neighbours import OrbitNN, vectors

Floats = NDArray[np.float64]


class Fingerprints:
    """The "ops" fingerprint: for each coordination number its weight, and the weight times each motif's parameter."""

    def __init__(self, neighbours: OrbitNN) -> None:
        self.neighbours = neighbours
        self.stock = CrystalNNFingerprint.from_preset("ops", cation_anion=False)
        self.stock.cnn = _StockOrder(neighbours)
        self.motifs: dict[int, list[tuple[str, Floats]]] = {}
        for cn, parameters in self.stock.ops.items():
            self.motifs[cn] = [
                (one.get_type(0), order_parameters.constants(one.get_parameters(0)))
                for one in parameters if one != "wt"]

    @cached_property
    def labels(self) -> list[str]:
        """Names of the columns, as Robocrystallographer reads them."""
        labels: list[str] = SiteStatsFingerprint.from_preset("CrystalNNFingerprint_ops", stats=None).feature_labels()
        return labels

    def sites(self, structure: Any) -> Floats:
        """`[sites, columns]`. Sites of an orbit share a row unless a value depends on the order of the neighbours."""
        memory = self.neighbours.memory(structure)
        if memory.fingerprints is None:
            rows: list[list[float]] = []
            for n, first in enumerate(memory.orbit_of):
                shared = first < n and not self._ordered(memory.data[first])
                rows.append(rows[first] if shared else self._site(structure, n))
            memory.fingerprints = np.array(rows)
        return memory.fingerprints

    def structure(self, structure: Any) -> Floats:
        """Mean and standard deviation of each column over the sites, interleaved."""
        columns = np.ascontiguousarray(self.sites(structure).T)  # so that numbers are added as they are in one column
        spread = columns.std(axis=1) if len(columns[0]) > 1 else np.zeros(len(columns))
        return np.column_stack([columns.mean(axis=1), spread]).ravel()

    def _ordered(self, data: Any) -> bool:
        """Whether the order of these neighbours decides a value."""
        return any(weight and order_parameters.depends_on_order(motif)
                   for cn, weight in data.cn_weights.items() for motif, _ in self.motifs.get(cn, ()))

    def _site(self, structure: Any, n: int) -> list[float]:
        """The row of one site; stock's own where rounding errors would decide a value."""
        data = self.neighbours.get_nn_data(structure, n)
        if self._ordered(data):
            data = self.neighbours.stock_nn_data(structure, n)
        row: list[float] = []
        for cn in range(1, max(self.motifs) + 1):
            weight = data.cn_weights.get(cn, 0)
            row.append(weight)
            if not weight:
                row += [0.0] * len(self.motifs[cn])
                continue
            around = order_parameters.Surroundings(vectors(structure, n, data.cn_nninfo[cn]))
            for motif, values in self.motifs[cn]:
                value, settled = order_parameters.order_parameter(motif, values, around)
                if not settled:
                    stock: list[float] = self.stock.featurize(structure, n)
                    return stock
                row.append(weight * value)
        return row


class _StockOrder:
    """For the stock fingerprint, neighbours in the order of stock."""

    def __init__(self, neighbours: OrbitNN) -> None:
        self._neighbours = neighbours

    def get_nn_data(self, structure: Any, n: int) -> Any:
        """Neighbours of site `n`."""
        return self._neighbours.stock_nn_data(structure, n)
