import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from model.nets import fusion
from model.nets.fusion import Tokens
from model.params import CrossAttentionParams

DEEP = {"cross_attention of 3 layers": CrossAttentionParams(layers=3),
        "cross_attention of 3 layers, both": CrossAttentionParams(layers=3, directions="both")}
READ_BOTH = ["sum", "concat", "gated", "film", "cross_attention", *DEEP]
NAMES = [*READ_BOTH, "structure_only", "text_only"]
DIM = 16


def made(name: str, seed: int = 0) -> Any:
    """As it is before training."""
    torch.manual_seed(seed)
    return fusion.make(name.split(" ")[0], DIM, heads=4, cross_attention=DEEP.get(name))


def opened(name: str, seed: int = 0) -> Any:
    """With weights as training might leave them: what starts at zero would hide every fault behind it."""
    net = made(name, seed)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.3)
    return net


def tokens(seed: int, lengths: list[int], width: int) -> Tokens:
    values = torch.randn(len(lengths), width, DIM, generator=torch.Generator().manual_seed(seed))
    return Tokens(values, torch.arange(width)[None] < torch.tensor(lengths)[:, None])


def garbage(t: Tokens) -> Tokens:
    """The same tokens with something else behind the mask."""
    return Tokens(torch.where(t.mask.unsqueeze(-1), t.values, 1e3), t.mask)


def hidden(t: Tokens) -> Tokens:
    """None of the tokens."""
    return Tokens(t.values, torch.zeros_like(t.mask))


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_neighbours_mean_nothing(name: str) -> None:
    net = opened(name)
    structure, text = tokens(0, [3, 5, 1, 2, 0], 6), tokens(1, [2, 0, 7, 4, 3], 7)
    vector = net(structure, text).vector
    assert vector.shape == (5, DIM)
    torch.testing.assert_close(net(garbage(structure), garbage(text)).vector, vector)
    for row in range(5):
        one = net(Tokens(structure.values[row:row + 1], structure.mask[row:row + 1]),
                  Tokens(text.values[row:row + 1], text.mask[row:row + 1])).vector
        torch.testing.assert_close(one[0], vector[row], atol=1e-4, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), atoms=st.integers(0, 5), words=st.integers(0, 5), padding=st.integers(1, 4))
@pytest.mark.parametrize("name", NAMES)
def test_tokens_have_no_order_and_no_fixed_place(name: str, seed: int, atoms: int, words: int, padding: int) -> None:
    """Shuffled among the padding, the same tokens give the same vector."""
    net, rng = opened(name, seed).double(), np.random.default_rng(seed)

    def shuffled(t: Tokens) -> Tokens:
        order = torch.from_numpy(rng.permutation(t.mask.shape[1] + padding))
        values = torch.cat([t.values, torch.full((1, padding, DIM), 7.0, dtype=torch.double)], dim=1)
        return Tokens(values[:, order], torch.cat([t.mask, torch.zeros(1, padding, dtype=torch.bool)], 1)[:, order])

    structure, text = (Tokens(t.values.double(), t.mask) for t in
                       (tokens(seed, [atoms], max(atoms, 1)), tokens(seed + 1, [words], max(words, 1))))
    torch.testing.assert_close(net(shuffled(structure), shuffled(text)).vector, net(structure, text).vector)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("net_of", [made, opened])
@pytest.mark.parametrize(("atoms", "words"), [(0, 3), (3, 0), (0, 0)])
def test_a_missing_view_gives_finite_values_and_gradients(name: str, net_of: Callable[[str], Any], atoms: int,
                                                          words: int) -> None:
    net = net_of(name)
    structure, text = tokens(0, [atoms, 2], 3), tokens(1, [words, 2], 3)
    structure.values.requires_grad_()
    text.values.requires_grad_()
    vector = net(structure, text).vector
    vector.square().sum().backward()
    assert torch.isfinite(vector).all()
    reached = [t.grad for t in (structure.values, text.values, *net.parameters()) if t.grad is not None]
    assert reached
    assert all(torch.isfinite(gradient).all() for gradient in reached)


@pytest.mark.parametrize("name", NAMES)
def test_what_each_fusion_looks_at(name: str) -> None:
    structure, text = tokens(0, [3], 3), tokens(1, [2], 2)
    other_structure, other_text = tokens(2, [3], 3), tokens(3, [2], 2)
    net = opened(name)
    base = net(structure, text).vector
    assert torch.equal(net(structure, other_text).vector, base) == (name == "structure_only")
    assert torch.equal(net(other_structure, text).vector, base) == (name == "text_only")


