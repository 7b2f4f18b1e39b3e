"""The encoder against numbers that the authors' own module wrote, with its weights, for eight real crystals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.naive_crystalformer import forward
from features.views.structures import TensorizeParams, lists, symmetry
from model.input.batch import Crystals, StructureBatch
from model.nets.encoders.crystalformer import Crystalformer

OFFICIAL = Path(__file__).parent / "parity" / "crystalformer_official.npz"


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    with np.load(OFFICIAL, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def net(official: dict[str, Any]) -> Crystalformer:
    """Our module with the authors' weights. Their element index is the atomic number less one."""

    def weight(name: str) -> torch.Tensor:
        return torch.from_numpy(official[f"w::{name}"])

    ours = Crystalformer(dim=128, heads=8, layers=4).double()
    with torch.no_grad():
        ours.embedding.weight.zero_()
        ours.embedding.weight[1:99] = weight("input_embeddings.weight").T
        for number, block in enumerate(ours.blocks):
            layer, a = f"encoder.layers.{number}.", block.attention
            a.qkv.weight.copy_(torch.cat([weight(f"{layer}self_attn.{name}_proj_weight") for name in "qkv"]))
            a.qkv.bias.copy_(weight(f"{layer}self_attn.in_proj_bias"))
            a.out.weight.copy_(weight(f"{layer}self_attn.out_proj.weight"))
            a.out.bias.copy_(weight(f"{layer}self_attn.out_proj.bias"))
            a.omega.copy_(weight(f"{layer}self_attn.lattice_pos_weights").view(8, 16))
            a.basis_weight.copy_(weight(f"{layer}self_attn.pe_dist_proj")[0])
            scale, shift = weight(f"{layer}self_attn.gauss_scale")
            a.scale.copy_(scale)
            a.shift.copy_(shift)
            for linear, theirs in ((block.up, "linear1"), (block.down, "linear2")):
                linear.weight.copy_(weight(f"{layer}{theirs}.weight"))
                linear.bias.copy_(weight(f"{layer}{theirs}.bias"))
    return ours


def within_reach(lattice: Any, fractions: Any, numbers: Any) -> dict[str, Any]:
    """As the table `structures` has it by default, symmetry included."""
    return lists(lattice, fractions, *symmetry(lattice, fractions, numbers), TensorizeParams())


def all_125(lattice: Any, fractions: Any, numbers: Any) -> dict[str, Any]:
    """Every atom for itself, with all images."""
    steps = np.arange(-2, 3)
    images = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3) @ lattice
    positions = fractions @ lattice
    distance = np.linalg.norm(positions[None, :, None] + images - positions[:, None, None], axis=-1)
    i, j, _ = np.indices(distance.shape)
    return {"orbit": np.arange(len(numbers)), "edge_i": i.ravel(), "edge_j": j.ravel(),
            "edge_distance": np.sort(distance, axis=-1).ravel(), "edge_count": np.ones(distance.size)}


def batch(official: dict[str, Any], edges: Callable[[Any, Any, Any], dict[str, Any]]) -> StructureBatch:
    ends = np.cumsum(official["sizes"])
    rows = []
    for end, size, lattice in zip(ends, official["sizes"], official["lattice"], strict=True):
        numbers = official["x_atomic_numbers"][end - size:end]
        fractions = official["pos"][end - size:end] @ np.linalg.inv(lattice)
        rows.append({"atomic_numbers": numbers, **edges(lattice, fractions, numbers)})
    return Crystals.of(rows).batch()


@pytest.mark.parametrize(("edges", "tolerance"), [(all_125, 1e-12), (within_reach, 1e-6)])
def test_equal_to_the_authors_module(official: dict[str, Any], net: Crystalformer, edges: Any,
                                     tolerance: float) -> None:
    tokens = net(batch(official, edges)).detach().numpy()
    assert np.abs(tokens - official["atom_tokens"]).max() < tolerance


def test_the_yardstick_is_the_authors_module_too(official: dict[str, Any], net: Crystalformer) -> None:
    ends = np.cumsum(official["sizes"])
    for end, size, lattice in zip(ends, official["sizes"], official["lattice"], strict=True):
        atoms = slice(end - size, end)
        numbers, positions = (torch.from_numpy(official[name][atoms]) for name in ("x_atomic_numbers", "pos"))
        tokens = forward(net, numbers, positions, torch.from_numpy(lattice)).detach().numpy()
        assert np.abs(tokens - official["atom_tokens"][atoms]).max() < 1e-12
