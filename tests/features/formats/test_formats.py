"""One crystal, written in every format that is read, is one crystal; what is wrong with a file is said."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

from features import crystal, formats
from features.bounds import Bounds
from features.cif.blocks import different
from features.errors import RowError
from tests.conftest import CRYSTALS

IDS = sorted(path.stem for path in CRYSTALS.glob("*.cif"))


def extxyz(structure: Any, pbc: str = "T T T", more: str = "") -> str:
    lattice = " ".join(f"{value:.12f}" for value in structure.lattice.matrix.ravel())
    atoms = [f"{site.specie.name} {' '.join(f'{x:.12f}' for x in site.coords)}" for site in structure]
    return "\n".join([str(len(structure)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{pbc}"{more}',
                      *atoms]) + "\n"


def poscar(structure: Any, **how: Any) -> str:
    return str(Poscar(structure, sort_structure=True, **how).get_str(significant_figures=12))


def cartesian(structure: Any) -> str:
    return str(Poscar(structure, sort_structure=True).get_str(direct=False, significant_figures=12))


def by_volume(structure: Any) -> str:
    """The cell in other units, its volume as a negative factor, and positions in those units."""
    lines = cartesian(structure).split("\n")
    lines[1] = str(-structure.volume)
    for at in (*range(2, 5), *range(8, 8 + len(structure))):
        *numbers, label = lines[at].split() if at > 4 else (*lines[at].split(), "")
        lines[at] = " ".join([*(f"{float(value) / 3.7:.14f}" for value in numbers), label])
    return "\n".join(lines)


def selective(structure: Any) -> str:
    flags = [[True, False, True]] * len(structure)
    return poscar(structure, selective_dynamics=flags)


def as_json(structure: Any) -> str:
    charged = structure.copy()
    charged.add_oxidation_state_by_element({element.symbol: 1 for element in structure.composition})
    charged.add_site_property("magmom", [float("nan")] * len(charged))
    return json.dumps({"structure": charged.as_dict(), "note": "as a database has it"})


WRITTEN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "cif": ("cif", lambda s: str(CifWriter(s, significant_figures=12))),
    "poscar": ("poscar", poscar),
    "cartesian": ("poscar", cartesian),
    "volume": ("poscar", by_volume),
    "selective": ("poscar", selective),
    "crlf": ("poscar", lambda s: poscar(s).replace("\n", "\r\n")),
    "extxyz": ("extxyz", extxyz),
    "json": ("json", lambda s: json.dumps(s.as_dict())),
    "charged": ("json", as_json),
}


@pytest.mark.parametrize("material_id", IDS)
def test_every_format_means_the_same_crystal(structures: dict[str, Any], material_id: str) -> None:
    original = structures[material_id]
    expected = crystal.structure_hash(crystal.canonical_structure(original))
    for form, write in WRITTEN.values():
        text = write(original)
        assert formats.format_of("", text) == form
        reading = formats.parse(text, form)
        assert reading.flags == {}
        assert crystal.structure_hash(crystal.canonical_structure(reading.structure)) == expected


@pytest.mark.skipif(importlib.util.find_spec("ase") is None, reason="ASE comes with the extra chgnet")
@pytest.mark.parametrize("material_id", IDS[::4])
def test_what_ase_writes(structures: dict[str, Any], material_id: str) -> None:
    from ase.io import write
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = AseAtomsAdaptor.get_atoms(structures[material_id])
    atoms.new_array("forces_of_dft", np.ones((len(atoms), 3)))
    atoms.info["config_type"] = 'bulk "Lattice" = none'
    text = io.StringIO()
    write(text, atoms, format="extxyz")
    assert formats.format_of("", text.getvalue()) == "extxyz"
    read = formats.parse(text.getvalue(), "extxyz").structure
    assert [site.specie.symbol for site in read] == atoms.get_chemical_symbols()
    assert np.abs(read.cart_coords - atoms.positions).max() < 1e-7
    assert np.abs(read.lattice.matrix - atoms.cell.array).max() < 1e-7


NACL = Structure(Lattice([[0, 2.85, 2.85], [2.85, 0, 2.85], [2.85, 2.85, 0]]), ["Na", "Cl"], [[0, 0, 0], [.5, .5, .5]])
POSCAR = "NaCl\n1.0\n0 2.85 2.85\n2.85 0 2.85\n2.85 2.85 0\nNa Cl\n1 1\nDirect\n0 0 0 Na\n0.5 0.5 0.5 Cl\n"
HASH = crystal.structure_hash(crystal.canonical_structure(NACL))


@pytest.mark.parametrize(("old", "new"), [
    ("Na Cl\n", "Na_pv/0f2a  Cl/9d1e\n"),
    ("Na Cl\n", "NA\nCL\n"),
    ("1 1\n", "1\n1\n"),
    ("Na Cl\n", ""),  # VASP 4, with symbols behind the positions
    ("0.5 0.5 0.5 Cl", "-0.5-0.5-0.5"),
    ("0.5 0.5 0.5 Cl", "5D-1 5d-1 .5 T F T"),
    ("0.5 0.5 0.5 Cl\n", "0.5 0.5 0.5 Cl\n\n0.0 0.0 0.0\n1e-3 0 0\n"),
    ("NaCl\n", "\n"),
    ("1.0\n", "1.0  ! Å\n"),
    ("1.0\n", "1.0 1.0 1.0\n"),
    ("Direct", "Selective dynamics\nDirect"),
])
def test_poscars_as_they_are_found(old: str, new: str) -> None:
    text = POSCAR.replace(old, new, 1)
    assert formats.format_of("POSCAR", text) == "poscar"
    read = formats.parse(text, "poscar").structure
    assert crystal.structure_hash(crystal.canonical_structure(read)) == HASH


@pytest.mark.parametrize(("old", "new", "message"), [
    ("Na Cl\n1 1\n", "1 1\n", None),
    ("1.0\n", "one\n", "line 2: the scaling factor is expected"),
    ("1.0\n", "0.0\n", "line 2: the scaling factor is 0.0"),
    ("2.85 2.85 0\n", "2.85 x 0\n", "line 5: cell vector c is expected, three numbers; found '2.85 x 0'"),
    ("2.85 2.85 0\n", "2.85 0 2.85\n", "the cell has no volume"),
    ("2.85 2.85 0\n", "2.85 2.85 1e9\n", "the cell edge c is 1e"),
    ("2.85 2.85 0\n", "2.85 nan 0\n", "line 5: cell vector c"),
    ("Na Cl\n", "Na Qq\n", "line 6: 'Qq' is no chemical element"),
    ("1 1\n", "1\n", "line 7: 2 numbers of atoms are expected, for Na Cl; found 1"),
    ("1 1\n", "1 x\n", "line 7: the numbers of atoms are expected; found '1 x'"),
    ("1 1\n", "0 0\n", "no atoms"),
    ("1 1\n", "9" * 5000 + "\n", "line 7: the numbers of atoms are expected; found '999"),
    ("1 1\n", "1 2\n", "line 11: the position of atom 3 of 3 is expected; found nothing"),
    ("Direct\n", "", "line 8: 'Direct' or 'Cartesian' is expected; found '0 0 0 Na'"),
    ("0.5 0.5 0.5 Cl", "0.5 inf 0.5", "line 10: the position of atom 2 of 2 is expected"),
    ("0.5 0.5 0.5 Cl", "0.5 1e9 0.5", "site 2 of 2 is 1e"),
    ("0.5 0.5 0.5 Cl", "0.5 0.5 0.5 Br", "line 10: the position is marked Br, and by lines 6 and 7 atom 2 is Cl"),
])
def test_poscars_that_mean_no_crystal(old: str, new: str, message: str | None) -> None:
    text = POSCAR.replace(old, new, 1)
    if message is None:
        text, message = text.replace(" Na\n", "\n").replace(" Cl\n", "\n"), "does not say which elements it holds"
    with pytest.raises(RowError) as error:
        formats.parse(text, "poscar")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_contradiction_can_be_kept() -> None:
    reading = formats.parse(POSCAR.replace("0.5 Cl", "0.5 Br"), "poscar", keep_contradictions=True)
    assert reading.structure.composition.reduced_formula == "NaCl"
    assert list(reading.flags) == ["contradicts_labels"]


def test_left_handed_cells_are_cells() -> None:
    text = POSCAR.replace("0 2.85 2.85\n2.85 0 2.85\n", "2.85 0 2.85\n0 2.85 2.85\n")
    read = formats.parse(text, "poscar").structure
    assert np.linalg.det(NACL.lattice.matrix) * np.linalg.det(read.lattice.matrix) < 0
    assert crystal.structure_hash(crystal.canonical_structure(read)) == HASH


XYZ = extxyz(NACL)


@pytest.mark.parametrize(("text", "kind", "message"), [
    (XYZ * 3, "unreadable", "the file holds 3 frames"),
    (extxyz(NACL, pbc="T T F"), "not_periodic", 'pbc="T T F"'),
    (XYZ.replace("Lattice", "Box"), "not_periodic", "line 2 has no Lattice"),
    (XYZ.replace('Lattice="', 'Lattice="9.0 '), "unreadable", "nine numbers"),
    (XYZ.replace("2\n", "3\n", 1), "unreadable", "line 1 says 3 atoms, and the file has 2"),
    (XYZ.replace("2\n", "1\n", 1), "unreadable", "line 4: the end of the file is expected"),
    (XYZ.replace("Cl ", "Qq "), "unreadable", "line 4: 'Qq' is no chemical element"),
    (XYZ.replace("Cl 2.85", "Cl nan"), "unreadable", "line 4: the position of atom 2 of 2, in Å is expected"),
    (XYZ.replace("pos:R:3", "place:R:3"), "unreadable", "Properties must name"),
])
def test_extxyz_that_means_no_crystal(text: str, kind: str, message: str) -> None:
    with pytest.raises(RowError) as error:
        formats.parse(text, formats.format_of("a.xyz", text))
    assert (error.value.kind, message in str(error.value)) == (kind, True), error.value


def test_columns_of_an_extxyz_are_found_by_their_names() -> None:
    lattice = "Lattice=[[0,2.85,2.85],[2.85,0,2.85],[2.85,2.85,0]]"
    text = (f"2\n{lattice} pbc=[true,true,true] properties=forces:R:3:pos:R:3:Z:I:1\n9 9 9 0 0 0 11\n"
            "9 9 9 2.85 2.85 2.85 17")
    read = formats.parse(text, formats.format_of("", text)).structure
    assert crystal.structure_hash(crystal.canonical_structure(read)) == HASH


def test_deuterium_survives() -> None:
    heavy = {"poscar": POSCAR.replace("Na", "D"), "extxyz": XYZ.replace("Na ", "D "),
             "json": json.dumps(NACL.as_dict()).replace('"Na"', '"D"')}
    for form, text in heavy.items():
        assert [specie.name for specie in formats.parse(text, form).structure.composition.elements] == ["D", "Cl"]


def changed(**changes: Any) -> str:
    content = NACL.as_dict()
    return json.dumps({**content, **changes})


def site(species: Any = None, abc: Any = (0, 0, 0)) -> dict[str, Any]:
    return {"species": [{"element": "Na", "occu": 1}] if species is None else species, "abc": list(abc)}


@pytest.mark.parametrize(("text", "kind", "message"), [
    ("{", "unreadable", "line 1: this is no valid JSON"),
    ("[1, 2]", "unreadable", "this JSON is a list of 2"),
    ('{"sites": 1, "sites": 2}', "unreadable", "has the key 'sites' twice"),
    ('{"a": 1}', "unreadable", "no pymatgen Structure, which has lattice and sites; its keys: a"),
    ('{"@class": "Molecule", "sites": []}', "not_periodic", "molecule"),
    (json.dumps({"structure": NACL.as_dict(), "initial": NACL.as_dict()}), "unreadable", "under structure, initial"),
    (changed(sites=[]), "empty", "no atoms"),
    (changed(sites=[{}]), "unreadable", "site 1 of 1: 'species' must be a list"),
    (changed(sites=[site(), site(abc=(0, float("nan"), 0))]), "unreadable", "site 2 of 2: 'abc': 3 finite numbers"),
    (changed(sites=[site([{"element": "Hx", "occu": 1}])]), "unreadable", '"Hx" is no chemical element'),
    (changed(sites=[site([{"element": "Na"}])]), "unreadable", "'occu': 1 finite numbers are expected; found"),
    (changed(sites=[site([{"element": "Na", "occu": 1}, {"element": "K", "occu": 1}])]), "unreadable", "add up to 2"),
    (changed(lattice={"matrix": [[1, 0, 0], [0, 1, 0], [1, 1, 0]]}), "unreadable", "no volume"),
    (changed(lattice={"a": 3, "b": 3, "c": 3, "alpha": 10, "beta": 10, "gamma": 170}), "unreadable",
     "the cell has no volume"),
    (changed(sites=[site(abc=(0, 10**400, 0))]), "unreadable", "site 1 of 1: 'abc': 3 finite numbers"),
    (changed(lattice={"a": 3}), "unreadable", "'lattice': 'matrix', or a, b, c"),
    (changed(lattice={**NACL.lattice.as_dict(), "pbc": [True, True, False]}), "not_periodic", "three dimensions"),
])
def test_json_that_means_no_crystal(text: str, kind: str, message: str) -> None:
    with pytest.raises(RowError) as error:
        formats.parse(text, "json")
    assert (error.value.kind, message in str(error.value)) == (kind, True), error.value


def test_a_json_file_imports_nothing() -> None:
    content = NACL.as_dict()
    content["sites"][0]["properties"] = {"magmom": {"@module": "antigravity", "@class": "Nothing"}}
    assert len(formats.parse(json.dumps(content), "json").structure) == 2


def test_ions_of_one_element_fill_a_site_together() -> None:
    mixed = [{"element": "Fe", "oxidation_state": 2, "occu": 0.3333}, {"element": "Fe", "oxidation_state": 3,
                                                                       "occu": 0.6667}]
    half = [{"element": "Fe", "occu": 0.5}, {"element": "Co", "occu": 0.5}]
    assert formats.parse(changed(sites=[site(mixed)]), "json").structure.is_ordered
    assert not formats.parse(changed(sites=[site(half)]), "json").structure.is_ordered


@pytest.mark.parametrize(("name", "text", "form"), [
    ("x.cif", "DATA_x\n_Cell_length_a 4", "cif"),
    ("x.json", "# a comment\rloop_\r_atom_site_label", "cif"),
    ("x.cif", POSCAR, "poscar"),
    ("CONTCAR", XYZ, "extxyz"),
    ("", '\n {"lattice": 1}', "json"),
    ("x.cif.gz", "cut off", "cif"),
    ("notes.txt", "cut off", None),
    ("POSCAR_1", "cut off", "poscar"),
    ("x.XYZ", "1\nwater\nO 0 0 0", "extxyz"),
])
def test_content_says_the_format_and_the_name_where_it_does_not(name: str, text: str, form: str | None) -> None:
    if form is None:
        with pytest.raises(RowError, match="none of the formats that are read: CIF, POSCAR"):
            formats.format_of(name, text)
    else:
        assert formats.format_of(name, text) == form


def test_no_crystal_file() -> None:
    for text, kind in ((" \n", "empty"), ("TITL NaCl\nCELL 0.7 5 5 5", "unknown_format"), ("<!DOCTYPE html>",
                                                                                         "unknown_format")):
        with pytest.raises(RowError) as error:
            formats.format_of("x.cif" if "html" in text else "", text)
        assert error.value.kind == kind


CUBE = "data_x\n" + "".join(f"_cell_length_{name} 50\n" for name in "abc")
SITES = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"


def many(form: str, count: int) -> str:
    """A file of so many atoms."""
    places = [(k % 30 / 30, k // 30 % 30 / 30, k // 900 / 30) for k in range(count)]
    if form == "cif":
        return CUBE + SITES + "".join(f"C{k} {x:.4f} {y:.4f} {z:.4f}\n" for k, (x, y, z) in enumerate(places))
    if form == "poscar":
        lines = "".join(f"{x} {y} {z}\n" for x, y, z in places)
        return f"C\n1\n50 0 0\n0 50 0\n0 0 50\nC\n{count}\nDirect\n{lines}"
    structure = Structure(Lattice.cubic(50), ["C"] * count, places)
    return extxyz(structure) if form == "extxyz" else str(json.dumps(structure.as_dict()))


@pytest.mark.parametrize("form", ["cif", "poscar", "extxyz", "json"])
def test_twenty_thousand_atoms_are_a_reject_at_once(form: str) -> None:
    text = many(form, 20_000)
    started = time.monotonic()
    with pytest.raises(RowError, match="the cell holds 20000 atoms, more than 3000") as error:
        formats.parse(text, form)
    assert error.value.kind == "over_bound"
    assert time.monotonic() - started < 5
    with pytest.raises(RowError, match="more than 10"):
        formats.parse(many(form, 11), form, bounds=Bounds(sites=10))


def test_three_thousand_operations_are_a_reject_at_once() -> None:
    operations = "loop_\n_space_group_symop_operation_xyz\n" + "".join(
        f"'x+{k % 24}/24, y+{k // 24 % 24}/24, z+{k // 576}/24'\n" for k in range(3000))
    with pytest.raises(RowError, match="the file lists 3000 symmetry operations, more than 2000") as error:
        formats.parse(CUBE + operations + SITES + "C1 0 0 0\n", "cif")
    assert error.value.kind == "over_bound"


@pytest.mark.parametrize("length", ["-5.6", "0", "nan", "inf", "-inf", "1e400", "\u22125.6"])
def test_lengths_that_no_cell_has(length: str) -> None:
    text = CUBE.replace("_cell_length_b 50", f"_cell_length_b {length}") + SITES + "C1 0 0 0\n"
    with pytest.raises(RowError, match="_cell_length_b is ") as error:
        formats.parse(text, "cif")
    assert error.value.kind == "bad_cell"


@pytest.mark.parametrize("angles", [(130, 130, 130), (120, 30, 30), (math.nan, 90, 90), (-60, 90, 90), (0, 90, 90),
                                    (180, 90, 90)])
def test_angles_that_no_cell_has(angles: tuple[float, float, float]) -> None:
    names = ("alpha", "beta", "gamma")
    lines = "".join(f"_cell_angle_{name} {angle}\n" for name, angle in zip(names, angles, strict=True))
    with pytest.raises(RowError) as error:
        formats.parse(CUBE + lines + SITES + "C1 0 0 0\n", "cif")
    assert error.value.kind == "bad_cell"


@pytest.mark.parametrize("form", ["cif", "poscar", "extxyz", "json"])
def test_a_character_of_value_zero_is_no_text(form: str) -> None:
    text = many(form, 1)
    with pytest.raises(RowError, match=r"value 0|NUL"):
        formats.parse(text[:-3] + "\0" + text[-3:], form)


def test_blank_lines_and_blocks_of_one_name_take_no_time() -> None:
    started = time.monotonic()
    with pytest.raises(RowError):
        formats.parse("\n" * 300_000 + "#", "cif")
    names = different(["x"] * 100_000 + ["x_2"])
    assert names[:3] == ["x", "x_3", "x_4"]
    assert len(set(names)) == 100_001
    assert time.monotonic() - started < 5
