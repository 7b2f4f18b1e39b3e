from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from features import crystal
from features.cif.facts import formula_of
from features.cif.read import read_cif
from features.errors import RowError
from tests.features.cif.writing import ROCK_SALT, cif, operations

CASES = Path(__file__).parent / "cases"
with (CASES / "expected.csv").open(encoding="utf-8") as handle:
    EXPECTED = list(csv.DictReader(handle))
REJECTS = {"d3_label_OH.cif": "hydrogen_missing", "e13_nh4cl.cif": "hydrogen_missing",
           "d41_formula_mismatch.cif": "contradicts_formula", "e9_name_vs_single_op.cif": "contradicts_symmetry",
           "e11_superspace.cif": "superspace"}
NACL = ("_chemical_formula_sum 'Na Cl'", "_cell_formula_units_Z 4")


def formula(text: str) -> str:
    return str(read_cif(text).structure.composition.formula)


def kind(text: str) -> str:
    with pytest.raises(RowError) as caught:
        read_cif(text)
    assert len(str(caught.value)) > 20
    return caught.value.kind


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: case["file"].removesuffix(".cif"))
def test_what_a_file_means(case: dict[str, str]) -> None:
    raw = (CASES / case["file"]).read_bytes()
    if case["expect"] == "reject":
        with pytest.raises(RowError) as caught:
            read_cif(raw)
        assert caught.value.kind == REJECTS[case["file"]]
        return
    from pymatgen.core import Composition

    structure = crystal.canonical_structure(read_cif(raw).structure)
    assert structure.composition.reduced_composition == Composition(case["formula"]).reduced_composition
    if case["nsites"]:
        assert len(structure) == int(case["nsites"])
    if case["space_group_number"]:
        assert crystal.space_group(structure)[1] == int(case["space_group_number"])
    if case["density"]:
        assert structure.density == pytest.approx(float(case["density"]), abs=0.06)


@pytest.mark.parametrize("how", [
    {"triplets": operations("F m -3 m")},
    {"lines": ("_space_group_name_Hall '-F 4 2 3'",)},
    {"lines": ("_space_group_name_H-M_alt 'F m -3 m'",)},
    {"lines": ("_symmetry_space_group_name_H-M Fm-3m",)},
    {"lines": ("_symmetry_space_group_name_H-M 'F 4/m -3 2/m'",)},
    {"lines": ("_space_group_IT_number 225",)},
], ids=["operations", "Hall", "name", "short", "full", "number"])
def test_every_way_of_giving_the_symmetry(how: dict[str, Any]) -> None:
    assert formula(cif(*how.get("lines", ()), triplets=how.get("triplets", ()))) == "Na4 Cl4"


def test_operations_that_the_name_contradicts_need_the_facts() -> None:
    name = "_space_group_name_H-M_alt 'P m -3 m'"
    assert kind(cif(name, triplets=operations("F m -3 m"))) == "contradicts_symmetry"
    reading = read_cif(cif(name, *NACL, triplets=operations("F m -3 m")))
    assert reading.structure.composition.formula == "Na4 Cl4"
    assert "symmetry_disputed" in reading.flags


def test_of_a_name_and_a_number_in_dispute_the_facts_choose() -> None:
    lines = ("_space_group_name_H-M_alt 'P m -3 m'", "_space_group_IT_number 225")
    assert kind(cif(*lines)) == "contradicts_symmetry"
    assert formula(cif(*lines, *NACL)) == "Na4 Cl4"


def test_operations_without_the_centring_are_completed_where_the_facts_confirm_it() -> None:
    triplets = [triplet for triplet in operations("F m -3 m") if "/" not in triplet]
    name = "_space_group_name_H-M_alt 'F m -3 m'"
    assert kind(cif(name, triplets=triplets)) == "contradicts_symmetry"
    reading = read_cif(cif(name, *NACL, triplets=triplets))
    assert reading.structure.composition.formula == "Na4 Cl4"
    assert "operations_incomplete" in reading.flags


def test_a_list_that_is_no_group_is_completed_by_a_name_that_holds_it() -> None:
    some = operations("F m -3 m")[:50]
    assert formula(cif("_space_group_name_H-M_alt 'F m -3 m'", triplets=some)) == "Na4 Cl4"
    assert kind(cif(triplets=some)) == "contradicts_symmetry"


def test_a_file_without_symmetry_is_taken_only_if_all_atoms_are_listed() -> None:
    assert kind(cif()) == "no_symmetry_given"
    assert kind(cif(*NACL)) == "no_symmetry_given"
    whole = [(f"{element}{k}", element, *place) for k, (element, place) in enumerate(
        [("Na", (0, 0, 0)), ("Na", (0, .5, .5)), ("Na", (.5, 0, .5)), ("Na", (.5, .5, 0)),
         ("Cl", (.5, .5, .5)), ("Cl", (.5, 0, 0)), ("Cl", (0, .5, 0)), ("Cl", (0, 0, .5))])]
    assert formula(cif(*NACL, sites=whole)) == "Na4 Cl4"
    # a list of atoms with the identity only, and the name that the crystal has
    assert formula(cif("_space_group_name_H-M_alt 'F m -3 m'", triplets=["x,y,z"], sites=whole)) == "Na4 Cl4"
    assert kind(cif("_space_group_name_H-M_alt 'F m -3 m'", triplets=["x,y,z"], sites=whole[:7])) \
        == "contradicts_symmetry"


