"""CGCNN and iComFormer written down from their formulas, atom by atom: oracles and yardsticks.

Neighbours are found by going through all images, nothing is shared between atoms alike by symmetry, and the lattice
vectors of iComFormer are tried out in every choice. Shared with `model.encoders` are the weights alone. Batch
normalisation uses its running statistics.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.nets.encoders.cgcnn import Cgcnn
from model.nets.encoders.comformer import Comformer, EdgeAttention


@dataclass(frozen=True)
class Graph:
    """Crystals side by side."""

    numbers: Tensor
    """`[atoms]`."""
    i: Tensor
    j: Tensor
    vector: Tensor
    """`[edges, 3]`, Å."""
    triples: list[Tensor]
    """Per crystal `[choices, 3, 3]`: every choice of three shortest lattice vectors, Å."""
    crystal: Tensor
    """`[edges]`."""


def graph(crystals: list[tuple[Tensor, Tensor, Tensor]], neighbours: int, cutoff: float) -> Graph:
    """From numbers `[n]`, positions `[n, 3]` and lattices `[3, 3]` (Å); all neighbours as near as the last count."""
    i, j, vector, crystal, before = [], [], [], [], 0
    for number, (numbers, positions, lattice) in enumerate(crystals):
        far = torch.ceil(cutoff * torch.linalg.inv(lattice).norm(dim=0)).int().tolist()
        steps = torch.tensor(list(itertools.product(*(range(-f - 1, f + 2) for f in far))), dtype=lattice.dtype)
        for atom in range(len(numbers)):
            vectors = positions[None] + (steps @ lattice)[:, None] - positions[atom]
            r = vectors.norm(dim=-1)
            usable = (r > 1e-3) & (r < cutoff)
            last = torch.sort(r[usable]).values[:neighbours]
            keep = usable & (r <= (last[-1] if len(last) else 0.0) + 1e-3)
            other = keep.nonzero()[:, 1]
            i.append(torch.full_like(other, before + atom))
            j.append(before + other)
            vector.append(vectors[keep])
            crystal.append(torch.full_like(other, number))
        before += len(numbers)
    return Graph(torch.cat([c[0] for c in crystals]), torch.cat(i), torch.cat(j), torch.cat(vector),
                 [shortest(c[2]) for c in crystals], torch.cat(crystal))


def shortest(lattice: Tensor) -> Tensor:
    """`[choices, 3, 3]`: every set of three independent lattice vectors, up to sign, of the least lengths."""
    steps = [n for n in itertools.product(range(-3, 4), repeat=3) if n > (0, 0, 0)]
    vectors = torch.tensor(steps, dtype=lattice.dtype) @ lattice
    vectors = vectors[vectors.norm(dim=1).argsort()][:30]  # no lattice has more than seven of each ± in the shells
    choices = torch.stack([vectors[list(three)] for three in itertools.combinations(range(len(vectors)), 3)])
    choices = choices[torch.linalg.det(choices).abs() > 1e-4 * float(vectors[0].norm()) ** 3]
    lengths = choices.norm(dim=-1)
    for rank in range(3):
        keep = lengths[:, rank] <= lengths[:, rank].min() * (1 + 1e-3)
        choices, lengths = choices[keep], lengths[keep]
    return choices


def norm(layer: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """(x − mean)/√(variance + ε)·γ + β."""
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None
    assert variance is not None
    return (x - mean) / torch.sqrt(variance + layer.eps) * layer.weight + layer.bias


def cgcnn(net: Cgcnn, g: Graph) -> Tensor:
    """Tokens `[atoms, dim]`."""
    centres = torch.arange(41, dtype=g.vector.dtype) * 0.2
    u = torch.exp(-((g.vector.norm(dim=1)[:, None] - centres) ** 2) / 0.2**2)
    v = net.embedding(g.numbers)
    for layer in net.layers:
        z = torch.cat([v[g.i], v[g.j], u], dim=1) @ layer.linear.weight.T + layer.linear.bias  # type: ignore[union-attr]
        z = norm(layer.normalise, z)  # type: ignore[arg-type]
        half = z.shape[1] // 2
        messages = torch.sigmoid(z[:, :half]) * torch.log1p(torch.exp(z[:, half:]))
        total = torch.zeros_like(v).index_add(0, g.i, messages)
        v = nn.functional.softplus(v + norm(layer.normalise_sum, total))  # type: ignore[arg-type]
    return v


def comformer(net: Comformer, g: Graph, choices: int | None = None) -> Tensor:
    """Tokens `[atoms, dim]`; the mean over all choices of lattice vectors, or over the first few."""
    r = g.vector.norm(dim=1)
    e = net.length(-0.75 / r)
    f = net.embedding(g.numbers)
    for number, layer in enumerate(net.layers):
        q, k, v, w = layer.query(f), layer.key(f), layer.value(f), layer.edge(e)  # type: ignore[operator]
        alpha = q[g.i] * layer.mix_key(torch.cat([k[g.i], k[g.j], w], 1)) / math.sqrt(net.dim)  # type: ignore[operator]
        m = torch.sigmoid(norm(layer.normalise_score, alpha)) * layer.mix_value(  # type: ignore[operator, arg-type]
            torch.cat([v[g.i], v[g.j], w], 1))
        total = torch.zeros_like(f).index_add(0, g.i, layer.message(m))  # type: ignore[operator]
        f = nn.functional.softplus(f + norm(layer.normalise_sum, total))  # type: ignore[arg-type]
        if number == 0:
            e = with_angles(net, net.edge_update, e, g, choices)
    return f


def with_angles(net: Comformer, layer: EdgeAttention, e: Tensor, g: Graph, choices: int | None) -> Tensor:
    """Edges after they have heard from the three lattice vectors, in the mean over the choices."""
    most = max(len(triples) for triples in g.triples) if choices is None else choices
    total = torch.zeros_like(e)
    for choice in range(most):
        # a crystal with fewer choices takes each of its own with an equal share
        share = torch.tensor([1.0 / min(len(t), most) if choice < len(t) else 0.0 for t in g.triples]).to(e)
        axes = torch.stack([t[min(choice, len(t) - 1)] for t in g.triples])[g.crystal]
        for axis in axes.unbind(1):
            cosine = (g.vector * axis).sum(1) / (g.vector.norm(dim=1) * axis.norm(dim=1))
            angle = layer.angle(net.angle(cosine.abs()))
            lattice = net.length(-0.75 / axis.norm(dim=1))
            alpha = layer.query(e) * layer.mix_key(
                torch.cat([layer.key(e), layer.axis_key(lattice), angle], 1)) / math.sqrt(net.dim)
            m = torch.sigmoid(norm(layer.normalise_score, alpha)) * layer.mix_value(
                torch.cat([layer.value(e), layer.axis_value(lattice), angle], 1))
            total = total + share[g.crystal][:, None] * layer.message(m)
    return nn.functional.softplus(e + norm(layer.normalise_sum, total))
