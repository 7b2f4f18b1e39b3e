"""Site and structure fingerprints of Robocrystallographer, from shared neighbours and compiled order parameters."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from matminer.featurizers.site import CrystalNNFingerprint
from matminer.featurizers.structure import SiteStatsFingerprint
from matminer.featurizers.utils.stats import PropertyStats
from numpy.typing import NDArray

from features.description import order_parameters
from features.description.neighbours import OrbitNN, vectors

Floats = NDArray[np.float64]


class Fingerprints:
    """The "ops" fingerprint: for each coordination number its weight, and the weight times each motif's parameter."""

    def __init__(self, neighbours: OrbitNN) -> None:
        self.neighbours = neighbours
        stock = CrystalNNFingerprint.from_preset("ops", cation_anion=False)
        self.motifs: dict[int, list[tuple[str, Floats]]] = {}
        for cn, parameters in stock.ops.items():
            self.motifs[cn] = [
                (one.get_type(0), order_parameters.constants(one.get_parameters(0)))
                for one in parameters if one != "wt"]

    @cached_property
    def labels(self) -> list[str]:
        """Names of the columns, as Robocrystallographer reads them."""
        labels: list[str] = SiteStatsFingerprint.from_preset("CrystalNNFingerprint_ops", stats=None).feature_labels()
        return labels

    def sites(self, structure: Any) -> Floats:
        """`[sites, columns]`, one computation per symmetry orbit."""
        known = self.neighbours.known(structure)
        if known.fingerprints is None:
            rows = {source: self._site(structure, source) for source in dict.fromkeys(known.orbit_of)}
            known.fingerprints = np.array([rows[source] for source in known.orbit_of])
        return known.fingerprints

    def structure(self, structure: Any) -> Floats:
        """Mean and standard deviation of each column over the sites, interleaved."""
        values = [PropertyStats.calc_stat(column.tolist(), name)
                  for column in self.sites(structure).T for name in ("mean", "std_dev")]
        return np.array(values)

    def _site(self, structure: Any, n: int) -> list[float]:
        data = self.neighbours.get_nn_data(structure, n)
        row: list[float] = []
        for cn in range(1, max(self.motifs) + 1):
            weight = data.cn_weights.get(cn, 0)
            row.append(weight)
            around = vectors(structure, n, data.cn_nninfo[cn]) if weight else None
            row += [0.0 if around is None else weight * order_parameters.order_parameter(motif, values, around)
                    for motif, values in self.motifs[cn]]
        return row
