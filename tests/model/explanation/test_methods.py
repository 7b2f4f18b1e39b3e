"""All rows of one crystal's explanation: complete, in their schema, and sums of what lies below them."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from model.explanation import methods
from model.explanation.game import PLAYERS, Game
from model.explanation.gradients import Integrated
from model.explanation.methods import METHODS, SAYS, Explainer
from model.explanation.replacement import DONORS
from model.explanation.texts import Reading, WordReading
from model.records import ATTRIBUTIONS
from tests.features.texts import SRTIO3
from tests.model.explanation.models import READ, background, crystal, game, made, row, whole, words

FAITHFUL = {"replacement": True, "gradients": False}
SITES = [{"element": "Sr", "labels": [1], "atoms": [0]}, {"element": "Ti", "labels": [1], "atoms": [1]},
         {"element": "O", "labels": [1], "atoms": [2, 3, 4]}]
TEXT = WordReading.read(row(SRTIO3, SITES))


def explained(structures: dict[str, Any], name: str = "cross_attention", text: Reading = TEXT) -> list[dict[str, Any]]:
    return Explainer(game(structures, name)).rows("mp-5229", crystal(structures), text, FAITHFUL)


def of(rows: list[dict[str, Any]], method: str, kind: str) -> list[dict[str, Any]]:
    return [one for one in rows if (one["method"], one["kind"]) == (method, kind)]


@pytest.mark.parametrize("name", ["cross_attention", "all kinds"])
def test_the_rows_of_a_crystal(structures: dict[str, Any], name: str) -> None:
    rows = explained(structures, name)
    assert pa.Table.from_pylist(rows, schema=ATTRIBUTIONS).num_rows == len(rows)
    assert all(set(one) == set(ATTRIBUTIONS.names) for one in rows)
    facts, mentions = len(TEXT.parsed.facts), len(TEXT.parsed.mentions)
    assert Counter((one["method"], one["kind"]) for one in rows) == {
        ("shapley", "modality"): 2, ("shapley", "region"): 3, ("gradients", "atom"): 3,
        **{(method, kind): count for method in METHODS
           for kind, count in (("sentence", 7), ("fact", facts), ("token", mentions))}}
    for method, kind in {(one["method"], one["kind"]) for one in rows}:
        assert [one["index"] for one in of(rows, method, kind)] == list(range(len(of(rows, method, kind))))
    for one in rows:
        assert one["faithful"] == FAITHFUL.get(one["method"])
        if one["start"] is not None:
            assert SRTIO3[one["start"]:one["end"]] == one["label"]
            assert one["region"] == TEXT.tagged[one["sentence"]].region
    assert [one["fact"] for one in of(rows, "gradients", "fact")] == [one.kind for one in TEXT.parsed.facts]
    (bond,) = (one for one in of(rows, "replacement", "fact") if one["label"] == "Ti(1)-O(1) bond lengths are 1.97 Å")
    assert (bond["atoms"], bond["sentence"], bond["region"]) == ([1, 2, 3, 4], 5, "local")
    assert of(rows, "replacement", "fact")[0]["atoms"] is None


@pytest.mark.parametrize("name", ["cross_attention", "all kinds"])
def test_what_adds_up(structures: dict[str, Any], name: str) -> None:
    rows, predicted = explained(structures, name), whole(game(structures, name).trained, crystal(structures), TEXT)
    structure, text = of(rows, "shapley", "modality")
    regions = of(rows, "shapley", "region")
    assert [one["label"] for one in (structure, text)] == ["structure", "text"]
    assert [one["label"] for one in regions] == [one["region"] for one in regions] == list(PLAYERS[1:])
    assert text["effect"] == pytest.approx(sum(one["effect"] for one in regions))
    assert structure["effect"] + text["effect"] + text["reference"] == pytest.approx(predicted, abs=1e-5)
    assert len({one["reference"] for one in (structure, text, *regions)}) == 1
    for kind in ("sentence", "fact", "token"):
        mine = of(rows, "gradients", kind)
        together = sum(one["effect"] for one in (*mine, *of(rows, "gradients", "atom")))
        # a sum over points of the path is no integral
        assert mine[0]["reference"] + together == pytest.approx(predicted, abs=1e-3)
        assert all(one["spread"] is None for one in mine)
        for one in of(rows, "replacement", kind):
            assert one["effect"] + one["reference"] == pytest.approx(predicted, abs=1e-5)
    alone = {one["fact"] for one in of(rows, "replacement", "fact") if one["spread"] is None}
    assert alone == {"polyhedron"}  # no other crystal of that half has one that shares nothing


def test_atoms_alike_by_symmetry_are_summed(structures: dict[str, Any]) -> None:
    mine, structure = game(structures), crystal(structures)
    atoms = of(explained(structures), "gradients", "atom")
    assert [(one["label"], one["atoms"]) for one in atoms] == [("Sr", [0]), ("Ti", [1]), ("O", [2, 3, 4])]
    values = Integrated(mine).explain(mine.atoms(structure), TEXT).atoms
    assert [one["effect"] for one in atoms] == pytest.approx([values[0], values[1], values[2:].sum()])
    assert values[2:] == pytest.approx([values[2]] * 3, rel=1e-4)
    assert np.abs(values).min() > 1e-6


def test_effects_are_those_of_the_rows(structures: dict[str, Any]) -> None:
    """What is tested is what is written."""
    mine, rows = Explainer(game(structures)), explained(structures)
    atoms = mine.game.atoms(crystal(structures))
    for method in METHODS:
        for unit in ("fact", "sentence"):
            assert mine.effects(method, atoms, TEXT, unit) == pytest.approx(
                [one["effect"] for one in of(rows, method, unit)], abs=1e-7)
    fewer = mine.effects("replacement", atoms, TEXT, most=1)
    assert np.abs(fewer - mine.effects("replacement", atoms, TEXT)).max() > 1e-5


def test_what_cannot_be_predicted_is_left_out(structures: dict[str, Any]) -> None:
    """By a model of which no branch has learned to predict without text: nobody says what would be without the only
    sentence, of a region that no other crystal speaks of."""
    trained = made(masking={"drop_text": 0.0}, loss={"structure": 0.0})
    mine = Game(trained, background(structures, {"mp-149": "Si crystallizes in the cubic Fd-3m space group.",
                                                 "mp-127": "Na crystallizes in the cubic Im-3m space group."}))
    said = "Mo(1) is bonded to six S(1) atoms."
    rows = Explainer(mine).rows("mp-5229", crystal(structures), words(said), FAITHFUL)
    assert all(np.isfinite(one["effect"]) for one in rows)
    assert [one for one in rows if one["method"] == "shapley"] == []
    assert of(rows, "replacement", "sentence") == []
    assert [one["label"] for one in of(rows, "replacement", "fact")] == ["Mo(1)", "six S(1)"]
    assert [one["label"] for one in of(rows, "gradients", "sentence")] == [said]


def test_each_method_says_what_it_is() -> None:
    assert set(SAYS) == {"shapley", *METHODS}
    assert methods.SYMBOLS[13] == "Si"
    assert READ["SrTiO3"].text == SRTIO3


def test_work_is_bounded_by_fewer_donors(structures: dict[str, Any]) -> None:
    sizes = {"fact": len(TEXT.parsed.facts), "sentence": len(TEXT.pieces), "token": len(TEXT.parsed.mentions)}
    assert set(methods.donors_within(TEXT, None).values()) == {DONORS}
    for work in (*range(0, 60_000, 500), 10**9):
        donors = methods.donors_within(TEXT, work)
        assert sum(donors[unit] * size for unit, size in sizes.items()) * len(TEXT.pieces) ** 2 <= work
        assert set(donors.values()) <= {0, *range(methods.FEWEST, DONORS + 1)}
    assert set(methods.donors_within(TEXT, 10**9).values()) == {DONORS}
    assert set(methods.donors_within(TEXT, 10).values()) == {0}
    explainer = Explainer(game(structures, "cross_attention"))
    work = 2 * (sizes["fact"] + sizes["sentence"]) * len(TEXT.pieces) ** 2
    assert methods.donors_within(TEXT, work) == {"fact": 2, "sentence": 2, "token": 0}
    rows = explainer.rows("mp-5229", crystal(structures), TEXT, FAITHFUL, work)
    assert [len(of(rows, "replacement", unit)) for unit in sizes] == [sizes["fact"], sizes["sentence"], 0]
    assert len(of(rows, "gradients", "token")) == sizes["token"]
    atoms = explainer.game.atoms(crystal(structures))
    assert [one["effect"] for one in of(rows, "replacement", "fact")] == pytest.approx(
        explainer.effects("replacement", atoms, TEXT, most=2).tolist())