def test_a_primitive_cell_under_the_name_of_the_conventional_one() -> None:
    sites = [("Si1", "Si", 0, 0, 0), ("Si2", "Si", .25, .25, .25)]
    cell = (3.84, 3.84, 3.84, 60, 60, 60)
    assert formula(cif("_space_group_name_H-M_alt 'F d -3 m'", cell=cell, sites=sites)) == "Si2"
    assert kind(cif("_space_group_name_H-M_alt 'F d -3 m'", cell=cell, sites=sites[:1])) == "contradicts_cell"
    # one atom has the symmetry of its lattice wherever it lies
    carbon = [("C1", "C", 0.1, 0.2, 0.3)]
    assert kind(cif("_space_group_IT_number 10", cell=(5, 6, 7, 90, 90, 98), sites=carbon)) == "contradicts_cell"
    assert kind(cif("_space_group_name_H-M_alt 'F m -3 m'", cell=cell, sites=carbon)) == "contradicts_cell"


@pytest.mark.parametrize(("position", "atoms"), [(0.0, "Si8"), (0.125, "Si8")])
def test_the_origin_that_a_name_leaves_open(position: float, atoms: str) -> None:
    """Silicon at 0 is that of the first origin, at 1/8 that of the second; the other has atoms 1.9 Å apart."""
    silicon = [("Si1", "Si", position, position, position)]
    text = cif("_space_group_name_H-M_alt 'F d -3 m'", cell=(5.43,) * 3 + (90,) * 3, sites=silicon)
    assert formula(text) == atoms


def test_an_origin_that_nothing_decides_is_no_guess() -> None:
    carbon = [("C1", "C", 0.0, 0.0, 0.0)]
    text = cif("_space_group_name_H-M_alt 'F d -3 m'", cell=(20,) * 3 + (90,) * 3, sites=carbon)
    assert kind(text) == "origin_open"
    reading = read_cif(text, keep_contradictions=True)
    assert "origin_open" in reading.flags


@pytest.mark.parametrize(("lines", "expected"), [
    (("_chemical_formula_sum 'Na Cl O3'",), "contradicts_formula"),
    (("_chemical_formula_sum 'Na Cl'", "_cell_formula_units_Z 2"), "contradicts_z"),
    (("_chemical_formula_sum 'Na2 Cl2'", "_cell_formula_units_Z 4"), "contradicts_z"),
    (("_exptl_crystal_density_diffrn 1.5",), "contradicts_density"),
    (("_cell_volume 200",), "contradicts_volume"),
    (("_chemical_formula_sum 'Na Cl H2 O'",), "contradicts_formula"),
    (("_chemical_formula_sum 'Na Cl H2'",), "hydrogen_missing"),
])
def test_a_contradiction_is_a_reject_with_both_values_or_a_row_with_a_flag(
        lines: tuple[str, ...], expected: str) -> None:
    text = cif(*lines, triplets=operations("F m -3 m"))
    assert kind(text) == expected
    reading = read_cif(text, keep_contradictions=True)
    assert reading.structure.composition.formula == "Na4 Cl4"
    assert lines[0].split(maxsplit=1)[1].strip("'") in reading.flags[expected]


@pytest.mark.parametrize("lines", [
    ("_chemical_formula_sum 'Na Cl'",), ("_chemical_formula_sum 'Cl1 Na1'", "_cell_formula_units_Z 4"),
    ("_chemical_formula_sum 'Na4 Cl4'", "_cell_formula_units_Z 4", "_chemical_formula_structural NaCl"),
    ("_chemical_formula_sum 'Na4 Cl4'", "_cell_formula_units_Z 4", "_exptl_crystal_density_diffrn 2.16"),
    ("_chemical_formula_sum NaCl",), ("_chemical_formula_sum 'NA CL'",),
    ("_chemical_formula_sum 'Na Cl, 2(H2 O)'",), ("_chemical_formula_sum NaCl.2H2O",),
    ("_exptl_crystal_density_diffrn 2.16(1)",), ("_exptl_crystal_density_diffrn 2160",), ("_cell_volume 179.4(2)",),
    ("_chemical_formula_sum ?", "_cell_formula_units_Z ."), ("_chemical_formula_sum 'Na x Cl'",),
])
def test_facts_that_agree_or_say_nothing(lines: tuple[str, ...]) -> None:
    reading = read_cif(cif(*lines, triplets=operations("F m -3 m")))
    assert reading.structure.composition.formula == "Na4 Cl4"
    assert reading.flags == {}


def test_a_wrong_z_is_a_flag_where_the_density_confirms_the_sites() -> None:
    lines = ("_chemical_formula_sum 'Na Cl'", "_cell_formula_units_Z 2", "_exptl_crystal_density_diffrn 2.16")
    assert list(read_cif(cif(*lines, triplets=operations("F m -3 m"))).flags) == ["contradicts_z"]


