"""What a game predicts is what the whole model predicts; Shapley values by brute force over all orders."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from model.explanation import game as module
from model.explanation.game import PLAYERS, Game, shapley
from model.explanation.texts import Piece, collate
from tests.features.texts import SRTIO3
from tests.model.explanation.models import MODELS, OTHERS, READ, background, crystal, game, made, whole, words


def variants_of() -> list[list[Piece]]:
    """Real texts, some without a sentence or with one of another, some of no sentence at all."""
    every = [one.pieces for one in READ.values()]
    return [*every, every[0][1:], every[3][2:] + every[1][:2], [], every[2][:1], every[0][1:]]


@pytest.mark.parametrize("name", MODELS)
def test_it_predicts_what_the_model_predicts(structures: dict[str, Any], name: str) -> None:
    mine, one, variants = game(structures, name), crystal(structures), variants_of()
    predicted = mine.predict(mine.atoms(one), variants)
    with torch.no_grad():
        expected = [float(mine.trained.natural(mine.trained.net(one, collate([variant], 1)).fused)[0])
                    for variant in variants]
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=2e-6)
    assert (np.ptp(predicted) > 1e-3) == (name != "structure_only")
    assert predicted.dtype == np.float64


@pytest.mark.parametrize("name", ["two layers, both ways", "all kinds", "first words"])
@pytest.mark.parametrize("limit", ["VARIANTS_AT_ONCE", "WEIGHTS_AT_ONCE"])
def test_how_many_come_at_once_changes_nothing(structures: dict[str, Any], name: str, limit: str,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    mine, one, variants = game(structures, name), crystal(structures), variants_of()
    together = mine.predict(mine.atoms(one), variants)
    passes = []
    real = type(mine.trained.net).blend
    monkeypatch.setattr(type(mine.trained.net), "blend", lambda *given: passes.append(1) or real(*given))
    for value, least in ((1, len(variants)), (3, 2)):
        passes.clear()
        monkeypatch.setattr(module, limit, value)
        np.testing.assert_allclose(mine.predict(mine.atoms(one), variants), together, rtol=0, atol=2e-6)
        assert len(passes) >= least


def test_a_crystal_for_each_variant(structures: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Crystals of unequal size in one batch, in shares that do not fit."""
    mine, texts = game(structures, "all kinds"), [one.pieces for one in READ.values()][:5]
    batch = background(structures).structures
    with torch.no_grad():
        expected = mine.trained.natural(mine.trained.net(batch, collate(texts, 1)).fused).numpy()
    for at_once in (1024, 2):
        monkeypatch.setattr(module, "VARIANTS_AT_ONCE", at_once)
        np.testing.assert_allclose(mine.predict(mine.atoms(batch), texts), expected, rtol=0, atol=2e-6)
    both = mine.predict_each([mine.atoms(batch), mine.atoms(crystal(structures))], texts)
    np.testing.assert_allclose(both[0], expected, rtol=0, atol=2e-6)
    np.testing.assert_allclose(both[1], mine.predict(mine.atoms(crystal(structures)), texts), rtol=0, atol=1e-12)
    assert mine.predict_each([mine.atoms(batch)], []).shape == (1, 0)
    assert mine.predict(mine.atoms(batch), []).shape == (0,)


def test_vectors_of_the_frozen_encoder(structures: dict[str, Any]) -> None:
    texts = {"mp-149": "Si crystallizes in the cubic Fd-3m space group.",
             "mp-127": "Na is Copper structured and crystallizes in the cubic Im-3m space group."}
    trained = made(text="sentences", text_dim=384, fusion="cross_attention")
    mine = Game(trained, background(structures, texts))
    text = mine.read({"text": "SrTiO3 crystallizes in the cubic Pm-3m space group. All Ti(1)-O(1) bond lengths are "
                              "1.97 Å.", "sentences": [{"start": 0, "end": 51, "region": "global"},
                                                       {"start": 52, "end": 91, "region": "local"}], "mineral": None})
    one = crystal(structures)
    assert mine.predict(mine.atoms(one), [text.pieces])[0] == pytest.approx(whole(trained, one, text), abs=2e-6)
    shares = mine.contributions(one, text)
    assert sum(shares.values()) == pytest.approx(whole(trained, one, text), abs=1e-5)
    assert shares["local"] != 0  # neither has such a sentence


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", ["SrTiO3", "Ca5Sb3"])
def test_contributions_add_up(structures: dict[str, Any], name: str, text: str) -> None:
    """To the prediction, from the mean prediction of the crystals of the background with their own texts."""
    mine, one = game(structures, name), crystal(structures)
    shares = mine.contributions(one, READ[text])
    assert list(shares) == [*PLAYERS, "reference"]
    assert sum(shares.values()) == pytest.approx(whole(mine.trained, one, READ[text]), abs=1e-5)  # the bar is 1e-4
    own = [whole(mine.trained, crystal(structures, other), words(said)) for other, said in OTHERS.items()]
    assert shares["reference"] == pytest.approx(np.mean(own), abs=1e-5)


