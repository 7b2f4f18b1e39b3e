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
