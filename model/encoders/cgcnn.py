"""CGCNN: crystal graph convolutions (Xie & Grossman, Phys. Rev. Lett. 120, 145301, 2018), the classic baseline.

    v_i ← softplus( v_i + BN Σ_e σ( z_e W_f + b_f ) ⊙ softplus( z_e W_s + b_s ) ),   z_e = v_i ⊕ v_j ⊕ u_e      (eq. 5)

over the `neighbours` nearest images e of atom i, with u_e Gaussians of the distance every 0.2 Å; a batch normalisation
stands before the gate, as in the authors' code. Elements come in by a learned vector, not by the authors' table of
properties. Equally near neighbours at the end of the list all count, so that symmetry is never broken by the cut.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.data import StructureBatch

N_ELEMENTS = 119  # index = atomic number; 0 stands for a hidden element
STEP = 0.2  # Å, spacing and width of the Gaussians
CUTOFF = 7.5  # Å; every image up to √60 Å is in the table `structures` with its default reach
SAME = 1e-3  # Å; neighbours closer than this in distance count as equally near


def nearest_edges(batch: StructureBatch, neighbours: int) -> Tensor:
    """Indices of the edges to each atom's nearest images within the cutoff, itself left out; ties all stay."""
    atom = batch.pair_i[batch.pair_of]
    usable = torch.nonzero((batch.distance > SAME) & (batch.distance < CUTOFF)).squeeze(1)
    usable = usable[torch.argsort(batch.distance[usable], stable=True)]
    usable = usable[torch.argsort(atom[usable], stable=True)]
    owner, distance = atom[usable], batch.distance[usable]
    counts = torch.bincount(owner, minlength=len(batch.numbers))
    start = torch.cumsum(counts, 0) - counts
    last = start + counts.clamp(max=neighbours) - 1
    reach = torch.where(counts > 0, distance[last.clamp(min=0)], distance.new_zeros(()))
    return usable[distance <= reach[owner] + SAME]


class Convolution(nn.Module):
    """One graph convolution."""

    def __init__(self, dim: int, edge_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * dim + edge_dim, 2 * dim)
        self.normalise = nn.BatchNorm1d(2 * dim)
        self.normalise_sum = nn.BatchNorm1d(dim)

    def forward(self, v: Tensor, i: Tensor, j: Tensor, u: Tensor) -> Tensor:
        """`[atoms, dim]` in and out; `i`, `j` (`[edges]`) and `u` (`[edges, edge_dim]`) are the graph."""
        z = self.linear(torch.cat([v[i], v[j], u], dim=-1))
        gate, core = _normalise(self.normalise, z).chunk(2, dim=-1)
        messages = torch.sigmoid(gate) * F.softplus(core)
        total = torch.zeros_like(v).index_add_(0, i, messages)
        return F.softplus(v + _normalise(self.normalise_sum, total))


def _normalise(layer: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch normalisation; a batch of one atom has no statistics of its own and takes the running ones."""
    if len(x) > 1 or not layer.training:
        result: Tensor = layer(x)
        return result
    return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)


class Cgcnn(nn.Module):
    """Embedding of the element and a stack of convolutions: one token per atom."""

    centres: Tensor

    def __init__(self, dim: int = 64, layers: int = 3, neighbours: int = 12) -> None:
        super().__init__()
        self.dim, self.neighbours = dim, neighbours
        self.embedding = nn.Embedding(N_ELEMENTS, dim)
        self.register_buffer("centres", torch.arange(0.0, 8.0 + STEP / 2, STEP), persistent=False)
        self.layers = nn.ModuleList([Convolution(dim, len(self.centres)) for _ in range(layers)])

    def forward(self, batch: StructureBatch, hidden: Tensor | None = None) -> Tensor:
        """Tokens `[atoms, dim]`; `hidden` (`[atoms]`, bool) marks atoms whose element is not shown."""
        numbers = batch.numbers if hidden is None else batch.numbers.masked_fill(hidden, 0)
        edges = nearest_edges(batch, self.neighbours)
        pair = batch.pair_of[edges]
        i, j = batch.pair_i[pair], batch.pair_j[pair]
        u = torch.exp(-((batch.distance[edges, None] - self.centres) ** 2) / STEP**2)
        v = self.embedding(numbers)
        for layer in self.layers:
            v = layer(v, i, j, u)
        return v

    def calibrate(self, batch: StructureBatch) -> None:
        """Nothing is fixed by the first batch."""
