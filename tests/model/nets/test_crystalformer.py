"""The encoder against an independent, naive implementation of the paper's formulas with all images."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.naive_crystalformer import forward
from features import crystal
from model.nets.encoders.crystalformer import BASIS_WIDTH, N_BASIS, Crystalformer
from model.nets.encoders.periodic_attention import periodic_attention, prepare
from tests.model.nets.batches import atom_by_atom, batch_of

IDS = ["mp-22862", "mp-30", "mp-127", "mp-20928", "mp-149", "mp-2700"]


def naive(net: Crystalformer, structure: Any, far: int) -> Tensor:
    """One crystal, all images with |n_k| ≤ far, straight from the formulas."""
    lattice = torch.tensor(np.array(structure.lattice.matrix))
    return forward(net, torch.tensor(np.array(structure.atomic_numbers)), torch.tensor(structure.frac_coords) @ lattice,
                   lattice, far)


def network(batch: Any) -> Crystalformer:
    torch.manual_seed(0)
    net = Crystalformer(dim=32, heads=4, layers=2).double()
    torch.nn.init.normal_(net.embedding.weight)  # larger than at the start, so that every term counts
    net.calibrate(batch)
    return net


def test_equal_to_the_formulas(structures: dict[str, Any]) -> None:
    canonical = [crystal.canonical_structure(structures[i]) for i in IDS]
    batch = batch_of(canonical)
    net = network(batch)
    expected = torch.cat([naive(net, s, far=5) for s in canonical])
    assert float((net(batch) - expected).abs().max().detach()) < 2e-6
    wide = batch_of(canonical, reach=200.0)
    assert float((net(wide) - expected).abs().max().detach()) < 1e-9


def test_gradients_are_those_of_the_formulas(structures: dict[str, Any]) -> None:
    structure = crystal.canonical_structure(structures["mp-20928"])
    batch = batch_of([structure], reach=200.0)
    net = network(batch)
    net(batch).square().sum().backward()
    ours = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    naive(net, structure, far=4).square().sum().backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(ours[name], p.grad, atol=1e-7, rtol=1e-6)


def test_compiled_and_torch_paths_agree(structures: dict[str, Any]) -> None:
    """The path of other devices, run here on the CPU; values and all gradients."""
    batch = batch_of([crystal.canonical_structure(structures[i]) for i in IDS])
    results = []
    for compiled in (True, False):
        torch.manual_seed(1)
        q, k, v = (torch.randn(len(batch.first), 4, 8, dtype=torch.double, requires_grad=True) for _ in range(3))
        rate = torch.rand(len(batch.first), 4, dtype=torch.double).add_(0.2).requires_grad_()
        images = prepare(batch, N_BASIS, BASIS_WIDTH, compiled)
        mixed, basis = periodic_attention(q, k, v, rate, images)
        (mixed * torch.randn_like(mixed)).sum().add((basis * torch.randn_like(basis)).sum()).backward()
        results.append([mixed, basis, q.grad, k.grad, v.grad, rate.grad])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-9)


def test_atoms_alike_by_symmetry_may_share_a_row(structures: dict[str, Any]) -> None:
    canonical = [crystal.canonical_structure(structures[i]) for i in IDS]
    orbits, atoms = batch_of(canonical), atom_by_atom(canonical)
    assert len(orbits.first) < len(atoms.first) == len(atoms.numbers)
    assert len(orbits.images.distance) * 2 < len(atoms.images.distance)
    net = network(orbits)
    torch.testing.assert_close(net(orbits), net(atoms), atol=1e-6, rtol=0)


def test_scale_of_the_initial_weights() -> None:
    """T-Fixup-like, as the paper has it; β matters most, and W_E is Xavier as one matrix with gain 64^-½."""
    torch.manual_seed(0)
    net = Crystalformer()
    attention, gain = net.blocks[0].attention, 0.67 * 4**-0.25
    bounds = {"basis_weight": (64**-0.5 * math.sqrt(6 / (128 + 64)), attention.basis_weight),
              "out": (gain * math.sqrt(6 / 256), attention.out.weight),
              "value": (gain * math.sqrt(6 / 256), attention.qkv.weight[256:]),
              "query": (math.sqrt(6 / 256), attention.qkv.weight[:128]),
              "up": (gain * math.sqrt(6 / 640), net.blocks[0].up.weight)}
    for name, (bound, weight) in bounds.items():
        assert float(weight.detach().abs().max()) == pytest.approx(bound, rel=0.02), name
    assert float(net.embedding.weight.detach().std()) == pytest.approx(128**-0.5 * 36**-0.25, rel=0.02)


def test_size_of_the_published_net() -> None:
    net = Crystalformer()
    head = 128 * 128 + 128 + 128 + 1
    embedding = 21 * 128  # ours counts to element 118 and has a token for a hidden one; theirs has 98
    constants = 4 * 3  # per layer theirs counts m, s and one unused scale among the parameters
    assert sum(p.numel() for p in net.parameters()) - embedding + head + constants == 853_517
