"""Texts of stock Robocrystallographer, kept, since it takes ten seconds a crystal.

`python -m tests.features.description.stock` writes them anew, which a new version of a library below makes necessary.
"""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from benchmarks.describe import stock_text
from features import crystal
from features.views.descriptions import DescribeParams
from tests.conftest import CRYSTALS

FILE = Path(__file__).parent / "stock_texts.json"
LIBRARIES = ("robocrys", "matminer", "pymatgen", "pymatgen-core")
DOZEN = ["mp-22862", "mp-48", "mp-984", "mp-5229", "mp-149", "mp-2700", "mp-20928", "mp-786", "mp-1818", "mp-20066",
         "mp-19", "mp-10401"]
"""Frameworks, sheets, chains, molecules, isolated atoms; ionic, covalent and metallic; prototypes and none."""
SETTINGS = {
    "default": DescribeParams(),
    "ions": DescribeParams(oxidation_states="guess", symmetry_labels=False),
    "no labels": DescribeParams(symmetry_labels=False, decimals=3),
}
CASES = [*((material_id, "default") for material_id in DOZEN), ("mp-5229", "ions"), ("mp-5229", "no labels")]


def canonical(structure: Structure) -> Any:
    """A crystal as the tables hold it."""
    return crystal.from_cif(crystal.to_cif(crystal.canonical_structure(structure)))


def texts() -> dict[str, str]:
    """What stock says, by `material_id, setting`. Raises `RuntimeError` if that was another version's word."""
    content: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))
    if content["libraries"] != _libraries():
        raise RuntimeError(f"{FILE.name} is of {content['libraries']}: run python -m {__spec__.name}")
    return content["texts"]


def _libraries() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def _structure(material_id: str) -> Any:
    (path,) = (path for path in (CRYSTALS / f"{material_id}.cif", CRYSTALS / "low_dimensional" / f"{material_id}.cif")
               if path.exists())
    return canonical(Structure.from_file(path))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    made = {f"{material_id}, {setting}": stock_text(_structure(material_id), SETTINGS[setting])
            for material_id, setting in CASES}
    FILE.write_text(json.dumps({"libraries": _libraries(), "texts": made}, indent=1, ensure_ascii=False) + "\n",
                    encoding="utf-8")
