"""All about one prediction, and the methods as the tests of this very model left them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from features.store import documents, tables
from model import cards, checkpoint
from model.cards import UNTESTED, card, document, methods, methods_beside, stored_methods
from model.explain import _from_tables
from model.explanation.game import Game
from model.explanation.methods import Explainer
from model.explanation.verdicts import Verdicts
from model.prediction.asked import Asked
from model.prediction.predictor import Answer, Predictor
from model.prediction.recipe import Made
from model.records import Method, Predicted
from tests.model.explanation.models import MODELS, background, made

FAITHFUL = {"replacement": True, "gradients": False}
PASSED = Verdicts([{"method": method, "test": "deletion", "unit": "fact", "crystals": 16, "passed": passed,
                    "value": 0.9, "control": 0.5, "difference": 0.4, "low": 0.3, "high": 0.5}
                   for method, passed in FAITHFUL.items()])


@pytest.fixture(scope="module")
def predictor(told: Path) -> Predictor:
    return Predictor.of(checkpoint.load(told), makes_features=False)


@pytest.fixture(scope="module")
def explainer(predictor: Predictor) -> Explainer:
    return Explainer(predictor.game)


def answers(told: Path, predictor: Predictor, *ids: str) -> Iterator[Answer]:
    return predictor.answers(_from_tables(told, predictor, ids), Asked(), quiet=True)


def test_the_card_of_a_crystal(told: Path, predictor: Predictor, explainer: Explainer) -> None:
    (answer,) = answers(told, predictor, "mp-2802")
    made_of = card(explainer, answer, FAITHFUL, 196.5935)
    (row,) = tables.read(told, "descriptions", ids=["mp-2802"]).to_pylist()
    text = row["text"]
    assert (made_of.predicted, made_of.true) == (answer.predicted, 196.5935)
    assert made_of.predicted.text == text
    assert [(one["start"], one["end"], one["region"]) for one in row["sentences"]] == made_of.sentences
    assert [(one.kind, text[one.start:one.end]) for one in made_of.facts][:3] == [
        ("formula", answer.predicted.formula), ("crystal system", "cubic"),
        ("space group", answer.predicted.space_group)]
    facts = [row for row in made_of.effects if (row["method"], row["kind"]) == ("gradients", "fact")]
    assert [(one["start"], one["end"], one["fact"]) for one in facts] == [
        (one.start, one.end, one.kind) for one in made_of.facts]
    assert {row["material_id"] for row in made_of.effects} == {"mp-2802"}
    assert {row["faithful"] for row in made_of.effects if row["method"] == "gradients"} == {False}
    shares = {row["label"]: row["effect"] for row in made_of.effects if row["method"] == "shapley"}
    assert shares["structure"] == pytest.approx(answer.predicted.contributions["structure"])
    assert sum(answer.predicted.contributions.values()) == pytest.approx(answer.predicted.learned["value"], abs=1e-5)
    assert {row["layer"] for row in made_of.attention} == {0, None}
    assert len(made_of.shape.elements) == len(made_of.shape.frac_coords)


def test_the_card_of_a_crystal_without_text(told: Path, predictor: Predictor, explainer: Explainer) -> None:
    (row,) = (one for one in tables.read(told, "materials").to_pylist() if one["material_id"] == "mp-30")
    given = Made("mp-30", material=row, structure=tables.read(told, "structures", ids=["mp-30"]), no_text="none")
    (answer,) = predictor.answers([given], Asked(), quiet=True)
    made_of = card(explainer, answer, FAITHFUL)
    assert (made_of.sentences, made_of.facts, made_of.effects, made_of.attention) == ([], [], [], [])
    assert made_of.shape.elements == ["Cu"]
    assert made_of.predicted.value is not None


def test_what_has_no_prediction_has_no_card(explainer: Explainer) -> None:
    with pytest.raises(ValueError, match=r"bad\.cif has no prediction to explain"):
        card(explainer, Answer(Predicted("bad.cif", error="missing"), Made("bad.cif", error="missing")), FAITHFUL)


def test_methods_with_and_without_tests(explainer: Explainer, structures: dict[str, object]) -> None:
    shapley, replacement, gradients = methods(explainer, PASSED)
    assert [one.name for one in (shapley, replacement, gradients)] == ["shapley", "replacement", "gradients"]
    assert [one.faithful for one in (shapley, replacement, gradients)] == [None, True, False]
    assert "of 14 training crystals" in shapley.says
    assert gradients.evidence.startswith("FAILED deletion 0.90 of 1")
    assert "boosted trees" not in gradients.says
    untested = methods(explainer, None)
    assert [(one.faithful, one.evidence) for one in untested] == [
        (None, "adds up by construction"), (None, UNTESTED), (None, UNTESTED)]
    assert [one.says for one in untested] == [shapley.says, replacement.says, gradients.says]
    with_trees = methods(Explainer(Game(made(**MODELS["trees"]), background(structures))), None)
    assert "without the share of the boosted trees" in with_trees[2].says


def test_stored_methods(explainer: Explainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, own = tmp_path / "methods.json", explainer.game.trained.config.weights_sha256
    found = methods(explainer, PASSED)
    documents.write(path, document(own, found))
    assert stored_methods(explainer, path) == found
    unknown = methods(explainer, None)
    for content in ({"weights_sha256": "another", "methods": []}, {"weights_sha256": own},
                    {"weights_sha256": own, "methods": [{"a": 1}]}, {"weights_sha256": own, "methods": [1]}):
        documents.write(path, content)
        assert stored_methods(explainer, path) == unknown
    assert stored_methods(explainer, tmp_path / "none.json") == unknown
    assert capsys.readouterr().err == ""


def test_damaged_methods_are_said(explainer: Explainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, own = tmp_path / "methods.json", explainer.game.trained.config.weights_sha256
    documents.write(path, document(own, methods(explainer, PASSED)))
    text = path.read_text()
    for content in ("", "[]", "null", text[:40], text[:-5], text.replace("true", "false", 1)):
        path.write_text(content)
        assert stored_methods(explainer, path) == methods(explainer, None)
        assert "methods.json is damaged" in capsys.readouterr().err
    path.write_bytes(b"\xff\xfe")
    stored_methods(explainer, path)
    stored_methods(explainer, tmp_path)
    assert capsys.readouterr().err.count("is damaged") == 2


def test_they_are_found_beside_the_model(told: Path, explainer: Explainer) -> None:
    """As the stage explain left them."""
    trained = explainer.game.trained
    assert methods_beside(trained) == told / "data" / "results" / cards.METHODS_FILE
    found = stored_methods(explainer, methods_beside(trained))
    assert [one.faithful for one in found] == [None, None, None]
    assert all(isinstance(one, Method) for one in found)
    assert "not tested" in found[1].evidence
    elsewhere = replace(trained, config=replace(trained.config, weights_sha256="another"))
    other = Explainer(explainer.game.played_by(elsewhere))
    assert [one.evidence for one in stored_methods(other, methods_beside(trained))][1:] == [UNTESTED, UNTESTED]
