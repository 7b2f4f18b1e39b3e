"""Tabulated properties of the elements, by which elements that no training crystal has are like those that some have.

The tables are Magpie's (Ward et al., npj Comput. Mater. 2, 16028, 2016) as matminer has them (BSD licence). Two of them
are knowledge of elemental solids from elsewhere, and none is an elastic constant: `GSvolume_pa` (volume per atom of the
element's ground state, computed in OQMD) and `MeltingT`.
"""

from __future__ import annotations

import functools
import math
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from model.input.batch import N_ELEMENTS

NAMES = ("Number", "MendeleevNumber", "AtomicWeight", "MeltingT", "Column", "Row", "CovalentRadius",
         "Electronegativity", "NsValence", "NpValence", "NdValence", "NfValence", "NValence", "NsUnfilled",
         "NpUnfilled", "NdUnfilled", "NfUnfilled", "NUnfilled", "GSvolume_pa", "GSbandgap", "GSmagmom",
         "SpaceGroupNumber")
"""The 22 properties of Magpie's composition features."""


@functools.cache
def standardised() -> NDArray[np.float32]:
    """`[N_ELEMENTS, 22]`: each property with mean 0 and deviation 1 over the elements, 0 where there is no value."""
    values = np.stack([_table(name) for name in NAMES], axis=1)
    mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    result: NDArray[np.float32] = np.nan_to_num((values - mean) / deviation).astype(np.float32)
    return result


@functools.cache
def covalent_radii() -> NDArray[np.float32]:
    """`[N_ELEMENTS]`, Å; 0 where there is none."""
    return np.nan_to_num(_table("CovalentRadius") / 100).astype(np.float32)


def _table(name: str) -> NDArray[np.float64]:
    """`[N_ELEMENTS]` by atomic number; NaN where there is no value. The file has one line for each element."""
    file = resources.files("matminer") / "utils" / "data_files" / "magpie_elementdata" / f"{name}.table"
    result = np.full(N_ELEMENTS, np.nan)
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines()[:N_ELEMENTS - 1], start=1):
        result[number] = float(line) if _is_number(line) else math.nan
    return result


def _is_number(line: str) -> bool:
    return line.strip().replace(".", "", 1).replace("-", "", 1).isdigit()
