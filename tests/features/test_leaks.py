"""What a training set gives away, planted in tables of forty crystals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import features
from features.errors import UserError
from features.leaks import rank_correlation
from features.paths import Paths
from features.store import tables
from features.training_sets import TrainingSet
from features.views import descriptions, materials, splits

IDS = [f"mp-{number}" for number in range(1, 41)]
SPLIT = dict(zip(IDS, ["train"] * 28 + ["validation"] * 6 + ["test"] * 6, strict=True))
MODULI = dict(zip(IDS, np.random.default_rng(0).uniform(20, 400, 40).round(4).tolist(), strict=True))


def publish(root: Path, schema: pa.Schema, rows: Sequence[dict[str, Any]], name: str) -> None:
    tables.publish(Paths(root).table(name), schema, ("material_id",), iter([pa.Table.from_pylist(rows, schema)]),
                   iter([{"version": 1, "parts": 1}]))


def project(root: Path, changed: dict[str, dict[str, Any]] | None = None, texts: dict[str, str] | None = None) -> Path:
    """Crystals of forty formulas whose bulk moduli follow from nothing that is known of them, but for what is changed.
    """
    rows = [{"material_id": i, "structure_hash": f"hash of {i}", "reduced_formula": f"Si{i[3:]}O", "nsites": number % 7,
             "k_vrh": MODULI[i], "other_properties": [("hardness", float(number % 3))]} for number, i in enumerate(IDS)]
    rows = [{**row, **(changed or {}).get(str(row["material_id"]), {})} for row in rows]
    publish(root, materials.SCHEMA, rows, "materials")
    publish(root, splits.SCHEMA, [{"material_id": i, "group": row["reduced_formula"], "fold": number % 5,
                                   "split": SPLIT[i]} for number, (i, row) in enumerate(zip(IDS, rows, strict=True))],
            "splits")
    said = {i: f"{i} is cubic; its bond lengths are 2.35 Å." for i in IDS} | (texts or {})
    publish(root, descriptions.SCHEMA, [{"material_id": i, "text": text} for i, text in said.items()], "descriptions")
    return root


def leaks(root: Path, views: Sequence[str] = ("materials.nsites", "descriptions.text")) -> dict[str, str]:
    found = features.training_set("k_vrh", views, root=root).findings
    return {finding.kind: finding.message for finding in found if finding.leak}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that nothing is changed in."""
    return project(tmp_path_factory.mktemp("clean"))


def test_what_gives_nothing_away(tmp_path: Path) -> None:
    root = project(tmp_path, {"mp-3": {"k_vrh": None}})
    chosen = features.training_set("k_vrh", ["materials.nsites", "descriptions.text"], root=root, strict=True)
    assert [(one.kind, one.leak, one.message) for one in chosen.findings] == [
        ("without_target", False, "1 crystal has no target")]
    assert chosen.sizes == {"train": 27, "validation": 6, "test": 6}


@pytest.mark.parametrize(("changed", "kinds"), [
    ({"reduced_formula": "Si1O"}, {"formula_on_two_sides"}),
    ({"structure_hash": "hash of mp-1"}, {"crystal_on_two_sides"})])
def test_crystals_on_two_sides(tmp_path: Path, changed: dict[str, Any], kinds: set[str]) -> None:
    found = leaks(project(tmp_path, {"mp-40": changed}))
    assert set(found) == kinds
    assert "mp-1 (train)" in found[kinds.pop()]
    assert not leaks(project(tmp_path, {"mp-2": changed}))  # both train


def test_equal_descriptions_on_two_sides(tmp_path: Path) -> None:
    root = project(tmp_path, texts={"mp-1": "A is cubic.", "mp-40": "A is cubic.", "mp-2": "B.", "mp-3": "B."})
    assert leaks(root)["text_on_two_sides"].startswith("1 description on two sides of the split: ")
    assert leaks(root, ["materials.nsites"]) == {}  # nothing that reads the text


def test_targets_among_the_inputs(tmp_path: Path) -> None:
    """The target itself, its logarithm among the properties of the user's own, and one that only goes along with it."""
    noise = np.random.default_rng(1).normal(size=40)
    root = project(tmp_path, {i: {"other_properties": [("log_k", float(np.log(MODULI[i])))],
                                  "density": MODULI[i] + 100 * float(noise[number])} for number, i in enumerate(IDS)})
    found = features.training_set("k_vrh", ["materials"], root=root).findings
    assert [one.message for one in found] == [
        "materials.k_vrh is k_vrh itself, over 40 crystals",
        "materials.other_properties.log_k follows k_vrh with a rank correlation of 1.0000, over 40 crystals"]
    with pytest.raises(UserError, match=r"leaks: materials\.k_vrh is k_vrh itself.*and 1 more"):
        features.training_set("k_vrh", ["materials"], root=root, strict=True)


def test_a_text_that_tells_the_target(tmp_path: Path) -> None:
    stated = project(tmp_path / "stated", texts={i: f"{i} yields at {MODULI[i]:.2f}." for i in IDS})
    assert leaks(stated) == {"target_in_text": "40 of 40 descriptions state their crystal's k_vrh; that of another "
                                               "crystal stands in 0"}
    named = project(tmp_path / "named", texts={"mp-7": "Its Bulk Modulus is high."})
    assert leaks(named) == {"target_in_text": "1 description speaks of bulk modulus"}


