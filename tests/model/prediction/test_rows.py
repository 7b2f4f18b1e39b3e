"""Tables, files and JSON of predictions: the same numbers in each, with their units, and nothing twice."""

import csv
import errno
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from features.errors import UserError
from model.predict import Outputs, edited
from model.prediction import rows
from model.records import Neighbour, Predicted

CAUTION = "The model was trained on 3 crystals only."
OF: Any = SimpleNamespace(target="hardness", unit="GPa", learned_unit="log10(GPa)", cautions=(CAUTION,))
GOOD = Predicted(
    "a.cif", formula="NaCl", space_group="Fm-3m", value=100.0, low=10.0, high=1000.0, confidence=0.9,
    structure_only=90.0, learned={"value": 2.0, "low": 1.0, "high": 3.0, "structure_only": math.log10(90.0)},
    trained_on="mp-1", near_by_structure=(Neighbour("mp-1", "NaCl", "Fm-3m", 99.0, 0.0),),
    warnings=(CAUTION, "no text"), flags={"disordered": "said in \"words\", and commas"}, text="NaCl is, well, salt.")
WIDE = Predicted("b.cif", formula="Si", space_group="Fd-3m", value=5.0, confidence=0.9, learned={"value": 0.7},
                 warnings=(CAUTION,), what_if={"change": "without local", "value": 4.0, "learned": 0.6,
                                               "difference": {"value": 1.0, "learned": 0.1}})
BAD = Predicted("c.cif", error="empty: there is nothing")


def test_all_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, parquet = tmp_path / "p.csv", tmp_path / "p.parquet"
    with Outputs(csv=str(table), parquet=parquet).open(OF) as writers:
        for one in (GOOD, WIDE, BAD):
            for writer in writers:
                writer.write(one)
    printed = capsys.readouterr()
    header, first, second = printed.out.splitlines()
    assert header.split("  ")[0] == "crystal"
    assert "hardness / GPa" in header
    assert first.split()[:5] == ["a.cif", "NaCl", "Fm-3m", "100", "10–1000"]
    assert "+1" in second
    assert "without local" in second
    assert printed.err.splitlines() == [
        f"CAUTION. {CAUTION}", "a.cif: no text", "a.cif: said in \"words\", and commas",
        "c.cif: empty: there is nothing"]
    written = list(csv.DictReader(table.open(encoding="utf-8")))
    frame = pl.read_parquet(parquet)
    assert frame.equals(rows.frame(OF, [GOOD, WIDE, BAD]))
    assert [row["name"] for row in written] == frame["name"].to_list() == ["a.cif", "b.cif", "c.cif"]
    assert [row["value"] for row in written] == ["100.0", "5.0", ""]
    assert frame["value"].to_list() == [100.0, 5.0, None]
    assert frame["learned_low"].to_list() == [1.0, None, None]
    assert json.loads(written[0]["near_by_structure"])[0]["distance"] == 0.0
    assert json.loads(written[0]["warnings"]) == [CAUTION, "no text"]
    fields = pq.read_schema(parquet)
    assert fields.field("value").metadata[b"unit"] == b"GPa"
    assert fields.field("learned_value").metadata[b"unit"] == b"log10(GPa)"
    assert b"unit" not in fields.field("confidence").metadata


def test_json_is_one_array_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    with Outputs(json=True).open(OF) as (writer,):
        writer.write(GOOD)
        assert capsys.readouterr().out.startswith('[{"name": "a.cif"')
        writer.write(BAD)
        assert json.loads("[" + capsys.readouterr().out.lstrip(",\n ") + "]") == [
            {"name": "c.cif", "property": "hardness", "unit": "GPa", "learned_unit": "log10(GPa)",
             "error": "empty: there is nothing"}]
    assert capsys.readouterr().out == "]\n"
    with Outputs(json=True).open(OF):
        pass
    assert json.loads(capsys.readouterr().out) == []


def test_what_breaks_off_keeps_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "p.csv"

    def breaks_off() -> None:
        with Outputs(csv=str(table), json=True).open(OF) as writers:
            for writer in writers:
                writer.write(GOOD)
            raise MemoryError

    with pytest.raises(MemoryError):
        breaks_off()
    assert json.loads(capsys.readouterr().out)[0]["value"] == 100.0
    assert len(list(csv.DictReader(table.open(encoding="utf-8")))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_csv_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with Outputs(csv="-").open(OF) as writers:
        for writer in writers:
            writer.write(WIDE)
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["value"], row["unit"], row["difference"]) == ("5.0", "GPa", "1.0")


def test_more_rows_than_are_set_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Outputs().open(OF) as (writer,):
        for _ in range(rows.SHOWN_AT_ONCE + 3):
            writer.write(WIDE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == rows.SHOWN_AT_ONCE + 4
    assert sum(line.startswith("crystal") for line in lines) == 1


@pytest.mark.parametrize(("options", "message"), [
    ({"json": True, "csv": "-"}, "both write to standard output"),
    ({"csv": "nowhere/p.csv"}, r"--csv: the folder of nowhere/p\.csv does not exist"),
    ({"parquet": Path("nowhere/p")}, "--parquet: the folder of"),
    ({"html": Path("/")}, "--html: / is a folder; name a file"),
])
def test_outputs_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Outputs(**options)


def test_an_edited_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    with pytest.raises(UserError, match=r"--text: text\.txt: there is no such file"):
        edited(path)
    path.write_text(" \n")
    with pytest.raises(UserError, match="is empty"):
        edited(path)
    path.write_text("NaCl is\nsalt.\n")
    assert edited(path) == "NaCl is salt."
    assert edited(None) is None


def test_a_disk_that_is_full_at_the_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    one = rows.CsvWriter(OF, tmp_path / "p.csv")
    two = rows.ParquetWriter(OF, tmp_path / "p.parquet")
    two.write(GOOD)
    one._file.close()
    one._file = SimpleNamespace(close=full)
    monkeypatch.setattr(two, "_flush", full)
    for writer in (one, two):
        with pytest.raises(OSError, match="No space"):
            writer.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    writer = rows.CsvWriter(OF, tmp_path / "p.csv")
    writer.write(Predicted("=HYPERLINK(1).cif", error="empty: there is nothing"))
    writer.close()
    (row,) = csv.DictReader((tmp_path / "p.csv").open())
    assert row["name"] == "'=HYPERLINK(1).cif"
