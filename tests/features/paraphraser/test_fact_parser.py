"""The check of faithfulness: nothing may change unseen."""

import re

import pytest

from features.paraphraser.fact_parser import facts, prototype_names
from tests.features.texts import ALL, CA5SB3, MOS2, SRTIO3


def test_what_a_description_states() -> None:
    assert facts(SRTIO3, prototype_names(SRTIO3)) == {
        ("formula", "SrTiO3"), ("prototype", "(Cubic) Perovskite", ""), ("system", "cubic"), ("space group", "Pm-3m"),
        ("site", "Sr(1)"), ("neighbour", "Sr(1)", "12 equivalent", "O(1)"),
        ("polyhedron", "Sr(1)", "SrO12", "cuboctahedron"),
        ("shared", "Sr(1)", "corner", "12 equivalent", "Sr(1)O12", "cuboctahedron"),
        ("shared", "Sr(1)", "face", "6 equivalent", "Sr(1)O12", "cuboctahedron"),
        ("shared", "Sr(1)", "face", "8 equivalent", "Ti(1)O6", "octahedron"),
        ("length", "Sr(1)", "Sr(1)-O(1)", "", "", "2.79Å"),
        ("site", "Ti(1)"), ("neighbour", "Ti(1)", "6 equivalent", "O(1)"),
        ("polyhedron", "Ti(1)", "TiO6", "octahedron"),
        ("shared", "Ti(1)", "corner", "6 equivalent", "Ti(1)O6", "octahedron"),
        ("shared", "Ti(1)", "face", "8 equivalent", "Sr(1)O12", "cuboctahedron"),
        ("tilt", "Ti(1)", "corner octahedr", "none"), ("length", "Ti(1)", "Ti(1)-O(1)", "", "", "1.97Å"),
        ("site", "O(1)"), ("geometry", "O(1)", "linear"), ("distorted", "O(1)", "linear"),
        ("neighbour", "O(1)", "4 equivalent", "Sr(1)"), ("neighbour", "O(1)", "2 equivalent", "Ti(1)"),
    }


def test_sites_of_one_label_are_told_apart_by_their_number() -> None:
    found = facts(ALL["no labels"])
    assert ("length", "first Ca4+: Ca4+", "Ca-Sb", "", "", "3.31Å") in found
    assert ("length", "second Ca4+: Ca4+", "Ca-Sb", "", "", "3.11-3.71Å") in found


def test_the_twenty_first_site() -> None:
    found = facts("In the twenty-first Pt site, Pt(1) is bonded in a q6 geometry to twenty-one equivalent Sb(1) atoms.")
    assert ("neighbour", "twenty-first Pt: Pt(1)", "21 equivalent", "Sb(1)") in found


def test_lists_with_semicolons() -> None:
    """Where members of a list have commas of their own, stock puts semicolons between them."""
    found = facts(ALL["many"])
    assert {("neighbour", "first Zn: Zn(1)", "2 equivalent", "Zn(2)"),
            ("neighbour", "first Zn: Zn(1)", "8", "Zn(1,1,1,1,1,1,1,1)"),
            ("shared", "Mo(1)", "edge", "24", "Zn(1,1,1)Zn10Mo2", "cuboctahedron")} <= found


def test_components_and_directions() -> None:
    found = facts(MOS2, prototype_names(MOS2))
    assert {("dimension", "2-dimensional"), ("component", "2", "MoS2", "sheet"), ("direction", "(0,0,1)"),
            ("sharing", "Mo(1)", "edge"), ("distorted", "Mo(1)", "MoS6 pentagonal pyramid")} <= found
    inside = facts("In each MoS2 sheet, Mo(1) is bonded in a linear geometry to two equivalent S(1) atoms.")
    assert ("neighbour", " MoS2 sheet | Mo(1)", "2 equivalent", "S(1)") in inside


@pytest.mark.parametrize("name", ALL)
def test_stock_text_leaves_nothing_unplaced(name: str) -> None:
    text = ALL[name]
    assert not [fact for fact in facts(text, prototype_names(text)) if fact[0] in ("other", "negation")]


PROTECTED = re.compile(
    r"\d+(?:\.\d+)?|\b(?:one|two|three|four|five|six|eight|twelve)\b|\b[A-Z][a-z]?(?=\()|(?<=\()\d(?=\))"
    r"|\b(?:equivalent|distorted|shorter|longer|not|first|second|linear|hexagonal|cubic|monoclinic|octahedra|pyramids)\b"
    r"|\b(?:corner|edge|face)")
