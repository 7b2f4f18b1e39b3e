"""Which crystals the arguments of `predict` stand for."""

from __future__ import annotations

import gzip
import io
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from features.errors import RowError
from model.prediction import inputs
from tests.conftest import CRYSTALS

NACL = (CRYSTALS / "mp-22862.cif").read_text()
SILICON = (CRYSTALS / "mp-149.cif").read_text()


def block(name: str, text: str) -> str:
    return re.sub("(?m)^data_.*", f"data_{name}", text)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.cif"
    path.write_text(block("Salt", NACL) + "\n" + block("si#1", SILICON))
    return path


def names(path: Path | str, every_block: bool = False) -> list[str]:
    return [Path(name).name for name, _ in inputs.read_crystals(Path(path), every_block)]


def test_a_file_is_one_crystal(two: Path) -> None:
    assert inputs.read_crystals(two) == [(str(two), two.read_text())]


def test_one_block_whatever_its_capitals(two: Path) -> None:
    for asked in ("Salt", "sALT"):
        ((name, text),) = inputs.read_crystals(Path(f"{two}#{asked}"))
        assert name == f"{two}#Salt"
        assert "Cl" in text
        assert "Si" not in text
    assert names(f"{two}#SI#1") == ["two.cif#si#1"]
    with pytest.raises(RowError, match=r"two\.cif has no block 'nacl' with sites; there are: Salt, si#1"):
        inputs.read_crystals(Path(f"{two}#nacl"))


def test_every_block(two: Path) -> None:
    assert names(two, every_block=True) == ["two.cif#Salt", "two.cif#si#1"]
    assert names(f"{two}#salt", every_block=True) == ["two.cif#Salt"]
    poscar = two.with_name("POSCAR")
    poscar.write_text("Cu\n1\n4 0 0\n0 4 0\n0 0 4\nCu\n1\nDirect\n0 0 0\n")
    assert names(poscar, every_block=True) == ["POSCAR"]
    with pytest.raises(RowError, match="POSCAR is no CIF, and only a CIF has blocks"):
        inputs.read_crystals(Path(f"{poscar}#a"))


def test_a_name_with_the_sign_of_a_block(two: Path) -> None:
    odd = two.rename(two.with_name("no#1.cif"))
    assert names(odd) == ["no#1.cif"]
    assert names(f"{odd}#salt") == ["no#1.cif#Salt"]
    packed = odd.with_name("two.cif.gz")
    packed.write_bytes(gzip.compress(odd.read_bytes()))
    assert names(f"{packed}#salt") == ["two.cif.gz#Salt"]
    with pytest.raises(RowError, match=r"none\.cif#salt: there is no such file"):
        inputs.read_crystals(odd.with_name("none.cif#salt"))


def test_standard_input(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, expected in (("-", ["-"]), ("-#salt", ["-#Salt"])):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(two.read_bytes())))
        assert names(asked) == expected
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"\0")))
    with pytest.raises(RowError, match="standard input: the file is not text"):
        inputs.read_crystals(Path("-"))


def test_one_bad_input_is_one_error(tmp_path: Path, two: Path) -> None:
    os.mkfifo(tmp_path / "pipe.cif")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    odd = os.fsencode(tmp_path) + b"/\xff\x1b[2J.cif"
    Path(os.fsdecode(odd)).write_text(SILICON)
    given = [tmp_path / "pipe.cif", tmp_path / "zero.csv", "a" * 300, Path(os.fsdecode(odd)), two]
    made = list(inputs.Inputs(given))
    assert [one.error and one.error.partition(": ")[0] for one in made] == [
        "unreadable", "unreadable", "unreadable", None, None]
    assert made[0].error == "unreadable: pipe.cif: it is a pipe, and only regular files are read"
    assert made[3].name == f"{tmp_path}/��[2J.cif"


def test_standard_input_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "FILE_BYTES", 10)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"x" * 11)))
    with pytest.raises(RowError, match="standard input: it is larger than"):
        inputs.read_crystals(Path("-"))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(RowError, match="standard input is closed"):
        inputs.read_crystals(Path("-"))
