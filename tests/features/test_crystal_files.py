"""Files of crystals: their text, whatever wrote it, and their names."""

import gzip
from pathlib import Path

import pytest

from features.crystal_files import decode, id_of, named_format, read_text
from features.errors import RowError

AUTHOR = "data_x\r\n_publ_author_name 'Müller, Å.'\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_text_is_read_as_it_was_written(tmp_path: Path, encoding: str, packed: bool) -> None:
    raw = AUTHOR.encode(encoding)
    path = tmp_path / ("a.cif.gz" if packed else "a.cif")
    path.write_bytes(gzip.compress(raw, mtime=0) if packed else raw)
    assert read_text(path) == AUTHOR
    path = path.rename(tmp_path / "a.cif")  # packed and not called so
    assert read_text(path) == AUTHOR


def test_big_endian_and_bytes_that_no_alphabet_has() -> None:
    assert decode(b"\xfe\xff" + "data_x".encode("utf-16-be")) == "data_x"
    assert decode(b"\x81 \xff") == "\x81 ÿ"


@pytest.mark.parametrize(("raw", "message"), [
    (b"\x89PNG\0\0", r"a\.cif: the file is not text"),
    ("data_x".encode("utf-16-le"), "not text"),
    (b"\xff\xfed", "damaged or cut off"),
    (gzip.compress(b"data_x", mtime=0)[:-9], "end-of-stream"),
])
def test_what_is_no_text(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "a.cif"
    path.write_bytes(raw)
    with pytest.raises(RowError, match=message) as error:
        read_text(path)
    assert error.value.kind == "unreadable"


@pytest.mark.parametrize(("name", "form", "id_"), [
    ("a.b.cif", "cif", "a.b"), ("A.CIF.GZ", "cif", "A"), ("a.mcif", "cif", "a"), ("a.vasp", "poscar", "a"),
    ("a.poscar.gz", "poscar", "a"), ("a.extxyz", "extxyz", "a"), ("a.xyz", "extxyz", "a"), ("a.json", "json", "a"),
    ("POSCAR", "poscar", "run-7"), ("CONTCAR.gz", "poscar", "run-7"), ("POSCAR.vasp", "poscar", "run-7"),
    ("POSCAR_Si", "poscar", "POSCAR_Si"), ("CONTCAR.relax2.gz", "poscar", "CONTCAR.relax2"),
    ("properties.csv", None, "properties.csv"), ("OUTCAR", None, "OUTCAR")])
def test_names(tmp_path: Path, name: str, form: str | None, id_: str) -> None:
    path = tmp_path / "run-7" / name
    assert named_format(path.name) == form
    assert id_of(path) == id_