@pytest.mark.parametrize("name", READ_BOTH)
def test_training_begins_at_the_structure_and_opens_to_the_text(name: str) -> None:
    """Untrained, a text says nothing; after one step it does; in the second the text branch gets a gradient."""
    net = made(name)
    structure, text = tokens(0, [3, 5, 1], 6), tokens(1, [2, 4, 7], 7)
    text.values.requires_grad_()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)

    def heard() -> float:
        with torch.no_grad():
            return float((net(structure, text).vector - net(structure, hidden(text)).vector).abs().max())

    def step() -> float:
        """Largest gradient of a text's token."""
        optimizer.zero_grad()
        text.values.grad = None
        (net(structure, text).vector - tokens(2, [1, 1, 1], 1).mean()).square().sum().backward()
        optimizer.step()
        assert text.values.grad is not None
        return float(text.values.grad.abs().max())

    assert heard() < 1e-6
    if name in ("sum", "concat", "gated"):
        torch.testing.assert_close(net(structure, text).vector, structure.mean(), atol=1e-6, rtol=0)
    assert step() == 0
    assert heard() > 1e-3
    assert step() > 1e-4


@pytest.mark.parametrize("name", READ_BOTH)
def test_every_weight_is_used(name: str) -> None:
    """Of crystals with both views and without either, each weight and each learned vector gets a gradient."""
    net = opened(name)
    net(tokens(0, [3, 0, 2], 3), tokens(1, [2, 3, 0], 4)).vector.square().sum().backward()
    for weight_name, weight in net.named_parameters():
        assert weight.grad is not None, weight_name
        # a softmax does not change with what is added to all of its scores
        assert weight_name.endswith("key.bias") or float(weight.grad.abs().sum()) > 0, weight_name


def test_film_scales_and_shifts_each_atom() -> None:
    net = opened("film")
    for layer in (net.net.up, net.net.down):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    structure, text = tokens(0, [3], 3), tokens(1, [2], 2)
    gamma, beta = net.modulate(text.mean())[0].split(DIM)
    torch.testing.assert_close(net(structure, text).vector, (1 + gamma) * structure.mean() + beta)


def test_cross_attention_weights_are_a_distribution_over_the_text() -> None:
    for name in ("cross_attention", *DEEP):
        fused = opened(name)(tokens(0, [3, 2], 3), tokens(1, [2, 0], 5))
        assert fused.attention.shape == (2, 4, 3, 5)
        torch.testing.assert_close(fused.attention[0].sum(-1), torch.ones(4, 3))
        assert float(fused.attention[0, :, :, 2:].detach().abs().max()) == 0.0
        assert float(fused.attention[1].detach().abs().max()) == 0.0


@pytest.mark.parametrize("name", DEEP)
def test_the_attention_that_is_shown_is_the_atoms_last(name: str) -> None:
    structure, text = tokens(0, [3], 3), tokens(1, [2], 2)
    for layer, changes in itertools.product(range(3), [True, False]):
        net = opened(name)
        before = net(structure, text).attention
        chosen = net.atoms_ask[layer]
        nn.init.zeros_(chosen.query.weight if changes else chosen.net.down.weight)
        assert torch.equal(net(structure, text).attention, before) == (layer == 2 and not changes)


def test_the_text_asks_the_atoms_between_the_layers() -> None:
    structure, text = tokens(0, [3, 3], 3), tokens(1, [2, 2], 2)
    net = opened("cross_attention of 3 layers, both")
    base = net(structure, text).vector
    assert len(net.text_asks) == 2
    for asks in net.text_asks:
        nn.init.zeros_(asks.out.weight)
        other = net(structure, text).vector
        assert not torch.allclose(other, base, atol=1e-4)
        base = other
    with pytest.raises(ValueError, match="directions both needs layers of at least 2"):
        CrossAttentionParams(directions="both")


def test_atoms_pass_cross_attention_by_a_residual() -> None:
    """Without text only the feed-forward stands between the atoms and the vector: attention adds nothing."""
    for name in ("cross_attention", *DEEP):
        net = opened(name)
        for asks in net.atoms_ask:
            for layer in (asks.net.up, asks.net.down):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        structure = tokens(0, [3], 3)
        torch.testing.assert_close(net(structure, tokens(1, [0], 2)).vector, structure.mean())


def test_an_open_gate_is_a_convex_combination() -> None:
    net = opened("gated")
    nn.init.ones_(net.opening)
    structure, text = tokens(0, [3], 3), tokens(1, [2], 2)
    vector, s, t = net(structure, text).vector, structure.mean(), text.mean()
    assert bool(((vector - torch.minimum(s, t) > -1e-6) & (torch.maximum(s, t) - vector > -1e-6)).all())
