from __future__ import annotations

import pytest

from features.cif.blocks import only_structure, structure_blocks
from features.cif.grammar import number
from features.cif.read import read_cif
from features.errors import RowError
from tests.features.cif.writing import cif, operations

SALT = cif("_chemical_formula_sum 'Na Cl'", triplets=operations("F m -3 m"))
BONDS = "loop_\n_geom_bond_atom_site_label_1\n_geom_bond_distance\nNa1 2.82\nNa1\n"


@pytest.mark.parametrize("text", [
    SALT.replace("\n", "\r\n"),
    SALT.replace("\n", "\r"),
    "\ufeff" + SALT,
    SALT.upper(),
    SALT.replace("_cell_length_a", "_cell.length_a").replace("_atom_site_", "_atom_site."),
    SALT.replace("'-x,", "'\u2212x,"),
    "# a comment with 'quotes\n\n" + SALT,
    SALT.replace("data_x\n", "data_x\n_audit_author_name 'M. O'Neil # one'\n_title\n;\ndata_y\nloop_\n;\n"),
    SALT.replace("data_x\n", "data_x\n_audit_creation_method made by hand\n"),
    SALT.replace("data_x\n", "data_x\n_publ_author 'unfinished\n"),
    SALT.replace("data_x\n", ""),
    SALT.replace("data_x\n", "data_x\n" + BONDS),
    SALT.replace("loop_\n_space", "loop_\n_refln_index_h\n_refln_index_k\nloop_\n_space"),
    SALT.replace("data_x\n", "data_x\n_publ_contact_author_name 'Łukasz Grün'\n"),
    SALT.replace("data_x\n", "data_x\n_chemical_formula_sum ''\n"),
    SALT + "_cell_length_a 5.640(1)\n_journal_year ?\n\x1a",
    SALT.replace("5.64", "5.640(3)"),
], ids=["CRLF", "CR", "BOM", "capitals", "dots", "minus", "comment", "quotes", "words", "unfinished", "no header",
        "broken bonds", "empty loop", "accents", "empty string", "given twice alike", "uncertainties"])
def test_what_has_no_bearing_on_the_crystal_changes_nothing(text: str) -> None:
    reading = read_cif(text)
    assert reading.structure.composition.formula == "Na4 Cl4"
    assert reading.structure.lattice.a == pytest.approx(5.64)


@pytest.mark.parametrize(("text", "kind", "words"), [
    ("", "empty", "empty"),
    ("data_x\n_cell_length_a 5\n", "no_sites", "_atom_site_fract_x"),
    ("this is a letter", "unreadable", "data_"),
    ("Na1 0 0 0\n" + SALT, "unreadable", "line 1: 'Na1 0 0 0' breaks the grammar"),
    (SALT[:-9], "unreadable", "Wrong number of values in loop _atom_site"),
    (SALT.replace("length_a 5.64", "length_a 5.64 Angstrom"), "unreadable", "line 2: '_cell_length_a 5.64 A"),
    (SALT + "_cell_length_a 6.1\n", "unreadable", "given twice"),
    (SALT.replace("_cell_length_a 5.64", "_cell_length_a ?"), "bad_cell", "_cell_length_a is missing"),
    (SALT.replace("_cell_length_a 5.64", "_cell_length_a nan"), "bad_cell", "_cell_length_a is 'nan'"),
    (SALT.replace("_cell_length_a 5.64", "_cell_length_a -5.64"), "bad_cell", "between 0 and"),
    (SALT.replace("_cell_length_a 5.64", "_cell_length_a 1e300"), "bad_cell", "1e300"),
    (SALT.replace("_cell_angle_alpha 90", "_cell_angle_alpha 5"), "contradicts_cell", "angles 5, 90, 90°"),
    (SALT.replace("x,y,z'", "x,y,q'", 1), "unreadable", "x,y,q' is no symmetry operation"),
    ("#\\#CIF_2.0\ndata_x\n_atom_site_fract_x [1 2]\n", "unreadable", "CIF 2.0"),
    (SALT + "\0\0", "unreadable", "not text"),
])
def test_a_file_that_cannot_be_read_says_where_and_why(text: str, kind: str, words: str) -> None:
    with pytest.raises(RowError) as caught:
        read_cif(text)
    assert caught.value.kind == kind
    assert words in str(caught.value)


@pytest.mark.parametrize(("text", "value"), [
    ("1.25", 1.25), ("1.25(3)", 1.25), ("-.5", -0.5), ("1/3", 1 / 3), ("5.", 5.0),
])
def test_numbers(text: str, value: float) -> None:
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["?", ".", "", "0,5", "1/0", "x", "1 2", "1.25(3", "--1"])
def test_what_is_no_number(text: str) -> None:
    assert number(text) != number(text)


def test_blocks_with_sites_count_and_several_are_named() -> None:
    other = SALT.replace("data_x", "data_y").replace("5.64", "5.7")
    text = "data_global\n_publ_author 'N. N.'\n" + SALT + other + "data_powder\n_pd_meas_2theta 10\n"
    with pytest.raises(RowError, match=r"2 structures \(x, y\)") as caught:
        only_structure(text)
    assert caught.value.kind == "several_structures"
    blocks = structure_blocks(text)
    assert list(blocks) == ["x", "y"]
    assert read_cif(blocks["y"]).structure.lattice.a == pytest.approx(5.7)


def test_blocks_of_one_name_stay_apart() -> None:
    assert list(structure_blocks(SALT + SALT.replace("5.64", "5.7"))) == ["x", "x_2"]
    edges = {"a_2": "5.61", "a": "5.62"}
    text = "".join(SALT.replace("data_x", f"data_{name}").replace("5.64", edge)
                   for name, edge in (*edges.items(), ("a", "5.63")))
    blocks = structure_blocks(text)
    assert {name: read_cif(block).structure.lattice.a for name, block in blocks.items()} == pytest.approx(
        {"a_2": 5.61, "a": 5.62, "a_3": 5.63})
