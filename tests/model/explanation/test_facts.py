"""Facts of real descriptions: the words, what kind of thing they state, of which atoms; no token is in two."""

import itertools

import pytest

from features.sentences import tag
from features.words.tokenizer import Token, tokenize
from model.explanation.facts import KINDS, Parsed, mentioned, parse
from tests.features.texts import ALL, BI2O3, CA5SB3, MANY, MOS2, SRTIO3, UNLABELLED
from tests.model.explanation.models import PROTOTYPES

SITES = {
    SRTIO3: [{"element": "Sr", "labels": [1], "atoms": [0]}, {"element": "Ti", "labels": [1], "atoms": [1]},
             {"element": "O", "labels": [1], "atoms": [2, 3, 4]}],
    CA5SB3: [{"element": "Ca", "labels": [1], "atoms": [0, 1, 2, 3]},
             {"element": "Ca", "labels": [2], "atoms": [4, 5, 6, 7, 8, 9]},
             {"element": "Sb", "labels": [1], "atoms": [10, 11, 12, 13, 14, 15]}],
    MOS2: [{"element": "Mo", "labels": [1], "atoms": [0, 1]}, {"element": "S", "labels": [1], "atoms": [2, 3, 4, 5]}],
}
BOTH = [*SITES[CA5SB3][0]["atoms"], *SITES[CA5SB3][1]["atoms"]]


def read(text: str) -> tuple[list[Token], Parsed]:
    tagged = tag(text)
    tokens = tokenize(text, tagged, PROTOTYPES.get(text))
    return tokens, parse(tokens, text, tagged, SITES.get(text))


def facts(text: str, first: int = 0, last: int | None = None) -> list[tuple[str, str]]:
    """Kind and words of the facts from one sentence to another."""
    last = first if last is None else last
    return [(one.kind, text[one.start:one.end]) for one in read(text)[1].facts if first <= one.sentence <= last]


