"""A folder of crystal files of every format, as people have them."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import Poscar

from features import crystal_files
from features.errors import UserError
from features.reading import MB
from pipelines import sources
from pipelines.params import IngestParams
from pipelines.sources import read_units
from tests.conftest import CRYSTALS, make_project
from tests.features.formats.test_formats import extxyz

NACL = (CRYSTALS / "mp-22862.cif").read_text()


def rows(root: Path, **params: Any) -> dict[str, dict[str, Any]]:
    return {row["material_id"]: row for row in read_units(IngestParams(source="folder", **params), root).to_pylist()}


def errors(root: Path, **params: Any) -> list[str]:
    units = read_units(IngestParams(source="folder", **params), root).to_pylist()
    return [row["error"] for row in units if row["error"]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path, only=["mp-30", "mp-149", "mp-22862"])


@pytest.fixture
def folder(project: Path) -> Path:
    return project / "data" / "input"


def test_packed_and_broken_files(project: Path, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "packed.cif.gz").write_bytes(gzip.compress(NACL.encode()))
    (folder / "broken.cif.gz").write_bytes(b"not gzip")
    (folder / "latin.CIF").write_bytes(NACL.encode() + "# Å. Müller".encode("latin-1"))
    found = rows(project)
    assert found["packed"]["structure"] == NACL
    assert found["packed"]["properties"] == "{}"
    assert json.loads(found["mp-30"]["properties"])["k_vrh"] > 100
    assert found["broken"]["error"].startswith("unreadable: broken.cif.gz")
    assert found["latin"]["structure"].endswith("# Å. Müller")
    assert (found["mp-30"]["error"], found["mp-30"]["source"], found["mp-30"]["format"]) == (None, "folder", "cif")


def test_every_format(project: Path, folder: Path) -> None:
    structure = Structure.from_file(CRYSTALS / "mp-22862.cif")
    written = {"a.vasp": str(Poscar(structure)), "b.poscar": str(Poscar(structure)), "c.extxyz": extxyz(structure),
               "d.xyz": extxyz(structure), "e.json": structure.to_json(), "POSCAR_f": str(Poscar(structure)),
               "g.mcif": NACL, "h.cif": str(Poscar(structure))}
    for name, text in written.items():
        (folder / name).write_text(text)
        if name != "POSCAR_f":
            (folder / f"packed_{name}.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "notes.json").write_text('{"calculator": "VASP"}')
    (folder / "POSCARs").mkdir()
    found = rows(project)
    forms = {"a": "poscar", "b": "poscar", "c": "extxyz", "d": "extxyz", "e": "json", "POSCAR_f": "poscar", "g": "cif",
             "h": "poscar", "notes": "json"}
    assert {i: found[i]["format"] for i in forms} == forms
    assert {i: found[f"packed_{i}"]["format"] for i in "abcdegh"} == {i: forms[i] for i in "abcdegh"}
    assert len(found) == 3 + 9 + 7


def test_calculations(project: Path, folder: Path) -> None:
    for run, names in (("run-1", ["POSCAR", "CONTCAR"]), ("run-2", ["POSCAR.gz"]), ("deep/run-2", ["POSCAR"])):
        (folder / run).mkdir(parents=True)
        for name in names:
            text = f"{name}\n1\n4 0 0\n0 4 0\n0 0 4\nCu\n1\nDirect\n0 0 0\n".encode()
            (folder / run / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    found = read_units(IngestParams(source="folder"), project).to_pylist()
    taken = {row["material_id"]: row["structure"].split("\n")[0] for row in found if not row["error"]}
    assert (taken["run-1"], taken["run-2"]) == ("CONTCAR", "POSCAR")
    assert {row["error"] for row in found if row["error"]} == {
        "duplicate: run-1/CONTCAR of the same folder holds the relaxed crystal and is taken, not run-1/POSCAR",
        "duplicate: run-2/POSCAR.gz has the same id as deep/run-2/POSCAR, which is taken"}


def test_what_is_hidden_is_left_alone(project: Path, folder: Path) -> None:
    for name in ("._mp-30.cif", ".ipynb_checkpoints/x.cif", "__MACOSX/sub/y.cif", "sub/.z.json"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text("data_")
    assert len(rows(project)) == 3


def test_a_file_name_that_is_not_utf8_is_one_entry(project: Path, folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.CIF.GZ")).write_bytes(gzip.compress(b"data_x"))
    assert rows(project)["caf\ufffd"]["structure"] == "data_x"


def test_two_files_of_one_name_and_a_property_without_file(project: Path, folder: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "mp-30.cif").write_text("data_")
    with (folder / "properties.csv").open("a") as handle:
        handle.write("ghost,1.0,2.0\n")
    assert errors(project) == ["duplicate: sub/mp-30.cif has the same id as mp-30.cif, which is taken",
                               "no_structure: properties.csv names it, but there is no such file"]
    assert "whose properties are not used: 1, the first is 'ghost'" in capsys.readouterr().err


def test_each_block_can_be_a_crystal(project: Path, folder: Path) -> None:
    one, other = (re.sub("(?m)^data_.*", f"data_{name}", NACL) for name in ("100K", "300(K)"))
    (folder / "two.cif").write_text(f"{one}\n{other}")
    with (folder / "properties.csv").open("a") as handle:
        handle.write("two+100K,5.0,2.0\ntwo,6.0,2.0\n")
    assert "two+100K" not in {i for i, row in rows(project).items() if not row["error"]}
    found = rows(project, blocks="all")
    assert {i for i, row in found.items() if not row["error"]} == {"mp-30", "mp-149", "mp-22862", "two+100K",
                                                                   "two+300_K_"}
    assert json.loads(found["two+100K"]["properties"])["k_vrh"] == 5.0
    assert found["two+300_K_"]["properties"] == "{}"
    assert found["two"]["error"] == ("no_structure: properties.csv names it, but its file holds several crystals, "
                                     "which have the ids two+100K, two+300_K_")
    assert found["mp-149"]["structure"] == (CRYSTALS / "mp-149.cif").read_text()


def test_a_larger_limit_only_adds(tmp_path: Path) -> None:
    root = make_project(tmp_path)
    few, many = (set(rows(root, limit=limit)) for limit in (5, 12))
    assert (len(few), len(many)) == (5, 12)
    assert few < many


@pytest.mark.parametrize(("line", "message"), [
    (",5.0,", "properties.csv, line 5 has no material_id"),
    ("mp-30,5.0,", "properties.csv, line 5 names 'mp-30' a second time"),
    ("x,about 5,1", "properties.csv, line 5: 'about 5' in column 'k_vrh' is not a number"),
    ("x,5.0", "properties.csv, line 5: 3 fields are expected, as in the header; found 2"),
    ("x,5.0,1,2", "found 4"),
    ('x,"1,234",1', "line 5: '1,234' in column 'k_vrh' is not a number"),
])
def test_properties_that_are_broken(project: Path, folder: Path, line: str, message: str) -> None:
    with (folder / "properties.csv").open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(UserError, match=message):
        rows(project)


PLAIN = "material_id,k_vrh,g_vrh\nmp-30,1234.5,5\nmp-149,,-0.5\nmp-22862,7,0.001\n"


@pytest.mark.parametrize("text", [
    PLAIN,
    "material_id, k_vrh ,g_vrh\n mp-30 , 1234.5, 5\nmp-149 ,n/a ,-0.5\n\tmp-22862,7,1e-3\n",
    'material_id,k_vrh,g_vrh\nmp-30,"1,234.5",5\nmp-149,-,-.5\nmp-22862,+7,1E-03\n,,\n\n',
    "material_id;k_vrh;g_vrh\r\nmp-30;1.234,5;5\r\nmp-149;;-0,5\r\nmp-22862;7;0,001\r\n",
    "material_id\tk_vrh\tg_vrh\nmp-30\t1234,5\t5\nmp-149\tNaN\t-0.5\nmp-22862\t7\t0.001\n",
    ",material_id,k_vrh,g_vrh\n0,mp-30,1234.5,5\n1,mp-149,,-0.5\n2,mp-22862,7,0.001\n",
    "Unnamed: 0;material_id;k_vrh;g_vrh;Grüße\n0;mp-30;1234.5;5;ä\n1;mp-149;;-0.5;\n2;mp-22862;7;0.001;\n",
])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_properties_as_other_programs_write_them(project: Path, folder: Path, text: str, encoding: str) -> None:
    (folder / "properties.csv").write_bytes(text.encode(encoding))
    found = {i: json.loads(row["properties"]) for i, row in rows(project).items()}
    assert found == {"mp-30": {"k_vrh": 1234.5, "g_vrh": 5}, "mp-149": {"g_vrh": -0.5},
                     "mp-22862": {"k_vrh": 7, "g_vrh": 0.001}}


def test_ids_are_text_and_have_no_blanks_around(project: Path, folder: Path) -> None:
    for name in ("007", "1000041", "mp-1"):
        (folder / f"{name}.cif").write_text(NACL)
    (folder / "properties.csv").write_text("material_id, k_vrh\nmp-1 ,24.5\n 1000041,25\n007,26\n")
    found = {i: json.loads(row["properties"]) for i, row in rows(project).items()}
    assert {i: found[i] for i in ("mp-1", "1000041", "007")} == {
        "mp-1": {"k_vrh": 24.5}, "1000041": {"k_vrh": 25.0}, "007": {"k_vrh": 26.0}}


def test_columns_of_words_are_left_out_and_points_beside_commas_are_not_guessed(
        project: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "properties.csv").write_text("material_id,colour,k_vrh\nmp-30,red,inf\nmp-149,blue,3\nmp-22862,-,4\n")
    assert json.loads(rows(project)["mp-30"]["properties"]) == {}
    said = capsys.readouterr().err
    assert "column 'colour' of properties.csv is left out: of 2 cells 2 are no numbers, the first is 'red'" in said
    assert "column 'k_vrh' of properties.csv: infinite values, which count as missing: 1" in said
    (folder / "properties.csv").write_text("material_id;k_vrh\nmp-30;1.234\nmp-149;3,5\nmp-22862;4\n")
    with pytest.raises(UserError, match=r"line 2: '1\.234' in column 'k_vrh' has three decimals or is in thousands"):
        rows(project)
    (folder / "properties.csv").write_text("material_id;k_vrh;g_vrh\nmp-30;1.234;1,5\nmp-149;3;2,5\nmp-22862;4;1\n")
    with pytest.raises(UserError, match=r"line 2: '1\.234' in column 'k_vrh'"):  # commas of another column
        rows(project)
    (folder / "properties.csv").write_text("material_id;k_vrh;g_vrh\nmp-30;1.5;1,5\nmp-149;3;2,5\nmp-22862;4;1\n")
    assert json.loads(rows(project)["mp-30"]["properties"]) == {"k_vrh": 1.5, "g_vrh": 1.5}


def test_one_bad_file_costs_one_reject(project: Path, folder: Path) -> None:
    os.mkfifo(folder / "pipe.cif")
    (folder / "zero.cif").symlink_to("/dev/zero")
    (folder / "loop.cif").symlink_to(folder / "loop.cif")
    (folder / "folder.cif").symlink_to(folder)
    (folder / "bomb.cif.gz").write_bytes(gzip.compress(bytes(3_000_000)))
    (folder / "large.cif").write_bytes(NACL.encode() + b"#" * 1_000_001)
    found = rows(project, file_mb=1)
    assert {i: found[i]["error"] for i in ("pipe", "zero", "loop", "folder", "bomb", "large")} == {
        "pipe": "unreadable: pipe.cif: it is a pipe, and only regular files are read",
        "zero": "unreadable: zero.cif: it is a device, and only regular files are read",
        "loop": "unreadable: loop.cif: Too many levels of symbolic links",
        "folder": "unreadable: folder.cif: it is a folder, and only regular files are read",
        "bomb": "over_bound: bomb.cif.gz: unpacked it is larger than 1 MB",
        "large": "over_bound: large.cif: it is larger than 1 MB"}
    assert found["mp-30"]["error"] is None


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: path.symlink_to("/dev/zero"), "properties.csv cannot be read: it is a device"),
    (lambda path: path.write_bytes(b"material_id,x\n" + b"," * 2_000_000), "it is larger than 1 MB"),
    (lambda path: path.symlink_to("nowhere"), "properties.csv cannot be read: there is no such file"),
])
def test_properties_that_are_no_table(project: Path, folder: Path, make: Any, message: str) -> None:
    (folder / "properties.csv").unlink()
    make(folder / "properties.csv")
    with pytest.raises(UserError, match=message):
        rows(project, table_mb=1)


def test_texts_beyond_the_bound_of_all_are_rejects_and_the_others_rows(
        project: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sources, "TEXT_BYTES", 10 * MB)
    for name in ("bomb-1", "bomb-2", "bomb-3"):
        (folder / f"{name}.cif.gz").write_bytes(gzip.compress(b"data_x\n" + b"#" * 4 * MB))
    found = rows(project)
    assert {name for name, row in found.items() if row["error"] is None} == {
        "bomb-1", "bomb-2", "mp-30", "mp-149", "mp-22862"}
    beyond = found["bomb-3"]
    assert beyond["structure"] == ""  # it is not kept
    assert beyond["error"].startswith("over_bound: ")
    assert "beyond the 10 MB that one project holds" in beyond["error"]
    assert "holds 10 MB: 1, the first is bomb-3" in capsys.readouterr().err
    assert sum(len(row["structure"]) for row in found.values()) < 10 * MB


def test_a_folder_that_goes_away_is_left_out(project: Path, folder: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("sub", "sub2"):
        (folder / name).mkdir()
    scan = os.scandir

    def going(path: Path) -> Any:
        if path.name.startswith("sub"):
            path.rmdir()
        return scan(path)

    monkeypatch.setattr(crystal_files.os, "scandir", going)
    assert set(rows(project)) == {"mp-30", "mp-149", "mp-22862"}
    assert re.search(r"read and are left out: 2, the first is .*/sub2? \(No such file", capsys.readouterr().err)


def test_what_no_project_holds(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crystal_files, "MOST_NAMES", 3)
    with pytest.raises(UserError, match="more than 3 files and folders"):
        rows(project)


def test_ids_that_differ_in_capitals_are_two_crystals_and_a_line(project: Path, folder: Path,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Case.cif").write_text(NACL)
    (folder / "sub").mkdir()
    (folder / "sub" / "case.cif").write_text(NACL)
    found = rows(project)
    assert (found["Case"]["error"], found["case"]["error"]) == (None, None)
    assert "differ in capitals alone" in capsys.readouterr().err


def test_a_name_with_controls_is_shown_without(project: Path, folder: Path) -> None:
    (folder / "a\x1b[2J.cif").write_text(NACL)
    assert "a�[2J" in rows(project)
