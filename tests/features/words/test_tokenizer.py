"""Tokens keep what a text says: who is bound to whom, how many, how long; labels and plain words leave no trace."""

import re
from collections import Counter

import pytest

from features.paraphraser.vocabulary import UNITS
from features.sentences import tag
from features.words.tokenizer import Token, amounts, tokenize
from features.words.vocabulary import (
    ATOMIC_NUMBERS,
    BUCKETS,
    HIDDEN,
    KINDS,
    SIZE,
    SYMMETRY,
    TERMS,
    id_of_symmetry,
    id_of_term,
    id_of_word,
)
from tests.features.texts import ALL

TEXT = ("SrTiO3 is (Cubic) Perovskite structured and crystallizes in the cubic Pm-3m space group. Sr(1) is bonded to "
        "twelve equivalent O(1) atoms to form SrO12 cuboctahedra that share faces with eight equivalent Ti(1)O6 "
        "octahedra. All Sr(1)-O(1) bond lengths are 2.79 Å. There are two inequivalent O sites. In the second O site, "
        "O(2) is bonded in a 6-coordinate geometry to four equivalent Sr(1) and two equivalent Ti(1) atoms. There are "
        "two shorter (1.93 Å) and two longer (2.10 Å) Ti(1)-O(2) bond lengths. There are a spread of Sr(1)-O(2) bond "
        "distances ranging from 2.51-2.94 Å. The corner-sharing octahedral tilt angles range from 5-12°.")
NAMES = ({number: symbol for symbol, number in ATOMIC_NUMBERS.items()} | {id_of_term(term): term for term in TERMS}
         | {id_of_symmetry(part): part for part in SYMMETRY})


def read(text: str, prototype: str | None = None) -> list[tuple[int, str, float | None, str]]:
    """Sentence, name, value and kind of each token."""
    return [(token.sentence, NAMES.get(token.id, "?"), token.value, token.kind)
            for token in tokenize(text, tag(text), prototype)]


def sentence(number: int) -> list[tuple[str, float | None, str]]:
    return [token[1:] for token in read(TEXT, "(Cubic) Perovskite") if token[0] == number]


def test_the_heading() -> None:
    assert sentence(0) == [
        ("?", None, "prototype"), ("?", None, "prototype"), ("P", None, "symmetry"), ("m", None, "symmetry"),
        ("-3", None, "symmetry"), ("m", None, "symmetry"), ("O", 0.6, "element"), ("Ti", 0.2, "element"),
        ("Sr", 0.2, "element"), ("cubic", None, "symmetry")]


def test_a_site_its_neighbours_and_what_it_shares() -> None:
    assert sentence(1) == [
        ("Sr", None, "site"), ("O", 12.0, "neighbour"),
        ("O", 12.0, "polyhedron"), ("Sr", 1.0, "polyhedron"), ("cuboctahedron", None, "shape"),
        ("face", None, "term"), ("O", 6.0, "polyhedron"), ("Ti", 1.0, "polyhedron"), ("octahedron", 8.0, "shape")]


def test_numbers_are_read_as_numbers() -> None:
    assert sentence(2) == [("Sr", None, "bond"), ("O", None, "bond"), ("length", 2.79, "length")]
    assert sentence(3) == [("inequivalent", None, "term"), ("O", 2.0, "site")]
    assert sentence(5) == [
        ("shorter", 2.0, "term"), ("length", 1.93, "length"), ("longer", 2.0, "term"), ("length", 2.1, "length"),
        ("Ti", None, "bond"), ("O", None, "bond")]
    assert sentence(6)[-2:] == [("from", 2.51, "length"), ("to", 2.94, "length")]
    assert sentence(7)[-2:] == [("from", 5.0, "angle"), ("to", 12.0, "angle")]


def test_charges() -> None:
    text = "In the first Ca4+ site, Ca4+ is bonded to six equivalent Sb3- atoms."
    assert [token[1:] for token in read(text)] == [
        ("Ca", None, "site"), ("charge", 4.0, "charge"), ("Sb", 6.0, "neighbour"), ("charge", -3.0, "charge")]


def test_labels_of_sites_are_names_and_no_numbers() -> None:
    assert sentence(4) == [("O", None, "site"), ("coordinate", 6.0, "geometry"), ("Sr", 4.0, "neighbour"),
                           ("Ti", 2.0, "neighbour")]
    relabelled = TEXT.replace("(1)", "(7)").replace("(2)", "(3,9)")
    assert read(relabelled, "(Cubic) Perovskite") == read(TEXT, "(Cubic) Perovskite")


@pytest.mark.parametrize(("one", "other"), [
    ("All Sr(1)-O(1) bond lengths are 2.79 Å.", "Sr(1)-O(1): 2.79 angstroms."),
    ("Ti(1) is bonded in a 12-coordinate geometry to six equivalent O(1) atoms.",
     "Ti(1) has a twelve-coordinate environment by 6 equivalent O(1) atoms."),
    ("Mg crystallizes in the hexagonal P6_3/mmc space group.", "Mg has hexagonal symmetry, with space group P6_3/mmc."),
])
def test_the_same_in_other_words(one: str, other: str) -> None:
    def said(text: str) -> Counter[tuple[str, float | None, str]]:
        return Counter(token[1:] for token in read(text) if token[3] != "word")

    assert said(one) == said(other)
    assert said(one) != said(one.replace("2.79", "2.80").replace("six", "five").replace("Mg", "Zn"))


def test_a_prototype_that_is_named_like_an_element() -> None:
    text = "Fe3W is Tungsten-derived structured and crystallizes in the cubic Im-3m space group."
    tokens = tokenize(text, tag(text), "Tungsten")
    assert [token.kind for token in tokens[:2]] == ["prototype", "prototype"]
    assert tokens[1].id == id_of_term("derived")
    assert Counter(token.id for token in tokens if token.kind == "element") == Counter(
        [ATOMIC_NUMBERS["Fe"], ATOMIC_NUMBERS["W"]])