def atoms(text: str) -> dict[str, list[tuple[int, ...]]]:
    """Words → atoms, for each time that they stand there."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for one in read(text)[1].facts:
        found.setdefault(text[one.start:one.end], []).append(one.atoms)
    return found


def test_a_perovskite() -> None:
    assert facts(SRTIO3) == [("formula", "SrTiO3"), ("prototype", "(Cubic) Perovskite"), ("crystal system", "cubic"),
                             ("space group", "Pm-3m")]
    assert facts(SRTIO3, 1) == [
        ("site", "Sr(1)"), ("neighbours", "twelve equivalent O(1)"), ("polyhedron", "SrO12 cuboctahedra"),
        ("connectivity", "corners with twelve equivalent Sr(1)O12 cuboctahedra"),
        ("connectivity", "faces with six equivalent Sr(1)O12 cuboctahedra"),
        ("connectivity", "faces with eight equivalent Ti(1)O6 octahedra")]
    assert facts(SRTIO3, 2) == [("bond length", "Sr(1)-O(1) bond lengths are 2.79 Å")]
    assert facts(SRTIO3, 4) == [("tilt", "corner-sharing octahedra are not tilted")]
    assert facts(SRTIO3, 6) == [("site", "O(1)"), ("coordination", "distorted linear"),
                                ("neighbours", "four equivalent Sr(1)"), ("neighbours", "two equivalent Ti(1)")]


def test_a_crystal_of_inequivalent_sites() -> None:
    assert facts(CA5SB3, 1) == [("number of sites", "two inequivalent Ca")]
    assert facts(CA5SB3, 2) == [
        ("site", "Ca(1)"), ("neighbours", "six equivalent Sb(1)"),
        ("connectivity", "mixture of distorted corner, edge, and face-sharing CaSb6 octahedra")]
    assert facts(CA5SB3, 3) == [("tilt", "corner-sharing octahedral tilt angles are 36°")]
    assert facts(CA5SB3, 5, 6) == [
        ("site", "Ca(2)"), ("coordination", "5-coordinate"), ("neighbours", "five equivalent Sb(1)"),
        ("bond length", "Ca(2)-Sb(1) bond distances ranging from 3.11-3.71 Å")]


def test_layers() -> None:
    assert facts(MOS2, 1) == [("dimensionality", "two-dimensional"), ("component", "two MoS2 sheets"),
                              ("orientation", "(0, 0, 1)")]
    assert facts(MOS2, 2) == [("site", "Mo(1)"), ("neighbours", "six equivalent S(1)"),
                              ("connectivity", "distorted edge-sharing MoS6 pentagonal pyramids")]


def test_bonds_of_two_lengths_are_one_fact() -> None:
    assert facts(BI2O3)[1:2] == [("prototype", "Bismite-like")]
    assert facts(BI2O3, 2, 3) == [
        ("bond length", "one shorter (2.33 Å) and one longer (2.80 Å) Bi(1)-O(1)"),
        ("bond length", "one shorter (2.18 Å) and one longer (2.42 Å) Bi(1)-O(2)")]
    text = "There are three shorter (1.95 Å) and three longer (2.05 Å) Ti(1)-O(1) bond lengths."
    assert facts(text) == [("bond length", "three shorter (1.95 Å) and three longer (2.05 Å) Ti(1)-O(1)")]


def test_texts_without_labels_and_with_many() -> None:
    assert facts(UNLABELLED, 2) == [("charge", "Ca4+"), ("neighbours", "six equivalent Sb3-"),
                                    ("connectivity", "distorted edge-sharing CaSb6 octahedra")]
    assert facts(UNLABELLED, 3) == [("bond length", "Ca-Sb bond lengths are 3.31 Å")]
    assert facts(MANY, 1) == [
        ("site", "Mo(1)"), ("neighbours", "twelve Zn(1,1,1,1,1,1,1,1,1,1,1,1)"), ("polyhedron", "MoZn12 cuboctahedra"),
        ("connectivity", "corners with twelve equivalent Mo(1)Zn12 cuboctahedra"),
        ("connectivity", "edges with twenty-four Zn(1,1,1)Zn10Mo2 cuboctahedra"),
        ("connectivity", "faces with six equivalent Zn(2)Zn12 cuboctahedra")]


def test_facts_name_their_atoms() -> None:
    """Those of the labels in them; where there is none, of the site that the sentence speaks of."""
    of = atoms(SRTIO3)
    assert of["SrTiO3"] == of["Pm-3m"] == [()]
    assert of["twelve equivalent O(1)"] == [(2, 3, 4)]
    assert of["faces with eight equivalent Ti(1)O6 octahedra"] == [(1,)]
    assert of["Sr(1)-O(1) bond lengths are 2.79 Å"] == [(0, 2, 3, 4)]
    assert of["SrO12 cuboctahedra"] == [(0,)]
    assert of["distorted linear"] == [(2, 3, 4)]
    assert of["corner-sharing octahedra are not tilted"] == [(1,)]  # of the sentence before
    of = atoms(CA5SB3)
    assert of["5-coordinate"] == of["Ca(2)"] == [(4, 5, 6, 7, 8, 9)]
    assert of["four equivalent Ca(1)"] == [(0, 1, 2, 3)]
    assert of["two inequivalent Ca"] == [()]
    assert atoms(MOS2)["two-dimensional"] == [()]
    assert {one.atoms for one in read(BI2O3)[1].facts} == {()}  # nobody says what its labels stand for


def test_an_element_without_a_number_is_all_its_atoms() -> None:
    tagged = tag(UNLABELLED)
    found = parse(tokenize(UNLABELLED, tagged), UNLABELLED, tagged, SITES[CA5SB3]).facts
    said = [list(one.atoms) for one in found if one.sentence in (2, 4)]
    assert said == [BOTH] * 6  # that there are two is not said of either
    text = "Ca is bonded to six Sb atoms to form CaSb6 octahedra."
    tagged = tag(text)
    found = parse(tokenize(text, tagged), text, tagged, SITES[CA5SB3]).facts
    assert [(one.kind, list(one.atoms)) for one in found] == [
        ("site", BOTH), ("neighbours", BOTH), ("polyhedron", BOTH)]


@pytest.mark.parametrize("name", ALL)
def test_each_token_is_in_one_fact_and_one_mention(name: str) -> None:
    text = ALL[name]
    tokens, parsed = read(text)
    for units in (parsed.facts, parsed.mentions):
        assert sorted(row for one in units for row in one.rows) == list(range(len(tokens)))
        assert all(one.end <= other.start for one, other in itertools.pairwise(units))
        for one in units:
            assert one.rows.tolist() == sorted(one.rows.tolist())
            assert {tokens[row].sentence for row in one.rows} == {one.sentence}
            assert one.start == min(tokens[row].start for row in one.rows)
            assert one.end == max(tokens[row].end for row in one.rows)
    assert {one.kind for one in parsed.facts} <= set(KINDS) - {"other"}


@pytest.mark.parametrize("name", ALL)
def test_a_fact_is_made_of_whole_mentions(name: str) -> None:
    _, parsed = read(ALL[name])
    inside = [[one for one in parsed.mentions if fact.start <= one.start and one.end <= fact.end]
              for fact in parsed.facts]
    assert sum(map(len, inside)) == len(parsed.mentions)
    assert any(len(mine) > 1 for mine in inside)


def test_mentions_are_what_a_crystallographer_would_strike_out() -> None:
    _, parsed = read(CA5SB3)
    words = [CA5SB3[one.start:one.end] for one in parsed.mentions]
    assert words[:12] == ["Ca5Sb3", "hexagonal", "P6_3/mcm", "two inequivalent Ca", "Ca(1)", "six equivalent Sb(1)",
                          "mixture", "distorted", "corner", "edge", "face", "CaSb6"]
    assert words[12:22] == ["octahedra", "corner", "octahedral", "tilt", "36°", "Ca(1)-Sb(1)", "3.31 Å", "Ca(2)",
                            "5-coordinate", "five equivalent Sb(1)"]
    every = {text[one.start:one.end] for text in ALL.values() for one in read(text)[1].mentions}
    assert {"3.11-3.71 Å", "2.18 Å", "one shorter"} <= every
    assert len(mentioned(read(CA5SB3)[0])) == len(words)


def test_a_text_of_no_facts() -> None:
    text = "The of and."
    assert parse(tokenize(text, tag(text)), text, tag(text)) == Parsed([], [])
    text = "MoS2 forms sheets. It melts."
    assert facts(text, 1) == [("other", "melts")]
