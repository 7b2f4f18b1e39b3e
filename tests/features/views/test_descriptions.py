import json
import warnings
from typing import Any

import pytest

from features import crystal
from features.errors import RowError
from features.views import descriptions, materials
from features.views.descriptions import DescribeParams, flags, repair
from features.views.materials import MaterialsParams


def test_numpy_integers_are_printed_as_integers() -> None:
    text = "sheets oriented in the (np.int64(0), np.int64(-1), np.int64(1)) direction."
    assert repair(text) == "sheets oriented in the (0, -1, 1) direction."


def test_sets_are_printed_in_a_fixed_order() -> None:
    for order in ("edge, face, and corner", "corner, edge, and face", "face, corner, and edge"):
        assert repair(f"a mixture of distorted {order}-sharing CaSb6 octahedra") == \
            "a mixture of distorted corner, edge, and face-sharing CaSb6 octahedra"
    assert repair("a mixture of edge and corner-sharing") == "a mixture of corner and edge-sharing"
    assert repair("oriented in the (1, 0, 0) and (0, 1, 0) directions") == \
        "oriented in the (0, 1, 0) and (1, 0, 0) directions"
    assert repair("oriented in the (1, 0, 0); (0, 1, 0); and (0, 0, 1) directions") == \
        "oriented in the (0, 0, 1); (0, 1, 0); and (1, 0, 0) directions"


def test_other_text_is_left_alone() -> None:
    text = "NaCl is Halite, Rock Salt structured and crystallizes in the cubic Fm-3m space group."
    assert repair(text) == text


def test_a_shared_corner_is_named_once() -> None:
    stock = "tetrahedra that share  a cornercorner with one Si(1)O4 tetrahedra,  an edgeedge with one Al(1)O6 octahedra"
    assert repair(stock) == ("tetrahedra that share a corner with one Si(1)O4 tetrahedra, an edge with one Al(1)O6 "
                             "octahedra")


def test_an_isolated_atom_is_called_so_and_flagged() -> None:
    text = repair("Xe crystallizes in the cubic Fm-3m space group. "
                  "Xe(1) is bonded in a 1-coordinate geometry to  atoms.")
    assert text.endswith(" Xe(1) is isolated and has no bonds.")
    assert flags(text) == ["isolated_atom"]


@pytest.mark.parametrize("stock", [
    "Cs(1) is bonded in a distorted square co-planar geometry to  atoms.",
    "Cs(1) is bonded to  atoms to form distorted corner-sharing octahedra.",
])
def test_isolated_atoms_of_any_geometry(stock: str) -> None:
    assert repair(f"KCl is cubic. {stock} K(1) stays.") == (
        "KCl is cubic. Cs(1) is isolated and has no bonds. K(1) stays.")


def test_a_prototype_of_another_symmetry_is_flagged() -> None:
    assert flags("RuSi is Tetraauricupride structured and crystallizes in the cubic Pm-3m space group.") == [
        "prototype_name"]
    assert flags("IrV is Tetraauricupride structured and crystallizes in the tetragonal P4/mmm space group.") == []


def test_deuterium_is_hydrogen_and_flagged() -> None:
    from pymatgen.core import Lattice, Structure

    salts = [Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.08), ["Li", h], [[0, 0, 0], [0.5, 0.5, 0.5]])
             for h in ("H", "D")]
    assert len({crystal.to_cif(crystal.canonical_structure(salt)) for salt in salts}) == 1
    flagged = []
    for symbol in ("H", "D"):
        written = salts[0].to(fmt="cif").replace("  H  H", f"  {symbol}  {symbol}")
        unit = dict.fromkeys(materials.SOURCE_SCHEMA.names, "") | {
            "material_id": "x", "structure": written, "format": "cif", "properties": "{}"}
        row = materials.compute.function(unit, MaterialsParams())
        flagged.append(descriptions.compute.function(row, DescribeParams())["flags"])
    assert flagged == [[], ["isotopes"]]


def test_ions_are_named_only_where_charges_balance(structures: dict[str, Any]) -> None:
    alloy = crystal.canonical_structure(structures["mp-416"])
    assert descriptions.with_guessed_ions(alloy) is alloy
    assert "Ti4+" in str(descriptions.with_guessed_ions(crystal.canonical_structure(structures["mp-5229"])))


