"""Where a row comes from: as `why` tells it, and as the table `lineage`."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from features import catalog
from features.__main__ import app
from features.catalog import inputs, lineage
from features.catalog.why import Answer, why
from features.errors import UserError
from features.paths import Paths, project_of
from features.store import tables
from pipelines.engine import stages
from tests.conftest import set_params
from tests.features.catalog.test_validate import of_149, spoil


def answers(root: Path, material_id: str = "mp-149") -> dict[str, Answer]:
    return {answer.table: answer for answer in why(root, root, material_id)}


def ask(root: Path, *words: str) -> str:
    made = CliRunner().invoke(app, ["why", *words, "--root", str(root)])
    if made.exception:
        raise made.exception
    return made.stdout


def test_a_row(sound: Path) -> None:
    told = answers(sound)
    assert list(told) == ["materials", "descriptions", "paraphrases", "text_embeddings", "structures", "splits",
                          "predictions"]
    (row,) = told["structures"].rows
    view, params, _ = stages.prepare("tensorize", sound)
    (mark,) = view.fingerprints(inputs.units(sound, view, ["mp-149"]), params)
    assert row["fingerprint"] == mark.hex()
    assert timedelta(0) < datetime.now(UTC).replace(tzinfo=None) - row["computed_at"] < timedelta(hours=1)
    assert (row["status"], row["stage"], row["version"], row["source"]) == ("row", "tensorize", 2, "folder")
    assert json.loads(row["params"]) == params.deciding()
    assert set(json.loads(row["libraries"])) == set(view.libraries)
    path = Paths(sound).table("structures") / row["part"]
    assert tables.read_parts([path])["material_id"][row["row"]].as_py() == "mp-149"
    assert {name: told[name].now for name in ("materials", "structures", "splits")} == {
        "materials": [], "structures": [], "splits": []}
    # its store is not here, but the upstream rows are those of its part
    assert [(one["variant"], len(one["fingerprint"]), one["computed_at"]) for one in told["text_embeddings"].rows] == [
        (0, 64, None), (1, 64, None)]
    assert told["predictions"].now == ["the model's tables are made as a whole; `python -m pipelines plan` says when"]


def test_what_people_read(sound: Path) -> None:
    text = ask(sound, "mp-149")
    assert text.startswith("mp-149\n  source       folder, sha256:")
    assert "\nsplits: row 0 of part-00" in text
    assert "\n  parameters   folds 5, group_by reduced_formula, seed 0, test 0.2, validation 0.15\n" in text
    assert "whether its source says something else by now, `python -m pipelines plan` finds out" in text
    assert "  computed     not known\n" in ask(sound, "mp-149", "text_embeddings")
    (told,) = json.loads(ask(sound, "mp-149", "splits", "--format", "json"))
    assert (told["table"], told["rows"][0]["material_id"], told["now"]) == ("splits", "mp-149", [])


def test_a_reject(sound: Path) -> None:
    told = answers(sound, "broken")
    (row,) = told["materials"].rows
    (reject,) = tables.read_parts([Paths(sound).rejects("materials")]).to_pylist()
    assert (row["status"], row["error"], row["message"]) == ("reject", reject["error"], reject["message"])
    assert told["splits"].absent == f"materials rejects it ({reject['error']})"
    text = ask(sound, "broken")
    assert f"\nmaterials: reject 0 of rejects/materials.parquet\n  why          {reject['error']}: " in text
    assert "\nsplits: no row, since materials rejects it (" in text


@pytest.mark.parametrize(("words", "message"), [
    (["mp-1490"], "no table knows a crystal 'mp-1490'; like it are: mp-149, "),
    (["zzzzz", "splits"], "no table knows a crystal 'zzzzz'$"),
    (["mp-149", "nope"], "no table 'nope' of crystals; there are: descriptions, materials, "),
])
def test_what_nobody_knows(sound: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask(sound, *words)


def test_what_would_compute_it_again(root: Path) -> None:
    set_params(root, split={"seed": 1}, tensorize={"reach": 40.0})
    spoil(root, "materials", of_149(reduced_formula="C"))
    told = answers(root)
    assert told["splits"].now == ["split.seed 0 → 1", "its row of materials is another than it was made from"]
    assert told["structures"].now == ["tensorize.reach 60.0 → 40.0"]
    assert answers(root, "mp-30")["splits"].now == ["split.seed 0 → 1"]
    (root / "params.yaml").write_text("split: {seed: none}\n")
    assert answers(root)["splits"].now[0].startswith("nobody can tell: params.yaml: split.seed: ")
    (root / "params.yaml").write_text("split: {\n  seed\n  none: [\n")
    words = answers(root, "mp-30")["splits"].now[0]
    assert words.startswith("nobody can tell: ")
    assert "\n" not in words


def test_of_one_table_as_much_is_told_as_of_all(root: Path) -> None:
    """What may change a row stands in tables further up."""
    set_params(root, tensorize={"reach": 40.0}, ingest={"contradictions": "keep"})
    every = {answer.table: answer.now for answer in why(root, root, "mp-149")}
    assert every["materials"] == ['ingest.contradictions "reject" → "keep"']
    for table in ("splits", "text_embeddings"):
        (alone,) = why(root, root, "mp-149", table)
        assert alone.now == every[table]
        assert alone.now


def test_of_two_stored_rows_the_published_one_counts(root: Path) -> None:
    """The store holds the row from before a change of the source, too."""
    before = answers(root)["materials"].rows[0]["fingerprint"]
    listed = root / "data" / "input" / "properties.csv"
    content = listed.read_text()
    listed.write_text(content.replace("mp-149,83.0113", "mp-149,90"))
    stages.run("ingest", root, "serial")
    after = answers(root)["materials"].rows[0]["fingerprint"]
    assert None not in (before, after)
    assert before != after
    listed.write_text(content)
    stages.run("ingest", root, "serial")
    assert answers(root)["materials"].rows[0]["fingerprint"] == before


def test_the_table(sound: Path) -> None:
    rows: list[dict[str, Any]] = catalog.query(sound, """
        select table_name, status, count(*) n, count(fingerprint) marks, count(computed_at) times, min(license) license
        from lineage group by all order by all""").to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("descriptions", "row", 6, 6, 0, "unknown"), ("materials", "reject", 1, 0, 0, None),
        ("materials", "row", 6, 6, 6, "unknown"), ("paraphrases", "row", 6, 6, 0, "unknown"),
        ("predictions", "row", 6, 0, 0, "unknown"), ("splits", "row", 6, 6, 6, "unknown"),
        ("structures", "row", 6, 6, 6, "unknown"), ("text_embeddings", "row", 12, 12, 0, "unknown")]


def test_without_the_row_store(root: Path) -> None:
    """What can be told from tables alone is told; of a source nothing can."""
    shutil.rmtree(Paths(root).rowstores)
    made = lineage.of_crystals(root, ["mp-149"], ["materials", "splits"]).to_pylist()
    assert [(row["table_name"], row["fingerprint"] is None, row["computed_at"]) for row in made] == [
        ("materials", True, None), ("splits", False, None)]
    assert answers(root)["splits"].now == [
        f"a run of split does, since {Paths(root).rowstore('splits')} does not have it",
        "what computes its row of materials again may change that"]


def test_a_version_lies_within_its_project(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert project_of(paths.version("0" * 16)) == tmp_path
    assert project_of(paths.revisions / "abc") == tmp_path
    assert project_of(tmp_path) == tmp_path
    assert project_of(Path()) == Path()


