from model.experiments.words import elements, words


def test_labels_go_formulas_fall_apart_and_lengths_are_rounded() -> None:
    text = ("Ta5Si3 crystallizes in the hexagonal P6_3/mmc space group. In the first Ta site, Ta(1) is bonded to two "
            "equivalent Si(2,3) and NaCl-like TaSi6 octahedra. Bond distances range from 2.98-3.11 Å. All "
            "Ta(1)-Si(2) bond lengths are 2.57 Å.")
    assert words(text) == [
        "Ta", "Si", "crystallizes", "in", "the", "hexagonal", "P6_3/mmc", "space", "group", "In", "the", "first", "Ta",
        "site", "Ta", "is", "bonded", "to", "two", "equivalent", "Si", "and", "NaCl-like", "Ta", "Si", "octahedra",
        "Bond", "distances", "range", "from", "3.0", "3.1", "Å", "All", "Ta", "Si", "bond", "lengths", "are", "2.6",
        "Å"]


def test_a_formula_has_two_elements_or_a_number() -> None:
    assert elements("CO") == ["C", "O"]
    assert elements("Cu2") == ["Cu"]
    assert elements("In") == elements("Xx2") == elements("The") == elements("All") == []