OTHER = {"one": "three", "two": "three", "three": "four", "four": "five", "five": "six", "six": "seven",
         "eight": "nine", "twelve": "ten", "equivalent": "", "distorted": "", "shorter": "longer", "longer": "shorter",
         "not": "", "first": "third", "second": "fourth", "linear": "T-shaped", "hexagonal": "cubic",
         "cubic": "tetragonal", "monoclinic": "triclinic", "octahedra": "tetrahedra", "pyramids": "bipyramids",
         "corner": "face", "edge": "corner", "face": "edge"}


@pytest.mark.parametrize("name", ALL)
def test_every_single_change_is_seen(name: str) -> None:
    """Each number, count, label, element, term of a description in turn is replaced by another one."""
    text = ALL[name]
    names = prototype_names(text)
    stated = facts(text, names)
    changes = 0
    for found in PROTECTED.finditer(text):
        word = found[0]
        other = OTHER.get(word) if word in OTHER else ("Xe" if word[0].isalpha() else str(float(word) + 1)
                                                       if "." in word else str(int(word) + 1))
        changed = " ".join((text[:found.start()] + str(other) + text[found.end():]).split(" "))
        assert facts(changed, names) != stated, f"{word} -> {other} at {found.start()}: {changed}"
        changes += 1
    assert changes > 15


@pytest.mark.parametrize("name", ALL)
def test_every_swap_of_two_numbers_is_seen(name: str) -> None:
    """A length that goes to another bond, a count that goes to another neighbour."""
    text = ALL[name]
    names = prototype_names(text)
    stated = facts(text, names)
    for pattern in (r"\d+\.\d+", r"\b(?:two|three|four|five|six|eight|twelve)(?= equivalent)"):
        places = list(re.finditer(pattern, text))
        for i, a in enumerate(places):
            for b in places[i + 1:]:
                if a[0] != b[0]:
                    swapped = text[:a.start()] + b[0] + text[a.end():b.start()] + a[0] + text[b.end():]
                    assert facts(swapped, names) != stated, f"{a[0]} <-> {b[0]}"


@pytest.mark.parametrize("name", ALL)
def test_every_dropped_or_added_sentence_is_seen(name: str) -> None:
    text = ALL[name]
    names = prototype_names(text)
    stated = facts(text, names)
    sentences = re.split(r"(?<=\.) ", text)
    for index in range(len(sentences)):
        assert facts(" ".join(sentences[:index] + sentences[index + 1:]), names) != stated
    for added in ("The band gap is 2 eV.", "It is a metal of Wurtzite type.", "All O(9)-O(9) bond lengths are 1.00 Å.",
                  "It is a ferromagnet and a superconductor.", "Wurtzite motifs occur as well.",
                  "The result is stable.", "The polyhedra share edges with each other.",
                  "The structure is layered, with chains."):
        assert facts(f"{text} {added}", names) != stated


@pytest.mark.parametrize(("said", "same"), [
    ("All Ca(1)-Sb(1) bond lengths are 3.31 Å.", "Each Ca(1)–Sb(1) bond is 3.31 angstroms long."),
    ("Ca(2) is bonded in a 5-coordinate geometry to five equivalent Sb(1) atoms.",
     "The surroundings of Ca(2), which are five-coordinate, consist of 5 equivalent Sb(1) atoms."),
    ("Ca(2) is bonded in a 12-coordinate geometry to twelve equivalent Sb(1) atoms.",
     "Twelve equivalent Sb(1) atoms surround Ca(2) in twelve-fold coordination."),
    ("There are two inequivalent Ca sites.", "Calcium occupies two inequivalent sites."),
    ("The corner-sharing octahedral tilt angles range from 3-16°.",
     "Octahedra that share corners are tilted by 3 to 16 degrees."),
    ("Ca5Sb3 crystallizes in the hexagonal P6_3/mcm space group.",
     "Ca5Sb3 is hexagonal and has the space group P6_3/mcm."),
    ("Ti(1) is bonded to six equivalent O(1) atoms to form corner-sharing TiO6 octahedra.",
     "Ti(1) has bonds with six equivalent O(1) atoms. It forms corner-sharing TiO6 octahedra."),
])
def test_other_words_for_the_same(said: str, same: str) -> None:
    assert facts(said) == facts(same)