def test_ranks() -> None:
    values = np.array([3.0, 1.0, 1.0, 2.0])
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    assert rank_correlation(values, np.ones(4)) == 0


def test_who_belongs_to_a_set(tmp_path: Path) -> None:
    root = project(tmp_path, {"mp-5": {"k_vrh": None, "g_vrh": 3.0}, "mp-40": {"k_vrh": None, "g_vrh": 3.0}})
    everyone = features.training_set("k_vrh", ["materials.nsites"], root=root, also=["g_vrh"])
    assert set(everyone.split_of) == set(IDS) - {"mp-40"}  # a test crystal needs the target
    assert everyone.rows.filter(pa.compute.equal(everyone.rows["material_id"], "mp-5")).to_pylist() == [
        {"material_id": "mp-5", "group": "Si5O", "fold": 4, "split": "train", "target": None, "g_vrh": 3.0}]
    few = features.training_set("k_vrh", ["materials.nsites"], "fold-3", root=root, where="nsites > 1 -- no elements")
    assert few.split_of["mp-4"] == "test"
    assert few.split_of["mp-10"] == "validation"
    assert {int(i[3:]) % 7 for i in few.split_of} == {0, 3, 4, 5, 6}
    own = features.training_set("k_vrh", ["materials.nsites"], {"mp-1": "train", "mp-2": "validation", "mp-3": "test"},
                                root=root)
    assert own.split_of == {"mp-1": "train", "mp-2": "validation", "mp-3": "test"}
    assert len({everyone.name, few.name, own.name}) == 3


def test_a_view_without_the_crystals_is_named(tmp_path: Path) -> None:
    root = project(tmp_path)
    publish(root, descriptions.SCHEMA, [{"material_id": "mp-1", "text": "cubic"}], "descriptions")
    with pytest.raises(UserError, match=r"is left in the split validation \(39 crystals have no row in descriptions\)"):
        features.training_set("k_vrh", ["descriptions.text"], root=root)


@pytest.mark.parametrize(("asked", "said"), [
    ({"target": "hardnes"}, "no crystal has 'hardnes'; there is k_vrh, hardness"),
    ({"views": ["../materials"]}, "no table ''"),
    ({"views": ["materials.nsite"]}, "no column 'nsite' in materials"),
    ({"views": []}, "needs a view"),
    ({"optional": ["descriptions"]}, "'descriptions' is optional, but no view of the set"),
    ({"split": "fold-5"}, "no split 'fold-5'; there are: fold-0"),
    ({"also": ["split"]}, "'split' is no further target"),
    ({"split": {"mp-1": "held out"}}, "the split of mp-1 is 'held out'"),
    ({"where": "nsites > 99"}, "no crystal with k_vrh is left in the split train"),
    ({"where": "1 = 1) union (select text from read_text('/etc/hostname')"}, "is not one expression in SQL"),
    ({"where": "true) union all (select material_id from materials where true"}, "is not one expression in SQL"),
    ({"where": "true) limit (3"}, "is not one expression in SQL"),
    ({"where": "true), (true"}, "is not one expression in SQL"),
    ({"where": "true); select (true"}, "is not one expression in SQL"),
    ({"where": "nsites <"}, "the condition 'nsites <' is no SQL: syntax error"),
    ({"where": "nsite < 3"}, 'SQL: Binder Error: Referenced column "nsite" not found'),
    ({"where": "(" * 500 + "true" + ")" * 500 + " = \ud800"}, "cannot be read: .*UTF-8"),
    ({"at": "--help"}, "is no name of a revision")])
def test_what_cannot_be_asked_for(clean: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        features.training_set(**{"target": "k_vrh", "views": ["materials.nsites"], "root": clean, **asked})


def test_a_file_that_is_no_set(clean: Path, tmp_path: Path) -> None:
    chosen = features.training_set("k_vrh", ["materials.nsites", "descriptions.text"], root=clean)
    path = tmp_path / "set.json"
    chosen.save(path)
    again = TrainingSet.load(path, clean)
    assert (again.name, again.to_dict()) == (chosen.name, chosen.to_dict())
    assert again.table().equals(chosen.table())
    assert repr(again) == f"<TrainingSet {chosen.name}: 40 crystals (train 28, validation 6, test 6)>"
    with pytest.raises(UserError, match="no split 'tests'"):
        again.table("tests")
    strange: list[dict[str, Any]] = [{"version": "../../elsewhere"}, {"revision": "--output=here"},
                                     {"views": {"../splits": chosen.views["materials"]}}]
    for said in strange:
        other = replace(chosen, _where=None, **said)  # of a stranger, with the right digest
        other.save(path)
        if "version" in said:
            assert TrainingSet.load(path, clean).find() == clean
        else:
            with pytest.raises(UserError, match=r"no name of a revision|there is no table \.\./splits"):
                TrainingSet.load(path, clean).find()
    chosen.save(path)
    text = path.read_text()
    for damaged in (text.replace('"test"', '"train"', 1), text[:-20], "[]", text.replace('"format":1', '"format":9')):
        path.write_text(damaged)
        with pytest.raises(UserError, match=r"set\.json is (damaged|no training set|a training set of format 9)"):
            TrainingSet.load(path, tmp_path)
    with pytest.raises(UserError, match="there is no such file"):
        TrainingSet.load(tmp_path / "none.json")
