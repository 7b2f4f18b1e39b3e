from __future__ import annotations

from collections import Counter

import pytest

from features.cif.read import read_cif
from features.errors import RowError
from tests.features.cif.writing import cif, operations

FM3M = operations("F m -3 m")
LABELS = ("label", "fract_x", "fract_y", "fract_z")
PLACES = ((0, 0, 0), (0.5, 0.5, 0.5))


def salt(first: str, second: str, *lines: str) -> str:
    """Rock salt whose sites have labels only."""
    return cif(*lines, triplets=FM3M, columns=LABELS, sites=[(first, *PLACES[0]), (second, *PLACES[1])])


def formula(text: str) -> str:
    """With D for deuterium, in the order of the sites."""
    counts = Counter(site.specie.name for site in read_cif(text).structure)
    return " ".join(f"{name}{count}" for name, count in counts.items())


def kind(text: str) -> str:
    with pytest.raises(RowError) as caught:
        read_cif(text)
    return caught.value.kind


@pytest.mark.parametrize(("symbol", "atoms"), [
    ("Na", "Na4 Cl4"), ("NA", "Na4 Cl4"), ("Na1+", "Na4 Cl4"), ("Na+", "Na4 Cl4"), ("Na0.5+", "Na4 Cl4"),
    ("Na+1", "Na4 Cl4"), ("Fe3+", "Fe4 Cl4"), ("13C", "C4 Cl4"), ("D", "D4 Cl4"), ("CO", "Co4 Cl4"),
])
def test_type_symbols(symbol: str, atoms: str) -> None:
    text = cif(triplets=FM3M, sites=[("X1", symbol, 0, 0, 0), ("Cl1", "Cl", 0.5, 0.5, 0.5)])
    assert formula(text) == atoms


@pytest.mark.parametrize("symbol", ["Xx", "OH", "OH2", "NH", "Wat", "6", "T", "M", "Q", "Uue", "Fex"])
def test_what_is_no_element_never_becomes_one(symbol: str) -> None:
    text = cif(triplets=FM3M, sites=[("X1", symbol, 0, 0, 0), ("Cl1", "Cl", 0.5, 0.5, 0.5)])
    assert kind(text) in ("element_unclear", "group_label")


@pytest.mark.parametrize(("labels", "lines", "atoms"), [
    (("Na1", "Cl1"), (), "Na4 Cl4"),
    (("Ni2a", "O1'"), (), "Ni4 O4"),
    (("MG1", "O1"), (), "Mg4 O4"),
    (("CA1", "O1"), ("_chemical_formula_sum 'Ca O'",), "Ca4 O4"),
    (("CA1", "N1"), ("_chemical_formula_sum 'C N'",), "C4 N4"),
    (("HO1", "CL1"), ("_chemical_formula_sum 'H Cl'",), "H4 Cl4"),
    (("HO1", "N1"), ("_chemical_formula_sum 'Ho N'",), "Ho4 N4"),
    (("D1", "Cl1"), (), "D4 Cl4"),
    (("W1", "C1"), ("_chemical_formula_sum 'W C'",), "W4 C4"),
    (("OW", "MG1"), ("_chemical_formula_sum 'Mg O'",), "O4 Mg4"),
    (("Va", "O1"), ("_chemical_formula_sum 'V O'",), "V4 O4"),
    (("1Na", "2Cl"), (), "Na4 Cl4"),
])
def test_labels_say_the_element_where_the_formula_leaves_one(labels: tuple[str, str], lines: tuple[str, ...],
                                                             atoms: str) -> None:
    assert formula(salt(*labels, *lines)) == atoms


@pytest.mark.parametrize(("labels", "lines"), [
    (("CA1", "O1"), ()),
    (("HO1", "O1"), ()),
    (("T1", "O1"), ()),
    (("Ow", "Mg1"), ()),
    (("Wat1", "Na1"), ()),
    (("X1", "Na1"), ()),
    (("1", "Na1"), ()),
    (("Cat", "O1"), ()),
    (("Cg1", "O1"), ()), (("Du1", "O1"), ()), (("W1", "O1"), ()), (("Va", "O1"), ()),
    (("Owat", "Na1"), ()),
    (("W1", "Mg1"), ("_chemical_formula_sum 'Mg O'",)),
])
def test_labels_that_leave_the_element_open_are_no_guess(labels: tuple[str, str], lines: tuple[str, ...]) -> None:
    assert kind(salt(*labels, *lines)) in ("element_unclear", "group_label")


def test_two_unclear_labels_are_told_apart_by_the_counts() -> None:
    """Calcium carbide-like: CA is calcium and CB carbon only in one of the two ways."""
    sites = [("CA1", 0, 0, 0), ("CO1", 0.25, 0.25, 0.25)]
    assert formula(cif("_chemical_formula_sum 'Ca C2'", triplets=FM3M, columns=LABELS, sites=sites)) == "Ca4 C8"


@pytest.mark.parametrize("dummy", ["Va1 Va 0.25 0.25 0.25 .", "Vac . 0.25 0.25 0.25 .", "X1 ? . . . dum",
                                   "O9 O 0.25 0.25 0.25 dum", ". . . . . ."])
def test_dummies_and_vacancies_are_no_atoms(dummy: str) -> None:
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "calc_flag")
    sites = [("Na1", "Na", 0, 0, 0, "d"), ("Cl1", "Cl", 0.5, 0.5, 0.5, "d"), dummy.split()]
    assert formula(cif(triplets=FM3M, columns=columns, sites=sites)) == "Na4 Cl4"


