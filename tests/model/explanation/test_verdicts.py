"""Methods are put to their tests: what passes, what fails, what is not tested, and what is said of it."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from model.explanation import faithfulness, verdicts
from model.explanation.faithfulness import Curves, removable
from model.explanation.game import Floats, Game
from model.explanation.methods import METHODS, Explainer
from model.explanation.synthetic import Synthetic, recovered
from model.explanation.texts import WordReading
from model.explanation.verdicts import Crystal, Verdicts, judge
from tests.model.explanation.models import READ, background, crystal, game, made, row, words


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithfulness, "STEPS", 4)


TESTS = ("deletion", "insertion", "shuffled weights", "synthetic fact")


FEWEST = 5


@pytest.fixture(autouse=True)
def five_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are six texts."""
    monkeypatch.setattr(verdicts, "FEWEST", FEWEST)


def outcome(**passed: bool) -> dict[str, Any]:
    return {"value": 0.8, "control": 0.5, "difference": 0.3, "low": 0.2, "high": 0.4, "crystals": 16, "unit": "fact",
            **passed}


def rows(failing: str | None = None) -> list[dict[str, Any]]:
    return [{"method": "replacement", "test": test, **outcome(passed=test != failing)} for test in TESTS]


def test_one_failed_test_is_enough() -> None:
    assert Verdicts(rows()).faithful("replacement") is True
    for test in TESTS:
        found = Verdicts([*rows(test), {"method": "gradients", "test": "deletion", **outcome(passed=True)}])
        assert found.faithful("replacement") is False
        assert found.faithful("gradients") is True
    assert Verdicts(rows()).faithful("shapley") is None
    assert Verdicts([]).faithful("replacement") is None


def test_the_outcome_in_words() -> None:
    said = Verdicts(rows()).of_method("replacement", "what it is")
    assert (said.name, said.says, said.faithful) == ("replacement", "what it is", True)
    assert said.evidence == (
        "deletion 0.80 of 1, random order 0.50, difference +0.30 [+0.20, +0.40]; insertion 0.80 of 1, random order "
        "0.50, difference +0.30 [+0.20, +0.40]; rank correlation with shuffled weights 0.80 [0.20, 0.40], to be below "
        "0.5; a known fact is found in 80% of 16 crystals, by chance in 50%")
    for test, words_of in zip(TESTS, ("deletion", "insertion", "rank correlation", "a known fact"), strict=True):
        failed = Verdicts(rows(test)).of_method("replacement", "").evidence.split("; ")
        assert [one.startswith("FAILED ") for one in failed] == [one == test for one in TESTS]
        assert failed[TESTS.index(test)].startswith(f"FAILED {words_of}")
    few = [{**rows()[0], "crystals": FEWEST - 1}, {**rows()[1], "value": None, "crystals": 0}]
    assert Verdicts(few).of_method("replacement", "").evidence == (
        f"deletion: not tested ({FEWEST - 1} crystals); insertion: not tested (0 crystals)")


TEXTS = [WordReading.read(row(" ".join(text.text[one.start:one.end] for one in text.tagged[:3])))
         for text in READ.values()]
"""The first sentences of each."""


def crystals(mine: Game, structures: dict[str, Any], count: int = len(TEXTS)) -> list[Crystal]:
    atoms = mine.atoms(crystal(structures))
    return [(atoms, text) for text in TEXTS[:count]]


def known(mine: Game, error: float = 0.1) -> Synthetic:
    """A model of a made property; it is asked nothing here but whether the space group was named."""
    texts = list(READ.values())

    def found(effects: list[Floats]) -> Floats:
        return Synthetic.found(cast(Any, SimpleNamespace(texts=texts)), effects)

    return cast(Synthetic, SimpleNamespace(game=mine, atoms=[], texts=texts, found=found,
                                           learned=lambda: error, chance=lambda: 0.1))


class Oracle:
    """In place of a method: it knows what each fact does to the model that is tested, and lies where it is told to."""

    def __init__(self, game: Game, lie: str | None = None) -> None:
        self.game, self.lie = game, lie
        self.rng = np.random.default_rng(0)

    def effects(self, explainer: Explainer, atoms: Any, text: Any) -> Floats:
        facts = text.parsed.facts
        named = "formula" if self.lie == "synthetic fact" else "space group"
        if not atoms:
            return np.array([1.0 if one.kind == named else 0.0 for one in facts])
        if explainer.game is not self.game and self.lie != "shuffled weights":
            return self.rng.normal(size=len(facts))
        units = removable(self.game, text)
        curves = Curves(self.game, atoms, units)
        values = curves._values([frozenset([one]) for one in range(units.count)], 4)
        return values if self.lie == "deletion" else -values