@pytest.mark.parametrize(("formula", "expected"), [
    ("Mg3(AlO2)4", {"Mg": 3.0, "Al": 4.0, "O": 8.0}), ("Pt(1)Mn4Pt8", {"Pt": 9.0, "Mn": 4.0}), ("Si", {"Si": 1.0}),
    ("Ca(Al(OH)2)3", {"Ca": 1.0, "Al": 3.0, "O": 6.0, "H": 6.0}), ("Fe0.5O", {"Fe": 0.5, "O": 1.0}),
])
def test_amounts_of_a_formula(formula: str, expected: dict[str, float]) -> None:
    assert amounts(formula) == expected


def test_words_that_nobody_foresaw_are_tokens() -> None:
    text = "The frobnicated crystal melts."
    assert tokenize(text, tag(text)) == [Token(id_of_word("frobnicated"), None, "word", 0, 4, 15),
                                         Token(id_of_word("melts"), None, "word", 0, 24, 29)]


def mentions(text: str, prototype: str | None = None) -> list[str]:
    """The characters that each token comes from, in the order of the tokens."""
    return [text[token.start:token.end] for token in tokenize(text, tag(text), prototype)]


def test_where_each_token_comes_from() -> None:
    said = mentions(TEXT, "(Cubic) Perovskite")
    assert said[:10] == ["(Cubic) Perovskite"] * 2 + ["Pm-3m"] * 4 + ["SrTiO3"] * 3 + ["cubic"]
    assert said[10:19] == ["Sr(1)", "twelve equivalent O(1)", "SrO12", "SrO12", "cuboctahedra", "faces", "Ti(1)O6",
                           "Ti(1)O6", "eight equivalent Ti(1)O6 octahedra"]
    assert said[19:24] == ["Sr(1)-O(1)", "Sr(1)-O(1)", "2.79 Å", "inequivalent", "two inequivalent O"]
    assert said[-4:] == ["octahedral", "tilt", "5-12°", "5-12°"]


@pytest.mark.parametrize(("text", "expected"), [
    ("Calcium(1) is bonded to six oxygen(2) atoms.", ["Calcium(1)", "six oxygen(2)"]),
    ("The Al(1)–O(1) bond length is 1.9 angstroms.", ["Al(1)–O(1)", "Al(1)–O(1)", "1.9 angstroms"]),
    ("O(1) is in a bent 120 degrees geometry, at 90 degrees.", ["O(1)", "bent 120 degrees", "90 degrees"]),
    ("O(1) is in a bent 120° and a twelve-fold coordinated site.", ["O(1)", "bent 120°", "twelve-fold coordinated"]),
    ("O(1) is bonded in a single-bond geometry to a single Ca(1).", ["O(1)", "single-bond", "a single Ca(1)"]),
    ("Ca4+ sits here; there are twenty-one.", ["Ca4+", "Ca4+", "twenty-one"]),
    ("In the site, indium is untilted.", ["indium", "untilted", "untilted"]),
    ("There are two shorter (1.93 Å) and six longer (2.10 Å).",
     ["two shorter", "1.93 Å", "six longer", "2.10 Å"]),
    ("A 6-coordinate site of 3 or 4 Ca.", ["6-coordinate", "or", "3", "4 Ca"]),
    ("It is one-dimensional and consists of two CaO ribbons.", ["one-dimensional", "CaO", "CaO", "two CaO ribbons"]),
])
def test_other_ways_to_write_lead_back_to_the_text(text: str, expected: list[str]) -> None:
    assert mentions(text) == expected


def test_a_prototype_comes_from_its_name_and_space_group_from_its_symbol() -> None:
    text = "Bi is bonded. Fe3W is Tungsten-derived structured and crystallizes in the cubic space group Im-3m."
    assert mentions(text, "Tungsten")[1:] == ["Tungsten-derived"] * 2 + ["Im-3m"] * 4 + ["Fe3W"] * 2 + ["cubic"]


@pytest.mark.parametrize("name", ALL)
def test_a_mention_holds_what_its_tokens_say(name: str) -> None:
    """Elements and lengths of real descriptions, read from the characters alone."""
    text = ALL[name]
    for token in tokenize(text, tag(text)):
        words = text[token.start:token.end]
        assert words == words.strip() != ""
        sentence = tag(text)[token.sentence]
        assert sentence.start <= token.start < token.end <= sentence.end
        if token.id in ATOMIC_NUMBERS.values():
            assert NAMES[token.id] in re.findall("[A-Z][a-z]?", words)
        if token.kind in ("length", "angle"):
            assert token.value in [float(number) for number in re.findall(r"\d+(?:\.\d+)?", words)]
        if token.kind in ("neighbour", "shape") and token.value is not None:
            assert words.split()[0] in (str(int(token.value)), UNITS[int(token.value)] if token.value < 20 else
                                        "twenty-four")


def test_the_vocabulary() -> None:
    ids = [*ATOMIC_NUMBERS.values(), *map(id_of_term, TERMS), *map(id_of_symmetry, SYMMETRY)]
    assert len(set(ids)) == len(ids)
    assert min(ids) > HIDDEN
    assert max(ids) < SIZE - BUCKETS <= id_of_word("anything") < SIZE
    assert {token[3] for token in read(TEXT, "(Cubic) Perovskite")} < set(KINDS)
    assert (ATOMIC_NUMBERS["H"], ATOMIC_NUMBERS["Cm"]) == (1, 96)
    assert id_of_word("Heusler") == id_of_word("heusler") == 428  # ids never change: they stand in tables and models