@pytest.mark.parametrize("place", [(0.001, 0, 0.002), (0.008, 0.005, 0), (1.001, -1, 0.002)])
def test_images_of_one_site_within_a_tenth_of_an_angstrom_are_one_atom(place: tuple[float, ...]) -> None:
    text = cif(triplets=FM3M, sites=[("Na1", "Na", *place), ("Cl1", "Cl", 0.5, 0.5, 0.499)])
    structure = read_cif(text).structure
    assert structure.composition.formula == "Na4 Cl4"
    assert structure.get_distance(0, 4) == pytest.approx(2.82, abs=1e-6) or \
        structure.distance_matrix[0, 4:].min() == pytest.approx(2.82, abs=1e-6)


def test_a_coordinate_that_is_missing_is_not_zero() -> None:
    text = cif(triplets=FM3M, sites=[("Na1", "Na", 0, 0, 0), ("H1", "H", ".", ".", ".")])
    with pytest.raises(RowError, match="site 'H1': _atom_site_fract_x is"):
        read_cif(text)


@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "0,5", "12345.6"])
def test_a_coordinate_that_is_no_fraction(value: str) -> None:
    assert kind(cif(triplets=FM3M, sites=[("Na1", "Na", value, 0, 0), ("Cl1", "Cl", .5, .5, .5)])) == "bad_coordinates"


OCCUPIED = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")


@pytest.mark.parametrize(("first", "second", "expected"), [
    (("Fe2+", 0.4), ("Fe3+", 0.6), "Fe4 Cl4"),
    (("D", 0.7), ("H", 0.3), "D4 Cl4"),
    (("Na", 1), ("Na", 1), "Na4 Cl4"),
    (("Na", 0.333), ("Na", 0.667), "Na4 Cl4"),
])
def test_one_element_on_a_place_is_ordered(first: tuple[str, float], second: tuple[str, float], expected: str) -> None:
    sites = [("A1", first[0], 0, 0, 0, first[1]), ("A2", second[0], 0, 0, 0, second[1]), ("Cl1", "Cl", .5, .5, .5, ".")]
    assert formula(cif(triplets=FM3M, columns=OCCUPIED, sites=sites)) == expected


@pytest.mark.parametrize(("first", "second", "expected"), [
    (("Na", 0.5), ("K", 0.5), "disordered"),
    (("Na", 1), ("K", 1), "overlapping"),
    (("Na", 0.7), ("Na", 0.7), "overlapping"),
    (("Na", 0.4), ("Na", 0.4), "disordered"),
    (("Na", 2), ("K", 0), "bad_occupancy"),
    (("Na", -1), ("K", 1), "bad_occupancy"),
    (("Na", 1), ("K", 0), "bad_occupancy"),
])
def test_places_that_are_shared(first: tuple[str, float], second: tuple[str, float], expected: str) -> None:
    sites = [("A1", first[0], 0, 0, 0, first[1]), ("A2", second[0], 0, 0, 0, second[1]), ("Cl1", "Cl", .5, .5, .5, 1)]
    assert kind(cif(triplets=FM3M, columns=OCCUPIED, sites=sites)) == expected


def test_a_site_of_occupancy_zero_is_left_out_where_the_formula_confirms_it() -> None:
    sites = [("Na1", "Na", 0, 0, 0, 1), ("K1", "K", 0.25, 0.25, 0.25, 0), ("Cl1", "Cl", 0.5, 0.5, 0.5, 1)]
    assert formula(cif("_chemical_formula_sum 'Na Cl'", triplets=FM3M, columns=OCCUPIED, sites=sites)) == "Na4 Cl4"
    assert kind(cif("_chemical_formula_sum 'Na K2 Cl'", triplets=FM3M, columns=OCCUPIED, sites=sites)) \
        == "contradicts_formula"


def test_hydrogens_that_are_only_said_to_be_attached() -> None:
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "attached_hydrogens")
    sites = [("N1", "N", 0, 0, 0, 4), ("Cl1", "Cl", 0.5, 0.5, 0.5, ".")]
    assert kind(cif(triplets=FM3M, columns=columns, sites=sites)) == "hydrogen_missing"


@pytest.mark.parametrize(("label", "element"), [("NH4", "N"), ("OH", "O"), ("Wat", "O"), ("Ow1", "O")])
def test_a_group_with_hydrogen_that_is_typed_as_its_heavy_atom(label: str, element: str) -> None:
    sites = [(label, element, 0, 0, 0), ("Cl1", "Cl", 0.5, 0.5, 0.5)]
    assert kind(cif(triplets=FM3M, sites=sites)) == "hydrogen_missing"
    assert formula(cif(f"_chemical_formula_sum 'Cl {element}'", triplets=FM3M, sites=sites)) == f"{element}4 Cl4"


def test_a_cell_of_too_many_atoms() -> None:
    sites = [(f"Na{k}", "Na", 0.013 + 0.01 * (k % 10), 0.021 + 0.02 * (k // 10), 0.033 + 0.007 * (k % 7))
             for k in range(20)]
    assert kind(cif(cell=(40, 40, 40, 90, 90, 90), triplets=FM3M, sites=sites)) == "over_bound"


def test_cartesian_coordinates_are_not_taken_for_fractions() -> None:
    text = cif(triplets=FM3M, columns=("label", "type_symbol", "Cartn_x", "Cartn_y", "Cartn_z"))
    with pytest.raises(RowError, match="no fractional coordinates"):
        read_cif(text)