@pytest.mark.parametrize("lie", [None, "deletion", "shuffled weights", "synthetic fact"])
def test_a_method_that_lies_is_found_out(structures: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
                                         lie: str | None) -> None:
    """In a model in which facts add up well enough for their single effects to order them."""
    mine = game(structures, "film")
    truth, liar = Oracle(mine), Oracle(mine, lie)
    monkeypatch.setattr(Explainer, "effects", lambda self, method, atoms, text, _unit="fact": (
        truth if method == "replacement" else liar).effects(self, atoms, text))
    told = []
    found = judge(Explainer(mine), crystals(mine, structures), lambda: recovered(known(mine)), lambda: told.append(1))
    assert len(told) == 6
    assert [(one["method"], one["test"]) for one in found.rows] == [(one, test) for one in METHODS for test in TESTS]
    assert found.faithful("replacement") is True
    assert found.faithful("gradients") is (lie is None)
    failed = {one["test"] for one in found.rows if not one["passed"]}
    assert failed == ({"deletion", "insertion"} if lie == "deletion" else {lie} - {None})
    of = {(one["method"], one["test"]): one for one in found.rows}
    for one in found.rows:
        assert (one["unit"], one["crystals"]) == ("fact", 6)
        if one["test"] in ("deletion", "insertion"):
            assert one["difference"] == pytest.approx(one["value"] - one["control"])
            assert one["low"] < one["difference"] < one["high"]
            assert 0 <= one["value"] <= 1
            assert 0.2 < one["control"] < 0.8
    assert of["replacement", "shuffled weights"]["control"] is None
    assert of["replacement", "synthetic fact"]["value"] == 1.0
    assert of["gradients", "synthetic fact"]["value"] == (0.0 if lie == "synthetic fact" else 1.0)
    assert of["gradients", "shuffled weights"]["value"] == pytest.approx(1.0) or lie != "shuffled weights"


def test_the_methods_themselves(structures: dict[str, Any]) -> None:
    """Both tell what facts do to a network, and its shuffled weights have little in common with it; of trees there are
    no gradients, which is no passed test. What nobody has tested is no passed test either."""
    mine = game(structures, "film")
    found = judge(Explainer(mine), crystals(mine, structures), lambda: None)
    of = {(one["method"], one["test"]): one for one in found.rows}
    for test in ("deletion", "insertion"):
        assert of["gradients", test]["passed"]
        assert of["gradients", test]["control"] == of["replacement", test]["control"]
    for method in METHODS:
        assert (of[method, "synthetic fact"]["value"], of[method, "synthetic fact"]["passed"]) == (None, None)
        assert found.faithful(method) is not True
    assert "; synthetic fact: not tested (0 crystals)" in found.of_method("replacement", "").evidence
    mine = game(structures, "trees")
    (shuffled,) = (one for one in judge(Explainer(mine), crystals(mine, structures), lambda: None).rows
                   if (one["method"], one["test"]) == ("gradients", "shuffled weights"))
    assert (shuffled["crystals"], shuffled["value"], shuffled["passed"]) == (0, None, None)


@pytest.mark.parametrize("count", [0, FEWEST - 1])
def test_too_few_crystals_test_nothing(structures: dict[str, Any], count: int) -> None:
    mine = game(structures, "trees")
    found = judge(Explainer(mine), crystals(mine, structures, count), lambda: None)
    assert not any(one["passed"] for one in found.rows)
    assert all(one["crystals"] <= count for one in found.rows)
    assert found.of_method("replacement", "").evidence.count("not tested") == 4
    assert (found.rows[0]["value"] is None) == (count == 0)


def test_a_text_of_one_fact_tests_nothing(structures: dict[str, Any]) -> None:
    mine, told = game(structures), []
    atoms = mine.atoms(crystal(structures))
    found = judge(Explainer(mine), [(atoms, words("It melts."))] * 6, lambda: None, lambda: told.append(1))
    assert (len(told), {one["crystals"] for one in found.rows}) == (6, {0})


def test_a_model_that_has_not_learned_the_known_fact_tests_nothing(structures: dict[str, Any]) -> None:
    mine = game(structures)
    found = judge(Explainer(mine), [], lambda: recovered(known(mine, error=1.0)))
    assert [one["crystals"] for one in found.rows if one["test"] == "synthetic fact"] == [0, 0]


def test_vectors_are_tested_by_sentences(structures: dict[str, Any]) -> None:
    """Without the synthetic fact, since each exchanged fact would go through the encoder."""
    trained = made(text="sentences", text_dim=384, fusion="sum")

    def said(formula: str, site: str) -> str:
        return f"{formula} crystallizes in the cubic Fm-3m space group. {site}(1) is bonded to six O(1) atoms."

    mine = Game(trained, background(structures, {"mp-149": said("FeO", "Fe"), "mp-127": said("CoO", "Co")}))
    atoms = mine.atoms(crystal(structures))
    texts = [said(f"{site}O", site) for site in ("Mg", "Ca", "Sr", "Ba", "Ni")]
    found = judge(Explainer(mine), [(atoms, mine.read(row(text))) for text in texts], lambda: recovered(known(mine)))
    assert [(one["method"], one["test"]) for one in found.rows] == [
        (one, test) for one in METHODS for test in TESTS[:3]]
    assert {one["unit"] for one in found.rows} == {"sentence"}
    of = {(one["method"], one["test"]): one for one in found.rows}
    assert of["replacement", "deletion"]["crystals"] == 5
    assert of["replacement", "shuffled weights"]["crystals"] == 0  # of two sentences no order can be told