LINEAR = "Ti(1) is bonded in a linear geometry to two O(1) atoms."


@pytest.mark.parametrize(("said", "wrong"), [
    ("The space group is P6_3/mcm.", "The space group is P6_3/mmc."),
    ("Ti(1) is bonded to six equivalent O(1) atoms", "Ti(1) is bonded to sixteen equivalent O(1) atoms"),
    ("octahedra are not tilted", "octahedra are tilted"),
    ("Xe(1) is isolated and has no bonds.", "Xe(1) has bonds."),
    ("MgO is Halite structured and crystallizes in the cubic Fm-3m space group.",
     "MgO is Halite-like structured and crystallizes in the cubic Fm-3m space group."),
    ("All Ca(1)-Sb(1) bond lengths are 3.31 Å.", "All Ca(1)-Sb(1) bond lengths are 3.31 nm."),
    ("The tilt angles are 36°.", "The tilt angles are 36."),
    ("Xe(1) is isolated and has no bonds.", "Xe(1) is not isolated and has bonds."),
    ("The corner-sharing octahedra are not tilted.",
     "The corner-sharing octahedra are not weakly but strongly tilted."),
    ("The corner-sharing octahedra are not tilted.", "The corner-sharing octahedra are not untilted."),
    ("All Ti(1)-O(1) bond lengths are 1.97 Å.", "All Ti(1)-O(1) bond lengths are below 1.97 Å."),
    ("All Ti(1)-O(1) bond lengths are 1.97 Å.", "Some Ti(1)-O(1) bond lengths are 1.97 Å."),
    ("All Ti(1)-O(1) bond lengths are 1.97 Å.", "All Ti(1)-O(1) nonbonded gaps are 1.97 Å."),
    ("All Ti(1)-O(1) bond lengths are 1.97 Å.", "All Ti(1)-O(1) bond lengths are 1.97 Å²."),
    ("Ti(1)-O(1) bonds ranging from 2.07-2.18 Å", "Ti(1)-O(1) bonds of 2.07 and 2.18 Å"),
    ("Ti(1)-O(1) bonds ranging from 2.07-2.18 Å", "Ti(1)-O(1) bonds outside 2.07-2.18 Å"),
    ("sheets oriented in the (0, 1, 0) direction", "sheets perpendicular to the (0, 1, 0) direction"),
    ("MgO is Halite structured and crystallizes in the cubic Fm-3m space group.",
     "MgO is unlike Halite structured and crystallizes in the cubic Fm-3m space group."),
    ("MgO is Halite structured and crystallizes in the cubic Fm-3m space group.",
     "MgO is Halite structured and crystallizes in the pseudo-cubic Fm-3m space group."),
    (LINEAR,
     "Ti(1) is bonded in a non-linear geometry to two O(1) atoms."),
    (LINEAR,
     "Ti(1) is rarely bonded in a linear geometry to two O(1) atoms."),
    (LINEAR,
     "Ti(1) lacks bonds in a linear geometry to two O(1) atoms."),
    (LINEAR,
     "Divalent Ti(1) is bonded in a linear geometry to two O(1) atoms."),
    ("bonded to two O(1) and two O(2) atoms", "bonded to two O(1) or two O(2) atoms"),
    ("to form a mixture of corner and edge-sharing TiO6 octahedra", "to form corner and edge-sharing TiO6 octahedra"),
    ("to form distorted TiO6 octahedra that share corners with two SrO6 octahedra",
     "to form TiO6 octahedra that share corners with two distorted SrO6 octahedra"),
])
def test_a_changed_fact_is_seen(said: str, wrong: str) -> None:
    names = prototype_names(said)
    assert facts(said, names) != facts(wrong, names)


def test_a_prototype_named_like_an_element() -> None:
    text = "Cu is Copper structured and crystallizes in the cubic Fm-3m space group. Cu(1) is bonded to twelve " \
           "equivalent Cu(1) atoms to form face-sharing CuCu12 cuboctahedra."
    found = facts(text, prototype_names(text))
    assert {("prototype", "Copper", ""), ("formula", "Cu"), ("polyhedron", "Cu(1)", "CuCu12", "cuboctahedron")} <= found
    assert facts(CA5SB3) == facts(CA5SB3, prototype_names(CA5SB3))
