"""Where cross-attention looks: rows by layer and head, and rolled out by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from model.explanation.attention import rolled_out, rows
from model.explanation.game import Game
from model.explanation.texts import Reading, collate
from model.nets.network import MultimodalNet
from tests.model.explanation.models import READ, background, crystal, game, made


def attention(mine: Game, structures: dict[str, Any], text: Reading = READ["SrTiO3"]) -> list[dict[str, Any]]:
    return rows(mine, "mp-5229", mine.atoms(crystal(structures)), text)


def weights(found: list[dict[str, Any]], layer: int | None, head: int | None, network: int = 0) -> list[float]:
    """In the order of the sentences."""
    mine = [row for row in found if (row["network"], row["layer"], row["head"]) == (network, layer, head)]
    assert [row["sentence"] for row in mine] == list(range(len(mine)))
    return [row["weight"] for row in mine]


@pytest.mark.parametrize(("name", "networks", "layers"), [
    ("cross_attention", 1, 1), ("two layers, both ways", 1, 2), ("two networks", 2, 1), ("all kinds", 1, 1)])
def test_a_row_for_each_layer_head_and_sentence(structures: dict[str, Any], name: str, networks: int,
                                                layers: int) -> None:
    mine, text = game(structures, name), READ["SrTiO3"]
    found = attention(mine, structures)
    asked = {(network, layer, head) for network in range(networks)
             for layer, head in [(None, None), *((one, other) for one in range(layers) for other in range(2))]}
    assert {(row["network"], row["layer"], row["head"]) for row in found} == asked
    assert len(found) == len(asked) * len(text.pieces)
    assert {row["material_id"] for row in found} == {"mp-5229"}
    for network, layer, head in asked:
        mine_of = weights(found, layer, head, network)
        if layer is not None:
            assert sum(mine_of) == pytest.approx(1.0, abs=1e-5)
        assert min(mine_of) > 0
    assert np.ptp(weights(found, 0, 0)) > 1e-4


def test_the_weights_are_those_of_the_networks_own_layers(structures: dict[str, Any]) -> None:
    """The mean over the atoms of what the last layer returns by itself."""
    mine = game(structures, "two layers, both ways")
    (net,) = mine.trained.net.networks()
    assert isinstance(net, MultimodalNet)
    with torch.no_grad():
        said = mine.trained.net(crystal(structures), collate([READ["SrTiO3"].pieces], 1)).attention
    assert said is not None
    found = attention(mine, structures)
    for head in range(2):
        assert weights(found, 1, head) == pytest.approx(said[0, head].mean(0).tolist(), abs=1e-6)


@pytest.mark.parametrize("name", ["gated", "text_only", "structure beside text", "trees"])
def test_no_rows_without_networks_that_attend(structures: dict[str, Any], name: str) -> None:
    assert attention(game(structures, name), structures) == []


def test_two_layers_rolled_out_by_hand() -> None:
    """Two atoms ask, then the two sentences do, then the atoms ask again."""
    first = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    back = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    last = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    # after the first layer atom 0 is half itself and half sentence 0, atom 1 half itself and a quarter of each;
    # sentence 0 then holds half of itself and an eighth of atom 0 and three eighths of atom 1 as they are by now
    atoms = np.array([[0.5, 0.0], [0.25, 0.25]])
    sentences = np.array([[0.5 + 0.125 * 0.5 + 0.375 * 0.25, 0.375 * 0.25], [0.5 * 0.5, 0.5]])
    expected = 0.5 * atoms + 0.5 * last.numpy() @ sentences
    np.testing.assert_allclose(rolled_out([first, last], [back]).numpy(), expected, atol=1e-12)
    # one way: the sentences are as they were read
    np.testing.assert_allclose(rolled_out([first, last], []).numpy(), 0.5 * atoms + 0.5 * last.numpy(), atol=1e-12)
    np.testing.assert_allclose(rolled_out([first], []).numpy(), 0.5 * first.numpy(), atol=1e-12)


def test_rows_are_rolled_out_of_the_same_layers(structures: dict[str, Any]) -> None:
    one_way = Game(made(cross_attention={"layers": 2}), background(structures))
    found = attention(one_way, structures)
    first, second = (np.mean([weights(found, layer, head) for head in range(2)], axis=0) for layer in range(2))
    # of the mean over the atoms, since nothing mixes them
    assert weights(found, None, None) == pytest.approx((0.25 * first + 0.5 * second).tolist(), abs=1e-6)


def test_hooks_are_removed(structures: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an error, and a second time says the same."""
    mine = game(structures, "two layers, both ways")
    first = attention(mine, structures)
    hooks = [module for module in mine.trained.net.modules() if module._forward_hooks]
    assert hooks == []

    def fails(*_: Any) -> Any:
        raise RuntimeError("no")

    (net,) = mine.trained.net.networks()
    with monkeypatch.context() as patch:
        patch.setattr(net, "fuse", fails)
        with pytest.raises(RuntimeError, match="no"):
            attention(mine, structures)
    assert [module for module in mine.trained.net.modules() if module._forward_hooks] == []
    assert attention(mine, structures) == first
