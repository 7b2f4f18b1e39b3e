"""CGCNN: crystal graph convolutions (Xie & Grossman, Phys. Rev. Lett. 120, 145301, 2018), the classic baseline.

    v_i ← softplus( v_i + BN Σ_e σ( z_e W_f + b_f ) ⊙ softplus( z_e W_s + b_s ) ),   z_e = v_i ⊕ v_j ⊕ u_e      (eq. 5)

over the `neighbours` nearest images e of atom i, with u_e Gaussians of the distance every 0.2 Å; a batch normalisation
stands before the gate, as in the authors' code. Elements come in by a learned vector, not by the authors' table of
properties. Equally near neighbours at the end of the list all count, so that symmetry is never broken by the cut. Rows
are orbits of atoms that symmetry makes alike; each counts once in the batch's statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.input.batch import NEIGHBOURS, StructureBatch
from model.nets.element_embedding import ElementEmbedding
from model.nets.encoders.graph import nearest_edges, normalise

STEP = 0.2  # Å, spacing and width of the Gaussians


class Convolution(nn.Module):
    """One graph convolution."""

    def __init__(self, dim: int, edge_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * dim + edge_dim, 2 * dim)
        self.normalise = nn.BatchNorm1d(2 * dim)
        self.normalise_sum = nn.BatchNorm1d(dim)

    def forward(self, v: Tensor, i: Tensor, j: Tensor, u: Tensor) -> Tensor:
        """`[orbits, dim]` in and out; `i`, `j` (`[edges]`) and `u` (`[edges, edge_dim]`) are the graph."""
        z = self.linear(torch.cat([v[i], v[j], u], dim=-1))
        gate, core = normalise(self.normalise, z).chunk(2, dim=-1)
        messages = torch.sigmoid(gate) * F.softplus(core)
        total = torch.zeros_like(v).index_add(0, i, messages.to(v.dtype))
        return F.softplus(v + normalise(self.normalise_sum, total))


class Cgcnn(nn.Module):
    """Embedding of the element and a stack of convolutions: one token per atom."""

    reads = NEIGHBOURS
    centres: Tensor

    def __init__(self, dim: int = 64, layers: int = 3, neighbours: int = 12, properties: bool = False) -> None:
        super().__init__()
        self.dim, self.neighbours = dim, neighbours
        self.embedding = ElementEmbedding(dim, 1.0, properties)
        self.register_buffer("centres", torch.arange(0.0, 8.0 + STEP / 2, STEP), persistent=False)
        self.layers = nn.ModuleList([Convolution(dim, len(self.centres)) for _ in range(layers)])

    def forward(self, batch: StructureBatch, hidden: Tensor | None = None) -> Tensor:
        """Tokens `[atoms, dim]`; `hidden` (`[atoms]`, bool) marks atoms whose element is not shown."""
        i, j, vector = nearest_edges(batch, self.neighbours)
        u = torch.exp(-((vector.norm(dim=-1, keepdim=True) - self.centres) ** 2) / STEP**2)
        v = self.embedding(batch.elements(hidden))
        for layer in self.layers:
            v = layer(v, i, j, u)
        return v[batch.orbit]

    def calibrate(self, batch: StructureBatch) -> None:
        """Nothing is fixed by the first batch."""