@pytest.mark.parametrize("name", ["two layers, both ways", "trees", "all kinds"])
def test_contributions_are_the_mean_over_all_orders(structures: dict[str, Any], name: str) -> None:
    """24 orders of the players, each coalition by the whole model, crystal by crystal."""
    mine, one, text = game(structures, name), crystal(structures), READ["SrTiO3"]
    others = [(crystal(structures, other), words(said)) for other, said in OTHERS.items()]
    known: dict[frozenset[str], float] = {}

    def value(players: frozenset[str]) -> float:
        if players not in known:
            predicted = []
            for structure, said in others:
                pieces = [piece for region, player in enumerate(PLAYERS[1:])
                          for piece in (text if player in players else said).of_region(region)]
                with torch.no_grad():
                    fused = mine.trained.net(one if "structure" in players else structure, collate([pieces], 1)).fused
                predicted.append(float(mine.trained.natural(fused)[0]))
            known[players] = float(np.mean(predicted))
        return known[players]

    expected = dict.fromkeys(PLAYERS, 0.0)
    orders = list(itertools.permutations(PLAYERS))
    for order in orders:
        for place, player in enumerate(order):
            expected[player] += value(frozenset(order[:place + 1])) - value(frozenset(order[:place]))
    shares = mine.contributions(one, text)
    for player, sum_of in expected.items():
        assert shares[player] == pytest.approx(sum_of / len(orders), abs=1e-6)
        assert abs(shares[player]) > 1e-3


def test_who_changes_nothing_contributes_nothing(structures: dict[str, Any]) -> None:
    one = crystal(structures)
    blind = game(structures, "structure_only").contributions(one, READ["SrTiO3"])
    assert [blind[player] for player in PLAYERS[1:]] == [0.0] * 3
    assert abs(blind["structure"]) > 1e-3
    reader = game(structures, "text_only").contributions(one, READ["SrTiO3"])
    assert reader["structure"] == pytest.approx(0, abs=1e-7)
    assert abs(reader["local"]) > 1e-3
    # a crystal that differs from the only one of the background in nothing but its structure
    alone = Game(made(), background(structures, {"mp-127": SRTIO3}))
    shares = alone.contributions(one, words(SRTIO3))
    assert [shares[player] for player in PLAYERS[1:]] == pytest.approx([0.0] * 3, abs=1e-7)
    assert abs(shares["structure"]) > 1e-3
    assert (alone.explaining, alone.testing) == (alone.others, alone.others)


def test_explaining_and_testing_share_no_text(structures: dict[str, Any]) -> None:
    mine = game(structures)
    assert [one.text for one in mine.others] == list(OTHERS.values())
    assert (len(mine.explaining), len(mine.testing)) == (2, 3)
    assert not {id(one) for one in mine.explaining} & {id(one) for one in mine.testing}
    assert len(mine.background) == len(OTHERS)
    assert mine.background.structures.n_atoms.tolist() == [len(structures[one]) for one in OTHERS]


def test_values_of_known_games() -> None:
    """A glove game: player 0 has a left glove, 1 and 2 a right one each; a pair is worth 1 (Shapley: 2/3, 1/6, 1/6)."""
    gloves = np.zeros((2, 2, 2))
    gloves[1, 1, :] = gloves[1, :, 1] = 1.0
    values, nobody = shapley(gloves)
    assert values == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert nobody == 0
    # every player brings what he has, from 5 on
    own = np.array([3.0, -1.0, 0.5, 2.0])
    values, nobody = shapley(5 + np.tensordot(own, np.indices((2,) * 4), 1))
    assert values == pytest.approx(own)
    assert nobody == 5
    assert shapley(np.array([1.0, 4.0])) == ([3.0], 1.0)
    # all together or nothing: alike for all
    everyone = np.zeros((2,) * 4)
    everyone[1, 1, 1, 1] = 1.0
    assert shapley(everyone)[0] == pytest.approx([0.25] * 4)
