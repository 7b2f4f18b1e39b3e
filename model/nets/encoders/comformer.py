"""iComFormer: an invariant transformer over the crystal multigraph (Yan et al., ICLR 2024).

For edge e = j → i of length r, with the lattice vectors a that make a crystal's representation complete:

    e_ji  ← softplus( W · RBF( −0.75/r ) ),    θ_ea = RBF( |cos ∠(e, a)| )

node-wise attention, over the neighbours of i:

    k = ξ_K( W_K f_i | W_K f_j | W_E e_ji ),    α = ( W_Q f_i ) ∘ k / √d
    m = σ( BN α ) ∘ ξ_V( W_V f_i | W_V f_j | W_E e_ji ),    f_i ← softplus( f_i + BN Σ_j ξ_msg m )

edge-wise attention, once, after the first layer, over the lattice vectors:

    k = ξ_K( W_K e_ji | W_L e_a | W_θ θ_ea ),   α = ( W_Q e_ji ) ∘ k / √d
    m = σ( BN α ) ∘ ξ_V( W_V e_ji | W_LV e_a | W_θ θ_ea ),   e_ji ← softplus( e_ji + BN Σ_a ξ_msg m )

with ξ small feed-forward nets and e_a embedded as an edge of the length of a.

It differs from the paper, and from its authors' code, in this. The paper takes three shortest lattice vectors, but in a
cubic or hexagonal lattice, and in their signs always, three can be chosen in several ways, and the network's answer
depends on which. Here the sum runs over all that can be chosen, each with the share of the choices that hold it
(`features/views/structures.py`), and over angles up to sign, so that no answer depends on how the crystal is written.
Mirror images get the same tokens.
For the same reason all lattice vectors share W_L, W_LV, where the authors have a map for the first, second and third.
Elements come in by a learned vector, lengths and angles by fewer Gaussians than theirs, and rows are orbits of atoms
that symmetry makes alike, each of which counts once in the statistics of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from model.input.batch import NEIGHBOURS, StructureBatch
from model.nets.element_embedding import ElementEmbedding
from model.nets.encoders.graph import begins, nearest_edges, normalise

LENGTHS, ANGLES = 128, 32  # Gaussians
SCALE = 0.75  # Å; lengths come in as −SCALE/r


class Gaussians(nn.Module):
    """exp( −γ (x − c)² ) with centres c evenly from low to high and γ = 1/spacing, as the published networks do."""

    centres: Tensor

    def __init__(self, low: float, high: float, count: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(low, high, count), persistent=False)
        self.gamma = (count - 1) / (high - low)

    def forward(self, x: Tensor) -> Tensor:
        """`[n]` in, `[n, count]` out."""
        return torch.exp(-self.gamma * (x[:, None] - self.centres) ** 2)


class Mix(nn.Sequential):
    """ξ( a | b | c ): linear, SiLU, linear."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(3 * dim, dim), nn.SiLU(), nn.Linear(dim, dim))


def key_and_value(mixes: tuple[Mix, Mix], a: tuple[Tensor, Tensor], a_of: Tensor, b: tuple[Tensor, Tensor],
                  b_of: Tensor, c: Tensor, made: nn.Module, through: nn.Linear) -> tuple[Tensor, Tensor]:
    """ξ( a[a_of] | b[b_of] | through(made(c)) ) of key and value, `[n, dim]` each; only `c` has a row for each of n.

    Products with `a` and `b` are taken before their rows are repeated, and `through` and ξ's first map are one matrix.
    """
    firsts: list[nn.Linear] = [mix[0] for mix in mixes]  # type: ignore[misc]
    for_a, for_b, for_c = zip(*(first.weight.chunk(3, dim=1) for first in firsts), strict=True)
    weight = torch.cat(for_c) @ through.weight
    bias = torch.cat(for_c) @ through.bias + torch.cat([first.bias for first in firsts])
    x = computed_again(lambda c: F.linear(made(c), weight, bias), c)
    for rows, row_of, matrices in ((a, a_of, for_a), (b, b_of, for_b)):
        x += torch.cat([F.linear(one, matrix) for one, matrix in zip(rows, matrices, strict=True)], dim=1)[row_of]
    key, value = computed_again(lambda x: tuple(
        mix[2](F.silu(half)) for mix, half in zip(mixes, x.chunk(2, dim=1), strict=True)), x)
    return key, value


def computed_again(function: Callable[..., Any], *given: Tensor) -> Any:
    """The function's value. What is made on the way there is not kept for the gradients but computed again: here
    gathers and functions of single numbers, of which a row of 25 neighbours has many, and no product of matrices.
    """
    return checkpoint(function, *given, use_reentrant=False, preserve_rng_state=False)


