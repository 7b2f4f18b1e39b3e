"""CrystalFormer written down from its formulas, with all images of every pair: an oracle and a yardstick.

Every step makes the array that the formula names, for all 125 images, heads and basis functions, as the published
pure-torch path does. It shares nothing with `model.nets.encoders.crystalformer` but the weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.nets.encoders.crystalformer import Crystalformer

R0, A, B = 1.4, 0.1, 0.5
WIDTH = 14 / 64


def forward(net: Crystalformer, numbers: Tensor, positions: Tensor, lattice: Tensor, far: int = 2) -> Tensor:
    """Tokens `[atoms, dim]` of one crystal.

    Args:
        net: where the weights come from.
        numbers: `[atoms]`, atomic numbers.
        positions: `[atoms, 3]`, Cartesian, Å.
        lattice: `[3, 3]`, rows are lattice vectors, Å.
        far: images with every |n_k| up to this; 2 makes 125.
    """
    steps = torch.arange(-far, far + 1, dtype=lattice.dtype)
    images = torch.cartesian_prod(steps, steps, steps) @ lattice
    r = (positions[None, :, None] + images - positions[:, None, None]).norm(dim=-1)  # [i, j, n]
    centres = torch.arange(1, 65, dtype=r.dtype) * WIDTH
    basis = torch.exp(-((r[..., None] - centres) ** 2) / (2 * WIDTH**2))  # [i, j, n, 64]
    x = net.embedding(numbers)
    for block in net.blocks:
        a = block.attention
        q, k, v = (part.view(len(x), a.heads, a.width).transpose(0, 1) for part in a.qkv(x).chunk(3, dim=-1))
        score = ((q * a.omega[:, None]).sum(-1) + a.shift) * a.scale
        rho = (1 - B) * torch.nn.functional.elu(A * score / (1 - B)) + 1
        exponent = -(r**2) / 2 * (rho / R0**2)[:, :, None, None]  # [head, i, j, n]
        alpha = torch.logsumexp(exponent, dim=-1)
        mean_basis = torch.einsum("hijn,ijnk->hijk", torch.softmax(exponent, dim=-1), basis)
        beta = torch.einsum("hijk,hdk->hijd", mean_basis, a.basis_weight)
        weight = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(a.width) + alpha, dim=-1)
        mixed = torch.einsum("hij,hijd->hid", weight, v[:, None] + beta)
        x = x + a.out(mixed.transpose(0, 1).reshape(len(x), -1))
        x = x + block.down(torch.relu(block.up(x)))
    return x