def row_of(structure: Any, params: DescribeParams | None = None) -> dict[str, Any]:
    cif = crystal.to_cif(crystal.canonical_structure(structure))
    row: dict[str, Any] = descriptions.compute.function(
        {"material_id": "x", "cif": cif, "isotopes": []}, params or DescribeParams())
    return row


@pytest.mark.parametrize(("name", "flagged"), [
    ("mp-5229", False),  # SrTiO3
    ("mp-416", True),  # no charges balance
    ("mp-149", True),  # silicon: zero
    ("CaCu3Ti4O12", True),  # "cannot accommodate max_sites setting!"
])
def test_without_a_guess_the_text_goes_without_ions(structures: dict[str, Any], name: str, flagged: bool) -> None:
    from pymatgen.core import Lattice, Structure

    structure = structures[name] if name in structures else Structure.from_spacegroup(
        "Im-3", Lattice.cubic(7.391), ["Ca", "Cu", "Ti", "O"],
        [[0, 0, 0], [0, 0.5, 0.5], [0.25, 0.25, 0.25], [0.3038, 0.1797, 0]])
    plain, asked = row_of(structure), row_of(structure, DescribeParams(oxidation_states="guess"))
    assert asked["flags"] == plain["flags"] + (["no_oxidation_states"] if flagged else [])
    assert (asked["text"] == plain["text"]) == flagged
    assert (asked["sites"] == plain["sites"]) == flagged


def test_another_space_group_than_the_rows_is_flagged(structures: dict[str, Any]) -> None:
    """A body-centred cell 3 % too long is cubic to spglib within 5°, Robocrystallographer's angle."""
    from pymatgen.core import Lattice, Structure

    long = Structure.from_spacegroup("I4/mmm", Lattice.tetragonal(3.16, 3.26), ["W"], [[0, 0, 0]])
    row = row_of(long)
    assert (row["space_group"], row["flags"]) == ("Im-3m", ["space_group"])
    assert "crystallizes in the cubic Im-3m space group" in row["text"]
    assert crystal.space_group(long) == ("I4/mmm", 139, "tetragonal")
    cif = crystal.to_cif(crystal.canonical_structure(long))
    for symbol, flagged in (("Im-3m", ["space_group"]), ("I4/mmm", []), (None, [])):
        served = {"text": f"W crystallizes in the {symbol} space group.", "version": None, "mineral": None,
                  "dimensionality": None, "space_group": symbol, "crystal_system": None}
        unit = {"material_id": "x", "cif": cif, "isotopes": [], "served": json.dumps(served)}
        assert descriptions.compute.function(unit, DescribeParams())["flags"] == flagged


def test_no_warning_of_a_library_is_shown(structures: dict[str, Any]) -> None:
    units = [{"material_id": name, "cif": crystal.to_cif(crystal.canonical_structure(structures[name])),
              "isotopes": []} for name in ("mp-5229", "mp-416")]
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for unit in units:
            descriptions.compute.function(unit, DescribeParams(oxidation_states="guess"))
    assert [str(warning.message) for warning in shown] == []


def test_a_real_crystal(structures: dict[str, Any]) -> None:
    cif = crystal.to_cif(crystal.canonical_structure(structures["mp-22862"]))
    row = descriptions.compute.function({"material_id": "mp-22862", "cif": cif, "isotopes": []}, DescribeParams())
    assert row["text"].startswith(
        "NaCl is Halite, Rock Salt structured and crystallizes in the cubic Fm-3m space group. Na(1) is bonded to six "
        "equivalent Cl(1) atoms to form a mixture of corner and edge-sharing NaCl6 octahedra. The corner-sharing "
        "octahedra are not tilted.")
    assert [tag["region"] for tag in row["sentences"]] == [
        "global", "semiglobal", "semiglobal", "local", "semiglobal", "semiglobal"]
    assert (row["flags"], row["source"]) == ([], "computed")


def test_failure_of_the_engine_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from features.describer.engine import Condenser

    def broken(*_: object) -> None:
        raise ValueError("2D components don't all have the same orientation.")

    monkeypatch.setattr(Condenser, "condense_structure", broken)
    with pytest.raises(RowError, match="same orientation") as error:
        descriptions.describe(None, DescribeParams())
    assert error.value.kind == "ValueError"
