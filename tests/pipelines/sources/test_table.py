"""Crystals as cells of a table."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import Poscar

from features import columns, crystal, formats
from features.errors import UserError
from pipelines.params import IngestParams
from pipelines.sources import read_units
from tests.conftest import CRYSTALS
from tests.features.formats.test_formats import as_json, extxyz

NACL = (CRYSTALS / "mp-22862.cif").read_text()


def rows(path: Path, **params: Any) -> dict[str, dict[str, Any]]:
    units = read_units(IngestParams(source="table", path=Path(path.name), **params), path.parent)
    return {row["material_id"]: row for row in units.to_pylist()}


def write(frame: pl.DataFrame, path: Path) -> Path:
    {".parquet": frame.write_parquet, ".csv": frame.write_csv, ".jsonl": frame.write_ndjson}[path.suffix](path)
    return path


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_table(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame({" material_id": ["a ", "007"], "cif": [NACL, None], "k_vrh": [1.5, None],
                          "label": ["x", "y"], "tc": [9, 8], "Unnamed: 0": [0, 1]})
    found = rows(write(frame, tmp_path / f"crystals.{suffix}"))
    assert json.loads(found["a"]["properties"]) == {"k_vrh": 1.5, "tc": 9.0}
    assert json.loads(found["007"]["properties"]) == {"tc": 8.0}
    assert (found["a"]["structure"], found["a"]["format"], found["a"]["source"]) == (NACL, "cif", "table")
    assert (found["007"]["structure"], found["007"]["error"]) == ("", "empty: there is no structure: the text is empty")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("column", ["cif", "structure", "poscar"])
def test_a_cell_may_hold_any_format(tmp_path: Path, suffix: str, column: str) -> None:
    structure = Structure.from_file(CRYSTALS / "mp-22862.cif")
    cells = {"c": NACL, "p": str(Poscar(structure)), "x": extxyz(structure), "j": as_json(structure), "w": "words"}
    found = rows(write(pl.DataFrame({"material_id": list(cells), column: list(cells.values())}),
                       tmp_path / f"t.{suffix}"))
    assert {i: found[i]["format"] for i in "cpxj"} == {"c": "cif", "p": "poscar", "x": "extxyz", "j": "json"}
    assert (found["w"]["error"] or "").startswith("unknown_format: ") == (column == "structure")
    hashes = {crystal.structure_hash(crystal.canonical_structure(formats.parse(
        found[i]["structure"], found[i]["format"]).structure)) for i in cells if i != "w"}
    assert len(hashes) == 1


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_cell_may_be_the_dict_itself(tmp_path: Path, suffix: str) -> None:
    plain = Structure.from_file(CRYSTALS / "mp-22862.cif")
    charged = plain.copy()
    charged.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    path = tmp_path / f"t.{suffix}"
    dicts = [structure.as_dict() for structure in (charged, plain)]
    if suffix == "jsonl":
        path.write_text("".join(json.dumps({"material_id": 1000041 + n, "structure": content}) + "\n"
                                for n, content in enumerate(dicts)))
    else:
        kept = [{"lattice": {"matrix": d["lattice"]["matrix"]},
                 "sites": [{"species": s["species"], "abc": s["abc"]} for s in d["sites"]]} for d in dicts]
        pl.DataFrame({"material_id": [1000041, 1000042], "structure": kept}).write_parquet(path)
    found = rows(path)
    assert list(found) == ["1000041", "1000042"]
    read = [formats.parse(row["structure"], row["format"]).structure for row in found.values()]
    assert [structure.composition.reduced_formula for structure in read] == ["NaCl", "NaCl"]
    assert {specie.symbol: specie.oxi_state for specie in read[0].species} == {"Na": 1, "Cl": -1}
    assert read[1].species == plain.species
    assert abs(read[1].lattice.matrix - plain.lattice.matrix).max() == 0


def test_blocks_of_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (re.sub("(?m)^data_.*", f"data_{name}", NACL) for name in ("a", "b"))
    path = write(pl.DataFrame({"material_id": ["x", "y"], "cif": [one + other, NACL], "k_vrh": [1.0, 2.0]}),
                 tmp_path / "t.csv")
    found = rows(path, blocks="all")
    assert {i: json.loads(row["properties"]) for i, row in found.items()} == {"x+a": {}, "x+b": {}, "y": {"k_vrh": 2.0}}
    assert "are not used: 1" in capsys.readouterr().err


def test_a_table_with_two_columns_of_structures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(pl.DataFrame({"material_id": ["x"], "poscar": ["?"], "cif": [NACL]}), tmp_path / "t.csv")
    assert rows(path)["x"]["structure"] == NACL
    path = write(pl.DataFrame({"material_id": ["x"], "poscar": [NACL], "cif": [""]}), tmp_path / "u.csv")
    assert rows(path)["x"]["structure"] == NACL
    assert "t.csv has the columns cif and poscar; a row has its structure from the first" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "text", "message"), [
    ("t.csv", "cif,k_vrh\ndata_,1\n", "t.csv has no column material_id; its columns: cif, k_vrh"),
    ("t.csv", "material_id,cif,k_vrh, k_vrh\n", "has two columns 'k_vrh'"),
    ("t.csv", 'material_id,cif\na,"data_\n\n_cell"\nb\n', r"t\.csv, line 5: 2 fields are expected"),
    ("t.csv", 'material_id,cif\na,"data_\n', "line 2: unexpected end of data"),
    ("t.csv", "material_id\0", "t.csv cannot be read: the file is not text"),
    ("t.jsonl", '{"material_id": 1}\n{', r"t\.jsonl, line 2: this is no JSON"),
    ("t.jsonl", '[{"material_id": 1}]', "line 1: a JSON object is expected in each line"),
    ("t.parquet", "PAR1", "cannot be read"),
])
def test_tables_that_are_broken(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        rows(tmp_path / name)


def test_a_long_cell_is_a_cell(tmp_path: Path) -> None:
    text = NACL + "# " + "x" * 200_000 + "\n"
    path = write(pl.DataFrame({"material_id": ["x"], "cif": [text]}), tmp_path / "t.csv")
    assert rows(path)["x"]["structure"] == text


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_gigantic_cell_is_the_reject_of_its_row(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame({"material_id": ["a", "b"], "cif": [NACL, "x" * 1_000_001]})
    found = rows(write(frame, tmp_path / f"crystals.{suffix}"), file_mb=1)
    assert found["a"]["error"] is None
    assert found["b"]["error"] == "over_bound: the cell in column 'cif' is larger than 1 MB"


def test_bytes_that_are_no_text_are_the_reject_of_their_row(tmp_path: Path) -> None:
    frame = pl.DataFrame({"material_id": ["a", "b"], "cif": [NACL.encode(), b"\0"]})
    assert rows(write(frame, tmp_path / "crystals.parquet"))["b"]["error"].startswith("unreadable: the file is not")


def test_tables_that_are_larger_than_they_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "crystals.parquet"
    pq.write_table(pa.table({"material_id": ["a"], "cif": ["x" * 3_000_000]}), packed, compression="zstd",
                   use_dictionary=False)
    assert packed.stat().st_size < 10_000
    with pytest.raises(UserError, match="unpacked it is larger than 1 MB"):
        rows(packed, table_mb=1)
    monkeypatch.setattr(columns, "CELLS", 10)
    commas = tmp_path / "commas.csv"
    commas.write_text("material_id,cif" + "," * 20)
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps({"material_id": "a", f"x{k}": 1}) + "\n" for k in range(9)))
    for path in (commas, many):
        with pytest.raises(UserError, match="more than 10 cells"):
            rows(path)


@pytest.mark.parametrize(("line", "message"), [
    ("[" * 100_000, "nested too deeply"), ('{"a":' * 900 + "1" + "}" * 900, "nested too deeply"),
    ('{"material_id": "\\ud800"}', "no JSON .*surrogates not allowed"),
    ('{"material_id": ' + "9" * 5000 + "}", "Exceeds the limit"), ("[1]", "a JSON object is expected"),
])
def test_lines_that_no_table_has(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "crystals.jsonl"
    path.write_text(line)
    with pytest.raises(UserError, match=message):
        rows(path)


def test_a_damaged_table_is_one_line(tmp_path: Path) -> None:
    """Every byte of the beginning and the end in turn."""
    path = write(pl.DataFrame({"material_id": ["a", "b"], "cif": ["x", "y"]}), tmp_path / "crystals.parquet")
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1:])
        with contextlib.suppress(UserError):
            rows(path)
        path.write_bytes(whole[:at])
        with pytest.raises(UserError, match="cannot be read"):
            rows(path)
