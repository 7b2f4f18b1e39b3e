"""Each way in which tables on disk may be wrong is named with table, file and row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features import profiles
from features.__main__ import app
from features.catalog import references, validate
from features.errors import UserError
from features.paths import Paths
from features.store import sums, tables, versions
from tests.damage import republish

Rows = list[dict[str, Any]]


def test_sound_tables(sound: Path) -> None:
    assert list(map(str, validate.problems(sound))) == []
    assert validate.check(sound) == 6


def part_with(root: Path, table: str, material_id: str) -> Path:
    """The file in which the rows of a crystal lie."""
    return next(path for path in tables.files(root, table)
                if material_id in pq.read_table(path)["material_id"].to_pylist())


def spoil(root: Path, table: str, change: Callable[[Rows], Rows], material_id: str = "mp-149") -> str:
    """Publish other rows in the part of a crystal; the name of its file."""
    part = part_with(root, table, material_id)
    rows = pq.read_table(part)
    changed = pa.Table.from_pylist(change(rows.to_pylist()), schema=rows.schema)
    republish(changed, part)
    return part.name


def footers(root: Path, table: str, **changes: object) -> str:
    """Publish the first part with another footer."""
    part = tables.files(root, table)[0]
    rows = pq.read_table(part)
    content = json.loads(rows.schema.metadata[tables.FOOTER]) | changes
    republish(rows.replace_schema_metadata({tables.FOOTER: json.dumps(content).encode()}), part)
    return part.name


def of_149(**changes: object) -> Callable[[Rows], Rows]:
    """Other values in the rows of mp-149."""
    return lambda rows: [row | changes if row["material_id"] == "mp-149" else row for row in rows]


def flipped(root: Path, table: str) -> str:
    part = part_with(root, table, "mp-149")
    content = bytearray(part.read_bytes())
    content[pq.read_metadata(part).row_group(0).column(5).data_page_offset + 1] ^= 4
    part.write_bytes(content)
    return part.name


def moved(root: Path, table: str) -> str:
    """A row of mp-149 lies in the file of another crystal."""
    row = next(row for row in tables.read(root, table).to_pylist() if row["material_id"] == "mp-149")
    other = "mp-30"
    assert part_with(root, table, other) != part_with(root, table, "mp-149")
    spoil(root, table, lambda rows: [row for row in rows if row["material_id"] != "mp-149"])
    return spoil(root, table, lambda rows: sorted([*rows, row], key=lambda row: str(row["material_id"])), other)


def gone(root: Path, table: str, *, with_sums: bool = False) -> str:
    part = tables.files(root, table)[3]
    part.unlink()
    if with_sums:
        sums.write(part.parent)
    return part.name


def doubled(root: Path, table: str) -> str:
    """One part too many, though the sums know of it."""
    part = part_with(root, table, "mp-149")
    other = part.with_name("part-00008.parquet")
    other.write_bytes(part.read_bytes())
    sums.write(part.parent)
    return other.name


def other_columns(root: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> str:
    """Publish other columns in the part of a crystal."""
    part = part_with(root, table, "mp-149")
    republish(change(pq.read_table(part)), part)
    return part.name


def scaled(factor: float, column: str) -> Callable[[Rows], Rows]:
    """A column in another unit."""
    return lambda rows: [row | {column: [number * factor for number in row[column]]} for row in rows]


def first_number(column: str, value: float | None) -> Callable[[Rows], Rows]:
    """Another first number in a list, which lies in lists or does not."""
    def changed(numbers: list[Any]) -> list[Any]:
        return [changed(numbers[0]) if isinstance(numbers[0], list) else value, *numbers[1:]]

    return lambda rows: [row | {column: changed(row[column])} for row in rows]


SHORT = np.ones(4, np.float16)
NAN = np.array([np.nan] * 8, np.float16)

CORRUPTIONS: dict[str, tuple[str, Callable[[Path, str], str], str]] = {
    "a flipped byte": ("materials", flipped, "{path} is damaged"),
    "a missing part": ("structures", gone, "it is missing"),
    "a wrong shard": ("splits", moved,
                      "rows that belong into another part: the hash of an id decides: 1 ({part}, row "),
    "a key twice": ("text_embeddings", lambda root, table: spoil(root, table, lambda rows: [rows[0], *rows]),
                    "1 row breaks the rule that no two rows have the same material_id and variant ({part}, row 1, "),
    "a vector that is no number": ("text_embeddings", lambda root, table: spoil(root, table, of_149(pooled=NAN)),
                                   "2 rows break the rule that every number of pooled is finite ({part}, row 0, "
                                   "mp-149/0, mp-149/1)"),
    "a vector that is too short": (
        "text_embeddings", lambda root, table: spoil(root, table, of_149(sentence_vectors=[SHORT] * 2)),
        "all vectors of sentence_vectors have one length in the whole table ({part}, row "),
    "more vectors than sentences": (
        "text_embeddings", lambda root, table: spoil(root, table, of_149(regions=["global"])),
        "sentence_vectors, regions have as many entries as each other, at least 1 ({part}, row 0, mp-149/0, mp-149/1)"),
    "an orphan": ("predictions", lambda root, table: spoil(root, table, of_149(material_id="mp-1")),
                  "1 row is not in materials; run `dvc repro` ({part}, row "),
    "an orphan of a view": ("paraphrases", lambda root, table: spoil(root, table, of_149(material_id="mp-1")),
                            "1 row is not in descriptions; run `dvc repro` ({part}, row "),
    "a volume in nm³": ("materials", lambda root, table: spoil(root, table, of_149(volume=0.0409)),
                        "1 row breaks the rule that volume (Å³) and density (g/cm³) give each atom a mass of 1 to 300 "
                        "u ({part}, row "),
    "a space group of another system": (
        "materials", lambda root, table: spoil(root, table, of_149(space_group_number=194)),
        "1 row breaks the rule that space_group_number belongs to the crystal_system ({part}, row "),
    "an atom that is not there": ("structures", lambda root, table: spoil(root, table, of_149(near_j=[7])),
                                  "images and neighbours are numbered by the orbits that there are"),
    "a gap in a vector": ("text_embeddings", lambda root, table: spoil(root, table, first_number("pooled", None)),
                          "2 rows break the rule that no entry of pooled is missing ({part}, row 0, "),
    "a gap in one of many vectors": (
        "text_embeddings", lambda root, table: spoil(root, table, first_number("sentence_vectors", None)),
        "2 rows break the rule that no entry of sentence_vectors is missing ({part}, row 0, "),
    "an atom in no orbit": ("structures", lambda root, table: spoil(root, table, first_number("orbit", None)),
                            "1 row breaks the rule that no entry of orbit is missing ({part}, row "),
    "a vector that points nowhere": (
        "text_embeddings", lambda root, table: spoil(root, table, of_149(pooled=np.zeros(8, np.float16))),
        "2 rows break the rule that pooled is not zero in all its numbers ({part}, row 0, "),
    "a lattice in nm": ("structures", lambda root, table: spoil(root, table, scaled(0.1, "lattice")),
                        "1 row breaks the rule that lattice (Å) leaves each atom 1 Å³ or more ({part}, row "),
    "a lattice in Bohr": ("structures", lambda root, table: spoil(root, table, scaled(1.889726, "lattice")),
                          "1 lattice spans another volume (Å³) than materials has ({part}, row 0, mp-149)"),
    "distances in pm": ("structures", lambda root, table: spoil(root, table, scaled(100, "edge_distance")),
                        "1 row breaks the rule that edge_distance (Å) is not negative, and no farther than"),
    "a negative distance": ("structures", lambda root, table: spoil(root, table, scaled(-1, "edge_distance")),
                            "1 row breaks the rule that edge_distance (Å) is not negative, and no farther than"),
    "neighbours in pm": ("structures", lambda root, table: spoil(root, table, scaled(100, "near_vector")),
                         "1 row breaks the rule that near_vector (Å) is longer than 0 and no longer than 14.1 Å"),
    "an atom outside": ("structures", lambda root, table: spoil(root, table, first_number("frac_coords", 50.0)),
                        "1 row breaks the rule that frac_coords lie within the cell, from 0 to 1 ({part}, row "),
    "an element that is none": (
        "materials", lambda root, table: spoil(root, table, of_149(elements=["Xx"], chemsys="Xx", formula="Xx2")),
        "1 row breaks the rule that each entry of elements is the symbol of an element ({part}, row "),
    "elements of another formula": (
        "materials", lambda root, table: spoil(root, table, of_149(elements=["Ge"], chemsys="Ge")),
        "1 row breaks the rule that formula names the elements ({part}, row "),
    "no id": ("materials", lambda root, table: spoil(root, table, of_149(material_id=None)),
              "1 row breaks the rule that material_id is never missing ({part}, row "),
    "a column less in one part": (
        "predictions", lambda root, table: other_columns(root, table, lambda rows: rows.drop_columns(["target"])),
        "its columns are others than those of "),
    "another type in one part": (
        "splits", lambda root, table: other_columns(root, table, lambda rows: rows.set_column(
            rows.column_names.index("fold"), "fold", rows["fold"].cast(pa.int64()))),
        "columns differ from the view's (fold was int64 and is int32); rerun `python -m pipelines split` ({part})"),
    "a missing part that sums do not miss": (
        "structures", lambda root, table: gone(root, table, with_sums=True),
        "it is missing: the footers count 8 parts ({part})"),
    "one part too many": ("splits", doubled, "it is one too many: the footers count 8 parts ({part})"),
    "a word that nobody knows": ("splits", lambda root, table: spoil(root, table, of_149(split="dev")),
                                 "1 row breaks the rule that split is one of: train, validation, test ({part}, row "),
    "a wrong version": ("splits", lambda root, table: footers(root, table, version=7),
                        "version 7 on disk, 1 in the code"),
    "a strange footer": ("splits", lambda root, table: footers(root, table, parts=9),
                         "its footer counts 9 parts, and there are 8 ({part})"),
    "other inputs": ("descriptions", lambda root, table: footers(root, table, inputs_digest="0" * 64),
                     "it was made from other rows of materials than there are; run `dvc repro` ({part})"),
    "another order": ("text_embeddings", lambda root, table: spoil(root, table, lambda rows: rows[::-1]),
                      "rows that are not in the order of material_id and variant: 2 ({part}, row 0, mp-149/1, "
                      "mp-149/0)"),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_corruption_is_named(root: Path, kind: str) -> None:
    table, plant, expected = CORRUPTIONS[kind]
    part = plant(root, table)
    lines = list(map(str, validate.problems(root, [table])))
    assert "part" not in kind or not any("into another part" in line for line in lines)  # those rows are sound
    expected = expected.format(part=part, path=Paths(root).table(table) / part)
    (line,) = [line for line in lines if expected in line]
    assert line.startswith(f"{table}: ")
    assert part in line


def test_all_problems_are_listed(root: Path) -> None:
    spoil(root, "splits", of_149(fold=-1))
    flipped(root, "structures")
    spoil(root, "materials", of_149(k_vrh=-4.0))
    made = CliRunner().invoke(app, ["validate", "--root", str(root)])
    assert isinstance(made.exception, UserError)
    assert str(made.exception).startswith(
        "2 problems in splits, structures of the work tree, since nothing is published; the first is structures: ")
    warning, error, other = sorted(made.stdout.splitlines(), key=lambda line: (not line.startswith("warning"), line))
    assert warning.startswith("warning: materials: 1 row breaks the rule that k_vrh is from 0 to 2000 GPa (part-")
    assert error.startswith("splits: 1 row breaks the rule that fold is from 0 to 99 (part-")
    assert other.startswith("structures: ")
    as_json = CliRunner().invoke(app, ["validate", "splits", "--root", str(root), "--format", "json"])
    (problem,) = json.loads(as_json.stdout)
    assert (problem["table"], problem["ids"], problem["is_error"]) == ("splits", ["mp-149"], True)


def test_tables_without_sums_are_remarked_on(root: Path) -> None:
    (Paths(root).table("splits") / sums.SUMS).unlink()
    (problem,) = validate.problems(root, ["splits"])
    assert str(problem).startswith("warning: splits: it has no sums, so that damage may stay unseen")


def test_rejects_that_are_rows(root: Path) -> None:
    (reject,) = tables.read_parts([Paths(root).rejects("materials")]).to_pylist()
    tables.Rejects(Paths(root).rejects("materials"), "materials", [])
    rows = pa.Table.from_pylist([reject | {"material_id": "mp-149"}], schema=tables.REJECTS_SCHEMA)
    pq.write_table(rows, Paths(root).rejects("materials"))
    assert "materials: 1 reject is a row too (rejects/materials.parquet, row 0, mp-149)" in map(
        str, validate.problems(root, ["materials"]))


def test_one_unreadable_file_hides_no_other_problem(root: Path) -> None:
    """Not even one whose sums are those of the damaged bytes, so that only reading its rows, or its footer, tells."""
    part = flipped(root, "materials")
    sums.write(Paths(root).table("materials"))
    spoil(root, "splits", of_149(fold=-1))
    first = tables.files(root, "descriptions")[0]
    republish(pq.read_table(first).replace_schema_metadata({tables.FOOTER: b"[]"}), first)
    made = CliRunner().invoke(app, ["validate", "--root", str(root), "--format", "json"])
    assert isinstance(made.exception, UserError)
    found = [(problem["table"], problem["part"], problem["problem"]) for problem in json.loads(made.stdout)]
    assert {(table, file) for table, file, _ in found} >= {("materials", part), ("descriptions", first.name)}
    assert [what for table, _, what in found if table == "splits"] == [
        "1 row breaks the rule that fold is from 0 to 99"]
    assert next(what for table, _, what in found if table == "descriptions").startswith(
        f"{first} is damaged (its footer is no JSON object)")
    assert len(found) == len(set(found))


def test_what_was_published_is_told_by_its_digest(root: Path) -> None:
    """Also where the sums beside a changed table are its own."""
    outputs = versions.digests(root)
    assert list(validate.problems(root, outputs=outputs)) == []
    spoil(root, "predictions", of_149(y_low=1.8))
    assert list(map(str, validate.problems(root, outputs=outputs))) == [
        "predictions: data/features/predictions is not what was published, by its digest in data/published.json; "
        "`python -m pipelines repair` mends it"]
    assert list(validate.problems(root, ["splits"], outputs)) == []


def test_profiles_of_other_tables(root: Path) -> None:
    profiles.write(root)
    assert list(validate.problems(root, ["profiles"])) == []
    spoil(root, "splits", of_149(fold=99))
    assert list(map(str, validate.problems(root, ["profiles"]))) == [
        "profiles: it is of other tables than there are: splits; run `dvc repro` (part-00000.parquet)"]
    (part,) = tables.files(root, "profiles")
    part.with_name("part-00001.parquet").write_bytes(part.read_bytes())
    sums.write(part.parent)
    assert "profiles: profiles have one part, and this is one too many (part-00001.parquet)" in map(
        str, validate.problems(root, ["profiles"]))


def test_a_damaged_file_of_the_model(root: Path) -> None:
    Paths(root).model.mkdir()
    weights = Paths(root).model / "model.safetensors"
    weights.write_bytes(b"weights")
    sums.write(weights.parent)
    weights.write_bytes(b"weighty")
    assert [str(problem) for problem in validate.problems(root) if problem.table == "model"] == [
        f"model: {weights} is damaged (bytes 0 to 7 are not what was written); `python -m pipelines repair` mends "
        "it (model.safetensors)"]


@pytest.mark.parametrize(("table", "change", "message"), [
    ("predictions", of_149(material_id="mp-1"), "predictions: 1 row is not in materials"),
    ("text_embeddings", of_149(variant=3), "text_embeddings: 2 rows are not in descriptions or paraphrases"),
    ("splits", lambda rows: [rows[0], *rows], "splits: a key occurs twice"),
])
def test_what_a_publish_of_a_version_checks(root: Path, table: str, change: Callable[[Rows], Rows],
                                            message: str) -> None:
    spoil(root, table, change)
    with pytest.raises(UserError, match=message):
        validate.check(root)


def test_a_column_that_is_gone(root: Path) -> None:
    for part in tables.files(root, "splits"):
        republish(pq.read_table(part).drop_columns(["fold"]), part)
    assert next(str(problem) for problem in validate.problems(root, ["splits"])).startswith(
        "splits: columns differ from the view's (fold is new and must not be missing), and so with 7 more parts; "
        "rerun `python -m pipelines split` (part-00000.parquet)")


def test_equal_keys_have_one_number() -> None:
    keys = pa.table({"material_id": ["a", "b", "a", None, "a"], "variant": [1, 1, 2, 1, 1]})
    numbers = references.numbered(pa.concat_tables([keys, keys.slice(1, 2)])).tolist()
    assert [numbers.index(number) for number in numbers] == [0, 1, 2, 3, 0, 1, 2]
    assert references.numbered(keys.slice(0, 0)).tolist() == []