def test_a_formula_of_the_cell_is_said_where_it_could_be_that_of_a_unit() -> None:
    """Of calomel, Hg2Cl2, half the atoms look the same."""
    lines = ("_chemical_formula_sum 'Na4 Cl4'", "_cell_formula_units_Z 4")
    assert list(read_cif(cif(*lines, triplets=operations("F m -3 m"))).flags) == ["formula_of_the_cell"]


@pytest.mark.parametrize(("text", "counts"), [
    ("CO2", {"C": 1, "O": 2}), ("C O2", {"C": 1, "O": 2}), ("HF", {"H": 1, "F": 1}), ("NA CL", {"Na": 1, "Cl": 1}),
    ("Ca (Al1.94 Fe.06) O4", {"Ca": 1, "Al": 1.94, "Fe": 0.06, "O": 4}), ("D2 O", {"H": 2, "O": 1}),
    ("O4 S 2-", {"O": 4, "S": 1}), ("Pb5 (O2 C)2", {"Pb": 5, "O": 4, "C": 2}), ("C1 H4", {"C": 1, "H": 4}),
    ("CaSO4.2H2O", None), ("Ca O4 S, 2(H2 O)", None), ("Ca CO3", None), ("Na x Cl", None), ("?", None), ("Qq2", None),
])
def test_sum_formulas(text: str, counts: dict[str, float] | None) -> None:
    assert formula_of(text) == (None if counts is None else pytest.approx(counts))


@pytest.mark.parametrize(("number", "cell", "sites", "expected"), [
    (227, (5.431, 5.431, 5.431, 90, 90, 90), [("Si1", "Si", 0, 0, 0)], "Si8"),
    (227, (5.431, 5.431, 5.431, 90, 90, 90), [("Si1", "Si", 0.125, 0.125, 0.125)], "Si8"),
    (129, (3.97, 3.97, 5.02, 90, 90, 90), [("Pb1", "Pb", 0, 0.5, 0.2345), ("O1", "O", 0, 0, 0)], "Pb2 O2"),
    (141, (3.784, 3.784, 9.515, 90, 90, 90), [("Ti1", "Ti", 0, 0, 0), ("O1", "O", 0, 0, 0.2081)], "Ti4 O8"),
    (227, (8.083, 8.083, 8.083, 90, 90, 90),
     [("Mg1", "Mg", 0, 0, 0), ("Al1", "Al", 0.625, 0.625, 0.625), ("O1", "O", 0.3875, 0.3875, 0.3875)], "Mg8 Al16 O32"),
], ids=["silicon 1", "silicon 2", "litharge", "anatase", "spinel"])
def test_a_number_is_in_the_origin_at_which_atoms_have_room(number: int, cell: tuple[float, ...], sites: list[Any],
                                                            expected: str) -> None:
    reading = read_cif(cif(f"_space_group_IT_number {number}", cell=cell, sites=sites))
    assert reading.structure.composition.formula == expected
    assert reading.flags == {}


def test_names_that_disagree_are_a_contradiction() -> None:
    lines = ("_space_group_name_H-M_alt 'P 1'", "_symmetry_space_group_name_H-M 'F m -3 m'")
    assert kind(cif(*lines)) == "contradicts_symmetry"
    assert formula(cif(*lines, *NACL)) == "Na4 Cl4"


def test_labels_against_the_formula_are_kept_by_choice() -> None:
    text = cif("_chemical_formula_sum 'Na Br'", triplets=operations("F m -3 m"),
               columns=("label", "fract_x", "fract_y", "fract_z"), sites=[(label, x, y, z) for label, _, x, y, z
                                                                          in ROCK_SALT])
    assert kind(text) == "element_unclear"
    assert "contradicts_formula" in read_cif(text, keep_contradictions=True).flags


def test_superspace_beside_ordinary_operations_is_the_average() -> None:
    reading = read_cif(cif("_cell_modulation_dimension 1", triplets=operations("F m -3 m")))
    assert list(reading.flags) == ["modulated"]


def test_magnetic_operations_are_those_of_the_nuclei() -> None:
    lines = ("loop_", "_space_group_symop_magn_operation.id", "_space_group_symop_magn_operation.xyz",
             *(f"{k} {triplet},{sign}" for k, (triplet, sign) in enumerate(
                 zip(operations("P m -3 m"), ["+1", "-1"] * 24, strict=True))),
             "loop_", "_space_group_symop_magn_centering.xyz", "x,y,z,+1", "x+1/2,y+1/2,z,+1", "x+1/2,y,z+1/2,-1",
             "x,y+1/2,z+1/2,-1")
    assert formula(cif(*lines)) == "Na4 Cl4"


def test_a_disordered_crystal_says_which_site() -> None:
    text = cif(triplets=operations("F m -3 m"), columns=("label", "fract_x", "fract_y", "fract_z", "occupancy"),
               sites=[(label, x, y, z, 0.5) for label, _, x, y, z in ROCK_SALT])
    with pytest.raises(RowError, match=r"site 'Na1' is occupied to 0\.5 only") as caught:
        read_cif(text)
    assert caught.value.kind == "disordered"
