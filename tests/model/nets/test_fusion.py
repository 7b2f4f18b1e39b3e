import pytest
import torch

from model.nets import fusion
from model.nets.fusion import Tokens

NAMES = ["sum", "concat", "gated", "cross_attention", "structure_only", "text_only"]
DIM = 16


def tokens(seed: int, lengths: list[int], width: int) -> Tokens:
    values = torch.randn(len(lengths), width, DIM, generator=torch.Generator().manual_seed(seed))
    return Tokens(values, torch.arange(width)[None] < torch.tensor(lengths)[:, None])


def garbage(t: Tokens) -> Tokens:
    """The same tokens with something else behind the mask."""
    return Tokens(torch.where(t.mask.unsqueeze(-1), t.values, 1e3), t.mask)


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_neighbours_mean_nothing(name: str) -> None:
    torch.manual_seed(0)
    net = fusion.make(name, DIM, heads=4)
    structure, text = tokens(0, [3, 5, 1, 2], 6), tokens(1, [2, 0, 7, 4], 7)
    vector = net(structure, text).vector
    assert vector.shape == (4, DIM)
    torch.testing.assert_close(net(garbage(structure), garbage(text)).vector, vector)
    for row in range(4):
        one = net(Tokens(structure.values[row:row + 1], structure.mask[row:row + 1]),
                  Tokens(text.values[row:row + 1], text.mask[row:row + 1])).vector
        torch.testing.assert_close(one[0], vector[row])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("atoms", "words"), [(0, 3), (3, 0), (0, 0)])
def test_a_missing_view_gives_finite_values_and_gradients(name: str, atoms: int, words: int) -> None:
    torch.manual_seed(0)
    net = fusion.make(name, DIM, heads=4)
    structure, text = tokens(0, [atoms, 2], 3), tokens(1, [words, 2], 3)
    structure.values.requires_grad_()
    text.values.requires_grad_()
    vector = net(structure, text).vector
    vector.square().sum().backward()
    assert torch.isfinite(vector).all()
    reached = [t.grad for t in (structure.values, text.values, *net.parameters()) if t.grad is not None]
    assert reached
    assert all(torch.isfinite(gradient).all() for gradient in reached)


def test_what_each_fusion_looks_at() -> None:
    torch.manual_seed(0)
    structure, text = tokens(0, [3], 3), tokens(1, [2], 2)
    other_structure, other_text = tokens(2, [3], 3), tokens(3, [2], 2)
    for name in NAMES:
        net = fusion.make(name, DIM, heads=4)
        base = net(structure, text).vector
        assert torch.equal(net(structure, other_text).vector, base) == (name == "structure_only")
        assert torch.equal(net(other_structure, text).vector, base) == (name == "text_only")


def test_cross_attention_weights_are_a_distribution_over_the_text() -> None:
    torch.manual_seed(0)
    fused = fusion.make("cross_attention", DIM, heads=4)(tokens(0, [3, 2], 3), tokens(1, [2, 0], 5))
    assert fused.attention.shape == (2, 4, 3, 5)
    torch.testing.assert_close(fused.attention[0].sum(-1), torch.ones(4, 3))
    assert float(fused.attention[0, :, :, 2:].abs().max()) == 0.0
    assert float(fused.attention[1].abs().max()) == 0.0


def test_atoms_pass_cross_attention_by_a_residual() -> None:
    """Without text only the feed-forward stands between the atoms and the vector: attention adds nothing."""
    net = fusion.make("cross_attention", DIM, heads=4)
    for layer in (net.up, net.down):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    structure = tokens(0, [3], 3)
    torch.testing.assert_close(net(structure, tokens(1, [0], 2)).vector, structure.mean())


def test_gate_is_a_convex_combination() -> None:
    net = fusion.make("gated", DIM, heads=4)
    structure, text = tokens(0, [3], 3), tokens(1, [2], 2)
    vector, s, t = net(structure, text).vector, structure.mean(), text.mean()
    assert bool(((vector - torch.minimum(s, t) > -1e-6) & (torch.maximum(s, t) - vector > -1e-6)).all())
