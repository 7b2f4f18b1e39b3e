"""An export is read back by the tools that it is for, value for value, and nothing else is ever overwritten."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import yaml
from safetensors.numpy import load_file
from typer.testing import CliRunner

from features import about
from features.__main__ import app
from features.errors import UserError
from features.exporting import huggingface
from features.paths import Paths
from features.store import tables
from features.store.sums import Damaged


def run(root: Path, *arguments: str) -> Path:
    """The folder that an export wrote."""
    done = CliRunner().invoke(app, ["export", *arguments, "--root", str(root)], catch_exceptions=False)
    assert done.exit_code == 0
    return Path(arguments[0])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(root: Path, name: str) -> list[dict[str, Any]]:
    return tables.read(root, name).to_pylist()


def test_datasets_reads_what_the_tables_hold(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `export` is not installed")
    folder = run(root, str(tmp_path / "hub"), "--to", "huggingface")
    assert contents(run(root, str(tmp_path / "again"), "--to", "huggingface")) == contents(folder)
    assert set(datasets.get_dataset_config_names(str(folder))) == {"materials", "splits", "structures",
                                                                   "text_embeddings"}
    for name in ("materials", "text_embeddings"):
        read = datasets.load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path / "cache"))
        found = list(read)
        for row in (stored := rows(root, name)):
            if "other_properties" in row:  # a map, which the Hub does not know
                row["other_properties"] = [{"key": key, "value": value} for key, value in row["other_properties"]]
        assert found == stored
    card = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert [one["config_name"] for one in card["configs"] if one.get("default")] == ["materials"]
    divided = run(root, str(tmp_path / "divided"), "--to", "huggingface", "--by-split", "--tables", "splits,structures")
    read = datasets.load_dataset(str(divided), "structures", cache_dir=str(tmp_path / "cache"))
    of_id = {row["material_id"]: row["split"] for row in rows(root, "splits")}
    assert {row["material_id"]: split for split in read for row in read[split]} == of_id


def test_results_about_no_single_crystal_are_in_no_split(root: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(root, tmp_path / "project"))
    schema = pa.schema([("target", pa.string()), ("effect", pa.float64())])
    tables.publish(Paths(own).table("fact_effects"), schema, ("target",),
                   iter([pa.Table.from_pylist([{"target": "k_vrh", "effect": 0.5}], schema)]), iter([{"parts": 1}]))
    folder = run(own, str(tmp_path / "hub"), "--to", "huggingface", "--by-split", "--tables", "fact_effects,splits")
    assert [path.name for path in (folder / "fact_effects").iterdir()] == ["rest-00000-of-00001.parquet"]
    assert "rest" not in {path.name.split("-")[0] for path in (folder / "splits").iterdir()}


def test_mlcroissant_validates_and_reads_the_description(root: Path, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="the extra `export` is not installed")
    folder = run(root, str(tmp_path / "hub"), "--to", "huggingface")
    read = mlcroissant.Dataset(str(folder / "croissant.json"))
    assert not read.metadata.issues.errors
    found = {row["materials/material_id"].decode(): row["materials/k_vrh"] for row in read.records("materials")}
    assert found == {row["material_id"]: row["k_vrh"] for row in rows(root, "materials")}
    vectors = {row["text_embeddings/material_id"].decode(): row["text_embeddings/pooled"]
               for row in read.records("text_embeddings")}
    assert all(np.array_equal(vectors[row["material_id"]], row["pooled"]) for row in rows(root, "text_embeddings"))
    (texts,) = [one for one in read.metadata.record_sets if one.id == "text_embeddings"]
    assert "Not described here: spans." in texts.description


def test_strings_of_files_mean_nothing_in_a_card() -> None:
    source = about.Source("<img src=x>|x", "1`2", "Own *terms*\n---", "see [here](x)", 3)
    table = {"name": "materials", "rows": 3, "meaning": "", "splits": {"train": 3}, "columns": []}
    card = huggingface._card("revision x|y", [table], [source])
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "other"
    assert "| \\<img src=x\\>\\|x | 1\\`2 | Own \\*terms\\* --- | 3 | see \\[here\\](x) |" in body
    assert "from revision x\\|y" in body


def test_tensors_are_the_tables(root: Path, tmp_path: Path) -> None:
    folder = run(root, str(tmp_path / "tensors"), "--to", "torch", "--target", "hardness")
    index = json.loads((folder / "index.json").read_text())
    assert list(index["tables"]) == ["materials", "splits", "structures", "text_embeddings"]
    read: dict[str, dict[str, dict[str, Any]]] = {}
    for name, told in index["tables"].items():
        read[name] = {}
        for part in told["parts"]:
            tensors = load_file(folder / part["file"])
            keys = json.loads((folder / part["keys"]).read_text())
            for place, key in enumerate(keys["material_id"]):
                row = read[name].setdefault(key, {})
                for found in told["columns"]:
                    values = tensors[found]
                    if f"{found}.offsets" in tensors:
                        start, end = tensors[f"{found}.offsets"][place:place + 2]
                        row[found] = values[start:end]
                    else:
                        row[found] = values[place]
                    if told["columns"][found].get("missing") and tensors[f"{found}.missing"][place]:
                        row[found] = None
    for row in rows(root, "structures"):
        for found, values in read["structures"][row["material_id"]].items():
            assert np.array_equal(values, row[found]), found
    for row in rows(root, "text_embeddings"):
        assert np.array_equal(read["text_embeddings"][row["material_id"]]["pooled"], row["pooled"])
        assert np.array_equal(read["text_embeddings"][row["material_id"]]["sentence_vectors"], row["sentence_vectors"])
    words = index["tables"]["splits"]["columns"]["split"]["categories"]
    assert {key: words[row["split"]] for key, row in read["splits"].items()} == \
        {row["material_id"]: row["split"] for row in rows(root, "splits")}
    hardness = {row["material_id"]: dict(row["other_properties"]).get("hardness") for row in rows(root, "materials")}
    assert {key: row["other_properties.hardness"] for key, row in read["materials"].items()} == hardness
    assert None in hardness.values()
    assert index["tables"]["materials"]["columns"]["other_properties.hardness"]["unit"] == "GPa"
    assert "k_vrh" not in index["tables"]["materials"]["columns"]
    assert index["tables"]["text_embeddings"]["left_out"] == ["spans"]


def test_csv_has_lists_as_json(root: Path, tmp_path: Path) -> None:
    folder = run(root, str(tmp_path / "csv"), "--to", "csv")
    with (folder / "materials.csv").open(newline="", encoding="utf-8") as file:
        read = {row["material_id"]: row for row in csv.DictReader(file)}
    for row in rows(root, "materials"):
        found = read[row["material_id"]]
        assert (found["cif"], float(found["k_vrh"])) == (row["cif"], row["k_vrh"])
        assert json.loads(found["elements"]) == row["elements"]
        assert json.loads(found["other_properties"]) == dict(row["other_properties"])
    stored = rows(root, "text_embeddings")
    again = duckdb.connect().execute("select material_id, pooled::float[] from read_csv(?)",
                                     [str(folder / "text_embeddings.csv")]).fetchall()
    assert again == [(row["material_id"], row["pooled"]) for row in stored]


@pytest.mark.parametrize(("arguments", "words"), [
    (["--to", "csv", "--tables", "nowhere"], "no table 'nowhere'; there are: materials, splits"),
    (["--to", "csv", "--tables", " ,"], "--tables names no table"),
    (["--to", "csv", "--target", "k_vrh"], "--target goes with --to torch"),
    (["--to", "csv", "--by-split"], "--by-split goes with --to huggingface"),
    (["--to", "torch", "--target", "nonsense"], "no target 'nonsense' with a value in materials; there are: "),
    (["--to", "torch", "--tables", "splits", "--target", "k_vrh"], "--target is a column of materials, which is not"),
    (["--to", "csv", "--at", "-x"], "-x"),
])
def test_what_cannot_be_exported_leaves_no_folder(root: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["export", str(tmp_path / "new"), *arguments, "--root", str(root)])
    assert isinstance(done.exception, UserError)
    assert words in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_only_an_export_is_replaced_and_only_when_told_to(root: Path, tmp_path: Path) -> None:
    folder = run(root, str(tmp_path / "out"), "--to", "csv", "--tables", "splits")
    before = contents(folder)
    for place, arguments, words in (
            (folder, ["--to", "torch"], "is not empty; give another folder, or --replace"),
            (root, ["--to", "csv", "--replace"], "holds something else than an export"),
            (root / "data" / "features" / "mine", ["--to", "csv"], "lies in the data of the project")):
        done = CliRunner().invoke(app, ["export", str(place), *arguments, "--root", str(root)])
        assert words in str(done.exception)
    assert contents(folder) == before
    run(root, str(folder), "--to", "torch", "--tables", "splits", "--replace")
    assert "splits.csv" not in contents(folder)


def test_a_damaged_table_leaves_the_old_export(root: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(root, tmp_path / "project"))
    folder = run(broken, str(tmp_path / "out"), "--to", "csv", "--tables", "structures")
    before = contents(folder)
    part = tables.files(broken, "structures")[3]
    content = bytearray(part.read_bytes())
    content[40] ^= 1
    part.write_bytes(content)
    for to in ("csv", "torch", "huggingface"):
        done = CliRunner().invoke(app, ["export", str(folder), "--to", to, "--tables", "structures", "--replace",
                                        "--root", str(broken)])
        assert isinstance(done.exception, Damaged), to
        assert done.exception.path == part
    assert contents(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "project"]
