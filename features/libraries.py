"""Which versions of the libraries that decide values are installed, and which are not written into fingerprints."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from features.errors import UserError

BASELINE = {
    "inflect": "7.6.0",
    "llvmlite": "0.50.0",
    "networkx": "3.6.1",
    "numba": "0.68.1",
    "numpy": "2.4.6",
    "pandas": "2.3.3",
    "pymatgen": "2026.10.24",
    "scipy": "1.17.1",
    "spglib": "2.8.0",
}
"""The libraries that fingerprints did not name at first, with the versions of that time (`FeatureView.baselined`).
Never changed: another version here would take rows of other values for finished.
"""


def installed(name: str) -> str:
    """Version of a distribution. Raises `UserError` if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"the package {name} is not installed, and its version decides values; install the versions of "
                        "constraints.txt") from None


def complete(header: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str | None]:
    """The libraries of a header, and for each other of `names` the version that it stands for by saying nothing."""
    return {**header, **{name: BASELINE.get(name) for name in names if name not in header}}