class NodeAttention(nn.Module):
    """An atom hears from its neighbours."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.edge = nn.Linear(dim, dim)
        self.mix_key, self.mix_value, self.message = Mix(dim), Mix(dim), nn.Linear(dim, dim)
        self.normalise_score, self.normalise_sum = nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)

    def forward(self, f: Tensor, i: Tensor, j: Tensor, e: Tensor, degree: Tensor) -> Tensor:
        """`[orbits, dim]` in and out; `i`, `j` (`[edges]`) and `e` (`[edges, dim]`) are the graph, `degree`
        (`[orbits]`) the number of edges of each orbit.
        """
        q, both = self.query(f) / math.sqrt(f.shape[1]), (self.key(f), self.value(f))
        key, value = key_and_value((self.mix_key, self.mix_value), both, i, both, j, e, nn.Identity(), self.edge)
        score = computed_again(lambda q, key: q[i] * key, q, key)
        gate = torch.sigmoid(normalise(self.normalise_score, score))
        # ξ_msg is linear, so that its sum is that of the sum, but for the constant; sums keep the precision of f
        total = computed_again(lambda gate, value: torch.zeros_like(f).index_add(0, i, (gate * value).to(f.dtype)),
                               gate, value)
        total = F.linear(total, self.message.weight) + degree[:, None].to(total.dtype) * self.message.bias
        return F.softplus(f + normalise(self.normalise_sum, total))


class EdgeAttention(nn.Module):
    """An edge hears from the lattice vectors, by their lengths and angles."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.axis_key, self.axis_value, self.angle = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.mix_key, self.mix_value, self.message = Mix(dim), Mix(dim), nn.Linear(dim, dim)
        self.normalise_score, self.normalise_sum = nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)

    def forward(self, e: Tensor, edge: Tensor, axis: Tensor, lattice: Tensor, cosine: Tensor, angles: nn.Module,
                share: Tensor) -> Tensor:
        """New edges.

        Args:
            e: `[edges, dim]`.
            edge: `[meetings]`, an edge for each meeting of an edge and a lattice vector.
            axis: `[meetings]`, the lattice vector.
            lattice: `[axes, dim]`, lattice vectors embedded by their lengths.
            cosine: `[meetings]`, of their angle, without its sign.
            angles: makes `[meetings, dim]` of it.
            share: `[meetings]`, weights that sum to 3 for each edge.
        """
        q = self.query(e) / math.sqrt(e.shape[1])
        key, value = key_and_value((self.mix_key, self.mix_value), (self.key(e), self.value(e)), edge,
                                   (self.axis_key(lattice), self.axis_value(lattice)), axis, cosine, angles, self.angle)
        score = computed_again(lambda q, key: q[edge] * key, q, key)
        gate = torch.sigmoid(normalise(self.normalise_score, score))
        total = computed_again(lambda gate, value: share.new_zeros(e.shape).index_add(
            0, edge, share[:, None] * (gate * value)), gate, value)
        total = F.linear(total, self.message.weight, 3 * self.message.bias)  # the shares of an edge sum to 3
        return F.softplus(e + normalise(self.normalise_sum, total))


class Comformer(nn.Module):
    """Embedding of the element, attention over neighbours, and one update of the edges: one token per atom."""

    reads = NEIGHBOURS

    def __init__(self, dim: int = 128, layers: int = 4, neighbours: int = 25, properties: bool = False) -> None:
        super().__init__()
        self.dim, self.neighbours = dim, neighbours
        self.embedding = ElementEmbedding(dim, 1.0, properties)
        self.length = nn.Sequential(Gaussians(-4.0, 0.0, LENGTHS), nn.Linear(LENGTHS, dim), nn.Softplus())
        self.angle = nn.Sequential(Gaussians(0.0, 1.0, ANGLES), nn.Linear(ANGLES, dim), nn.Softplus())
        self.layers = nn.ModuleList([NodeAttention(dim) for _ in range(layers)])
        self.edge_update = EdgeAttention(dim)

    def forward(self, batch: StructureBatch, hidden: Tensor | None = None) -> Tensor:
        """Tokens `[atoms, dim]`; `hidden` (`[atoms]`, bool) marks atoms whose element is not shown."""
        i, j, vector = nearest_edges(batch, self.neighbours)
        e = self.length(-SCALE / vector.norm(dim=-1))
        f = self.embedding(batch.elements(hidden))
        degree = begins(i, len(f)).diff()
        for number, layer in enumerate(self.layers):
            f = layer(f, i, j, e, degree)
            if number == 0:
                e = self._with_angles(batch, i, vector, e)
        return f[batch.orbit]

    def _with_angles(self, batch: StructureBatch, i: Tensor, vector: Tensor, e: Tensor) -> Tensor:
        near = batch.neighbours
        crystal = batch.crystal[batch.first][i]
        axes_of = near.n_axes[crystal]
        edge = torch.repeat_interleave(axes_of)
        first = torch.cumsum(near.n_axes, 0) - near.n_axes
        begin = torch.cumsum(axes_of, 0) - axes_of
        axis = torch.arange(len(edge), device=edge.device) - begin[edge] + first[crystal][edge]
        lengths = near.axis.norm(dim=-1)
        cosine = (vector[edge] * near.axis[axis]).sum(-1) / (vector.norm(dim=-1)[edge] * lengths[axis])
        lattice = self.length(-SCALE / lengths)
        result: Tensor = self.edge_update(e, edge, axis, lattice, cosine.abs(), self.angle, near.axis_weight[axis])
        return result

    def calibrate(self, batch: StructureBatch) -> None:
        """Nothing is fixed by the first batch."""
