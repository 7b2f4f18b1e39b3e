"""CrystalFormer: infinitely connected attention for periodic structures (Taniai et al., ICLR 2024).

For atoms i, j and images n, with r = |p_j + n·L − p_i| (i = j and n = 0 included), per head of width d:

    y_i  = Σ_j softmax_j( q_i·k_j/√d + α_ij ) (v_j + β_ij)                                        (eq. 4)
    α_ij = log Σ_n exp( −r² / 2σ_i² )                                                             (eq. 5)
    β_ij = W_E · Σ_n softmax_n( −r² / 2σ_i² ) b(r)                                                (eq. 6)
    b_k(r) = exp( −(r − μ_k)² / 2w² ),  μ_k = k·w,  w = 14/64 Å,  k = 1 … 64
    σ_i⁻² = r0⁻² ρ( (q_i·ω + m)·s ),  ρ(x) = (1 − b)·ELU( a·x/(1 − b) ) + 1

The sums over n and j run over the images of `features/views/structures.py`, in `periodic_attention.py`; b(r)
is the same for all layers and heads and is computed once. Everything is computed once an orbit of atoms that symmetry
makes alike, for their tokens are equal; the last step gives each atom its orbit's. There is no padding anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.input.batch import IMAGES, StructureBatch
from model.nets.element_embedding import ElementEmbedding
from model.nets.encoders.periodic_attention import Images, periodic_attention, prepare

N_BASIS = 64
BASIS_WIDTH = 14.0 / N_BASIS  # Å
R0, RHO_A, RHO_B = 1.4, 0.1, 0.5  # Å, and the two constants of ρ


def images_of(batch: StructureBatch) -> Images:
    """What all layers and heads share."""
    return prepare(batch, N_BASIS, BASIS_WIDTH)


class InfiniteAttention(nn.Module):
    """Multi-head attention over all images of all atoms of a crystal."""

    shift: Tensor
    scale: Tensor

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.omega = nn.Parameter(torch.empty(heads, self.width))
        self.basis_weight = nn.Parameter(torch.empty(heads, self.width, N_BASIS))
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor, images: Images) -> Tensor:
        """`[orbits, dim]` in and out."""
        orbits = x.shape[0]
        q, k, v = self.qkv(x).view(orbits, 3, self.heads, self.width).unbind(1)
        mixed, mean_basis = periodic_attention(q, k, v, self._inverse_variance(q), images)
        mixed = mixed + torch.einsum("ihk,hdk->ihd", mean_basis, self.basis_weight)
        return self.out(mixed.reshape(orbits, -1))

    def _inverse_variance(self, q: Tensor) -> Tensor:
        x = ((q * self.omega).sum(-1) + self.shift) * self.scale
        return ((1 - RHO_B) * F.elu(RHO_A * x / (1 - RHO_B)) + 1) / R0**2

    @torch.no_grad()
    def initialise(self, gain: float) -> None:
        """Xavier, W_v and W_out times `gain`; W_E with a gain of 64^-½; ω of std d^-½; biases zero."""
        for third in self.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(third)
        self.qkv.weight[2 * self.qkv.in_features:].mul_(gain)
        nn.init.normal_(self.omega, std=float(self.width) ** -0.5)
        # as one matrix [heads·d, 64]: the fans of a three-dimensional tensor would be those of a convolution
        nn.init.xavier_uniform_(self.basis_weight.view(-1, N_BASIS), gain=float(N_BASIS) ** -0.5)
        nn.init.xavier_uniform_(self.out.weight, gain=gain)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """m = −mean and s = 1/std of q·ω over a batch; x is `[atoms, dim]`."""
        q = self.qkv(x).view(x.shape[0], 3, self.heads, self.width)[:, 0]
        values = (q * self.omega).sum(-1)
        self.shift.copy_(-values.mean())
        self.scale.copy_(1.0 / values.std(correction=0).clamp_min(1e-6))


class Block(nn.Module):
    """Attention and a feed-forward net, each with a residual; no normalisation (T-Fixup initialisation instead)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = InfiniteAttention(dim, heads)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def initialise(self, gain: float) -> None:
        """Xavier times `gain`; biases zero."""
        self.attention.initialise(gain)
        for linear in (self.up, self.down):
            nn.init.xavier_uniform_(linear.weight, gain=gain)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, images: Images) -> Tensor:
        """`[orbits, dim]` in and out."""
        x = x + self.attention(x, images)
        return x + self.down(F.relu(self.up(x)))


class Crystalformer(nn.Module):
    """Embedding of the element and a stack of blocks: one token per atom."""

    reads = IMAGES

    def __init__(self, dim: int = 128, heads: int = 8, layers: int = 4, properties: bool = False) -> None:
        super().__init__()
        self.dim = dim
        # T-Fixup-like, as the paper has it
        self.embedding = ElementEmbedding(dim, float(dim) ** -0.5 * (9.0 * layers) ** -0.25, properties)
        stack = [Block(dim, heads) for _ in range(layers)]
        self.blocks: Sequence[Block] = nn.ModuleList(stack)  # type: ignore[assignment]
        for block in stack:
            block.initialise(gain=0.67 * float(layers) ** -0.25)

    def forward(self, batch: StructureBatch, hidden: Tensor | None = None) -> Tensor:
        """Tokens `[atoms, dim]`; `hidden` (`[atoms]`, bool) marks atoms whose element is not shown."""
        images = images_of(batch)
        x = self.embedding(batch.elements(hidden))
        for block in self.blocks:
            x = block(x, images)
        return x[batch.orbit]

    @torch.no_grad()
    def calibrate(self, batch: StructureBatch) -> None:
        """Fix each layer's m and s on the first training batch; they are constants from then on."""
        images = images_of(batch)
        x = self.embedding(batch.elements())
        for block in self.blocks:
            block.attention.calibrate(x[batch.orbit])
            x = block(x, images)
