"""The encoder against an independent, naive implementation of the paper's formulas with all images."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.naive_crystalformer import forward
from features import crystal
from features.structures import neighbour_images
from model.data import Crystal, collate_structures
from model.encoders.crystalformer import BASIS_WIDTH, N_BASIS, Crystalformer
from model.encoders.periodic_attention import periodic_attention, prepare

IDS = ["mp-22862", "mp-30", "mp-127", "mp-20928", "mp-149", "mp-2700"]


def as_crystal(structure: Any, reach: float = 60.0) -> Crystal:
    i, j, distance = neighbour_images(np.array(structure.lattice.matrix), structure.frac_coords, reach)
    return Crystal(np.array(structure.atomic_numbers), i, j, distance)


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
    found = [crystal.canonical_structure(structures[i]) for i in IDS]
    batch = collate_structures([as_crystal(s) for s in found])
    net = network(batch)
    expected = torch.cat([naive(net, s, far=5) for s in found])
    assert float((net(batch) - expected).abs().max().detach()) < 2e-6
    wide = collate_structures([as_crystal(s, reach=200.0) for s in found])
    assert float((net(wide) - expected).abs().max().detach()) < 1e-9


def test_gradients_are_those_of_the_formulas(structures: dict[str, Any]) -> None:
    structure = crystal.canonical_structure(structures["mp-20928"])
    batch = collate_structures([as_crystal(structure, reach=200.0)])
    net = network(batch)
    net(batch).square().sum().backward()
    ours = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    naive(net, structure, far=4).square().sum().backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(ours[name], p.grad, atol=1e-7, rtol=1e-6)


def test_compiled_and_torch_paths_agree(structures: dict[str, Any]) -> None:
    """The path of other devices, run here on the CPU; values and all gradients."""
    batch = collate_structures([as_crystal(crystal.canonical_structure(structures[i])) for i in IDS])
    results = []
    for compiled in (True, False):
        torch.manual_seed(1)
        q, k, v = (torch.randn(len(batch.numbers), 4, 8, dtype=torch.double, requires_grad=True) for _ in range(3))
        rate = torch.rand(len(batch.numbers), 4, dtype=torch.double).add_(0.2).requires_grad_()
        images = prepare(batch, N_BASIS, BASIS_WIDTH, compiled)
        mixed, basis = periodic_attention(q, k, v, rate, images)
        (mixed * torch.randn_like(mixed)).sum().add((basis * torch.randn_like(basis)).sum()).backward()
        results.append([mixed, basis, q.grad, k.grad, v.grad, rate.grad])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-9)


def test_a_crystal_does_not_see_its_batch(structures: dict[str, Any]) -> None:
    crystals = [as_crystal(crystal.canonical_structure(structures[i])) for i in IDS]
    net = network(collate_structures(crystals))
    together = net(collate_structures(crystals)).detach()
    alone = torch.cat([net(collate_structures([c])) for c in crystals]).detach()
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("change", ["supercell", "cell", "permutation", "rotation"])
def test_another_way_to_write_the_crystal_gives_the_same_tokens(structures: dict[str, Any], change: str) -> None:
    structure = crystal.canonical_structure(structures["mp-149"])
    net = network(collate_structures([as_crystal(structure)]))
    expected = net(collate_structures([as_crystal(structure)])).mean(0).detach()
    other = structure.copy()
    if change == "supercell":
        other.make_supercell([2, 1, 1])
    elif change == "cell":
        other.make_supercell([[1, 0, 0], [2, 1, 0], [0, 1, 1]], to_unit_cell=True)
    elif change == "permutation":
        other = type(structure).from_sites(list(structure)[::-1])
    else:
        from pymatgen.core.operations import SymmOp

        other.apply_operation(SymmOp.from_axis_angle_and_translation([1, 2, 3], 40))
    found = net(collate_structures([as_crystal(other)])).mean(0).detach()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_hidden_element_is_not_seen(structures: dict[str, Any]) -> None:
    salt = as_crystal(crystal.canonical_structure(structures["mp-22862"]))
    swapped = Crystal(salt.numbers[::-1].copy(), salt.edge_i, salt.edge_j, salt.distance)
    net = network(collate_structures([salt]))
    hidden = torch.tensor([True, True])
    one, other = (net(collate_structures([c]), hidden).detach() for c in (salt, swapped))
    assert torch.equal(one, other)
    assert not torch.equal(net(collate_structures([salt])), net(collate_structures([swapped])))


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
