"""The describer's text is stock Robocrystallographer's, letter by letter."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from benchmarks.describe import stock_text
from features import crystal
from features.describer.bonds import Bonds
from features.describer.neighbours import OrbitNN
from features.errors import RowError
from features.views import descriptions
from features.views.descriptions import DescribeParams
from tests.conftest import CRYSTALS
from tests.features.describer import stock

REPO = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def structures(structures: dict[str, Any], low_dimensional: dict[str, Any]) -> dict[str, Any]:
    """All of them."""
    return structures | low_dimensional


def canonical(structures: dict[str, Any], material_id: str) -> Any:
    return stock.canonical(structures[material_id])


@pytest.mark.parametrize(("material_id", "setting"), stock.CASES)
def test_equal_to_stock(structures: dict[str, Any], material_id: str, setting: str) -> None:
    found = descriptions.describe(canonical(structures, material_id), stock.SETTINGS[setting])
    assert found.text == stock.texts()[f"{material_id}, {setting}"]
    expected = {"mp-1818": 0, "mp-20066": 0, "mp-10401": 0, "mp-19": 1, "mp-48": 2, "mp-984": 2, "mp-2700": 3}
    assert found.condensed["dimensionality"] == expected.get(material_id, 3)
    assert ("isolated_atom" in descriptions.flags(found.text)) == (material_id == "mp-10401")
    assert ("Ti4+" in found.text) == (setting == "ions")


@pytest.mark.slow
def test_stock_still_says_what_is_kept_of_it(structures: dict[str, Any]) -> None:
    assert stock.stock_text(canonical(structures, "mp-149"), DescribeParams()) == stock.texts()["mp-149, default"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mp-643260", "mp-1018134", "polar BaTiO3"])
def test_equal_to_stock_where_it_splits_orbits(name: str) -> None:
    """Rounding errors and the order of neighbours let stock find sites different that symmetry makes equal."""
    if name == "polar BaTiO3":
        raw = Structure.from_spacegroup("P4mm", Lattice.cubic(4.0), ["Ba", "Ti", "O", "O"],
                                        [[0, 0, 0], [0.5, 0.5, 0.502], [0.5, 0.5, 0], [0.5, 0, 0.5]])
    else:
        raw = Structure.from_file(CRYSTALS / "split_orbits" / f"{name}.cif")
    structure = crystal.canonical_structure(raw)
    assert descriptions.describe(structure, DescribeParams()).text == stock_text(structure, DescribeParams())


def test_neighbours_come_in_the_order_of_stock(structures: dict[str, Any]) -> None:
    for material_id in stock.DOZEN:
        conventional = SpacegroupAnalyzer(canonical(structures, material_id)).get_conventional_standard_structure()
        neighbours = OrbitNN()
        bonded = neighbours.get_bonded_structure(conventional)
        bonds = Bonds(bonded)
        for n in range(len(conventional)):
            expected = [(site.index, tuple(int(x) for x in site.jimage)) for site in bonded.get_connected_sites(n)]
            assert bonds.around(n) == expected


def test_how_the_file_is_written_changes_no_word(structures: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    for material_id in stock.DOZEN[:6]:
        other = structures[material_id].copy()
        other.make_supercell([2, 1, 1])
        other.translate_sites(range(len(other)), rng.random(3))
        other = type(other).from_sites([other[index] for index in rng.permutation(len(other))])
        texts = {descriptions.describe(crystal.canonical_structure(one), DescribeParams()).text
                 for one in (structures[material_id], other)}
        assert len(texts) == 1


def test_a_crystal_does_not_see_the_one_before(structures: dict[str, Any]) -> None:
    """The condenser is shared; what it remembers must not reach the next text, not even after a failure."""
    forwards = [descriptions.describe(canonical(structures, i), DescribeParams()).text for i in stock.DOZEN]
    with pytest.raises(RowError):
        descriptions.describe(None, DescribeParams())
    backwards = [descriptions.describe(canonical(structures, i), DescribeParams()).text for i in stock.DOZEN[::-1]]
    assert backwards[::-1] == forwards


@pytest.mark.slow
def test_deterministic_under_any_hash_seed(structures: dict[str, Any]) -> None:
    code = ("import sys; from pymatgen.core import Structure; from features import crystal\n"
            "from features.views import descriptions as d\n"
            "for f in sys.argv[1:]: print(d.describe(crystal.canonical_structure(Structure.from_file(f)), "
            "d.DescribeParams()).text)")
    ids = ("mp-22862", "mp-2700", "mp-984", "mp-19", "mp-416")
    files = [str(next(CRYSTALS.rglob(f"{i}.cif"))) for i in ids]
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # not that of this process
    said = subprocess.run([sys.executable, "-W", "ignore", "-c", code, *files], cwd=REPO, check=True, text=True,
                          capture_output=True, timeout=200, env={**os.environ, "PYTHONHASHSEED": seed}).stdout
    here = [descriptions.describe(crystal.canonical_structure(structures[i]), DescribeParams()).text for i in ids]
    assert said.splitlines() == here
    assert "NaCl is Halite" in here[0]


def test_no_network(structures: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refused(*_: object) -> None:
        raise AssertionError("a description asked the network")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    assert descriptions.describe(canonical(structures, "mp-20066"), DescribeParams()).text
