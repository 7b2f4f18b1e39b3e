"""Attention over all periodic images of all atoms, CrystalFormer's inner loop, compiled for the CPU.

For atom i, head h, with σ⁻² = `inverse_variance[i, h]`, over the pairs p = (i, j) with images at distances r_n, the
nearest at r₀:

    Z_p       = Σ_n w_n,   w_n = exp( −(r_n² − r₀²) σ⁻² / 2 )
    a_p       = softmax_p( q_i·k_j/√d + log Z_p − r₀² σ⁻² / 2 )
    mixed_i   = Σ_p a_p v_j
    basis_i,k = Σ_p a_p Σ_n w_n b_k(r_n) / Z_p

which is eq. 4 to 6 of the paper with the matrix W_E drawn out of the sum over pairs: Σ_p a_p β_p = W_E · basis_i.
The weights w are all that is stored of the size of edges × heads, and nothing is of that size times basis functions. Of
the 64 Gaussians b_k only the `NEAR` nearest to a distance differ from zero by more than 1e-14, so only these
are summed. Each atom's sums run in the order of its edges, whatever the number of threads. On other devices the same
formulas run as torch operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from model.data import StructureBatch

NEAR = 16
NEAR_UNSIGNED = np.uint64(NEAR)


@dataclass(frozen=True)
class Images:
    """Images of all pairs of a batch: what does not depend on layer or head."""

    batch: StructureBatch
    beyond: Tensor
    """`[edges]`, r² − r₀², Å²."""
    basis: Tensor
    """b(r): `[edges, NEAR]`, from `first` on (compiled), or `[edges, n_basis]`."""
    first: Tensor
    """`[edges]`, index of the first Gaussian in `basis`."""
    edge_start: Tensor
    """`[pairs + 1]`, where each pair's edges begin."""
    pair_start: Tensor
    """`[atoms + 1]`, where each atom's pairs begin."""
    atom_start: Tensor
    """`[crystals + 1]`, where each crystal's atoms begin."""
    n_basis: int
    compiled: bool


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), torch.cumsum(counts, 0)])


def prepare(batch: StructureBatch, n_basis: int, width: float, compiled: bool | None = None) -> Images:
    """Gaussians b_k(r) = exp( −(r − k·width)² / 2·width² ), k = 1 … n_basis, of all edges."""
    distance = batch.distance
    compiled = distance.device.type == "cpu" if compiled is None else compiled
    near = NEAR if compiled else n_basis
    first = (torch.floor(distance / width).long() - near // 2).clamp(0, n_basis - near)
    centres = (first[:, None] + torch.arange(1, near + 1, device=distance.device)).to(distance.dtype) * width
    return Images(
        batch,
        beyond=distance**2 - (batch.nearest**2)[batch.pair_of],
        basis=torch.exp(-((distance[:, None] - centres) ** 2) / (2 * width**2)),
        first=first,
        edge_start=_starts(torch.bincount(batch.pair_of, minlength=len(batch.nearest))),
        pair_start=_starts(torch.bincount(batch.pair_i, minlength=len(batch.numbers))),
        atom_start=_starts(batch.n_atoms),
        n_basis=n_basis,
        compiled=compiled,
    )


def periodic_attention(q: Tensor, k: Tensor, v: Tensor, inverse_variance: Tensor,
                       images: Images) -> tuple[Tensor, Tensor]:
    """`mixed` `[atoms, heads, d]` and `basis` `[atoms, heads, n_basis]`, see above.

    Args:
        q, k, v: `[atoms, heads, d]`.
        inverse_variance: `[atoms, heads]`, Å⁻².
        images: of the same batch.
    """
    if images.compiled:
        mixed, basis = _Compiled.apply(q, k, v, inverse_variance, images)
        return mixed, basis
    return _with_torch(q, k, v, inverse_variance, images)


def _with_torch(q: Tensor, k: Tensor, v: Tensor, inverse_variance: Tensor, images: Images) -> tuple[Tensor, Tensor]:
    batch, atoms = images.batch, len(q)
    rate = inverse_variance[batch.pair_i]
    weight = torch.exp(-0.5 * images.beyond[:, None] * rate[batch.pair_of])
    z = torch.zeros_like(rate).index_add(0, batch.pair_of, weight)
    score = (q[batch.pair_i] * k[batch.pair_j]).sum(-1) / math.sqrt(q.shape[-1])
    score = score + torch.log(z) - 0.5 * (batch.nearest**2)[:, None] * rate
    attention = _segment_softmax(score, batch.pair_i, atoms)
    mixed = torch.zeros_like(q).index_add(0, batch.pair_i, attention[..., None] * v[batch.pair_j])
    share = weight * (attention / z)[batch.pair_of]
    owner = batch.pair_i[batch.pair_of]
    basis = q.new_zeros(atoms, q.shape[1], images.n_basis)
    return mixed, basis.index_add(0, owner, share[..., None] * images.basis[:, None])


def _segment_softmax(score: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Softmax of `[n, heads]` within each segment."""
    index = segment[:, None].expand_as(score)
    highest = score.new_full((segments, score.shape[1]), -torch.inf).scatter_reduce(0, index, score.detach(), "amax")
    weight = torch.exp(score - highest[segment])
    total = score.new_zeros(segments, score.shape[1]).index_add(0, segment, weight)
    return weight / total[segment]


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, inverse_variance: Tensor,
                images: Images) -> tuple[Tensor, Tensor]:
        given = [tensor.detach().contiguous() for tensor in (q, k, v, inverse_variance)]
        pairs, heads = len(images.batch.nearest), q.shape[1]
        z, attention = q.new_empty(pairs, heads), q.new_empty(pairs, heads)
        mixed, basis = torch.zeros_like(given[0]), q.new_zeros(len(q), heads, images.n_basis)
        owner = images.batch.pair_i[images.batch.pair_of]
        # torch's exponentials are vectorised, a compiler's are not
        weight = given[3].mul(-0.5).index_select(0, owner).mul_(images.beyond[:, None]).exp_()
        _forward(*_arrays(*given, weight, *_of(images), z, attention, mixed, basis))
        ctx.images = images
        ctx.save_for_backward(*given, weight, z, attention)
        return mixed, basis

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *given, weight, z, attention = ctx.saved_tensors
        out = [torch.zeros_like(tensor) for tensor in given]
        arrays = _arrays(ctx.images.atom_start, ctx.images.beyond, *given[:3], weight, *_of(ctx.images), z, attention,
                         *(g.contiguous() for g in gradients), *out)
        with numba.parallel_chunksize(1):  # crystals differ in size
            _backward(*arrays)
        return (*out, None)


def _of(images: Images) -> tuple[Tensor, ...]:
    return (images.batch.pair_j, images.batch.nearest, images.basis, images.first, images.edge_start, images.pair_start)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _forward(q: Any, k: Any, v: Any, inverse_variance: Any, weight: Any, pair_j: Any, nearest: Any, gaussians: Any,
             first: Any, edge_start: Any, pair_start: Any, z: Any, attention: Any, mixed: Any, basis: Any) -> None:
    """One atom a thread. Heads are the inner loop: each is a sum of its own, which keeps the processor busy."""
    atoms, heads, d = q.shape
    real = q.dtype.type
    scale = real(1.0 / math.sqrt(d))
    for i in numba.prange(atoms):
        highest, norm = np.full(heads, -np.inf, q.dtype), np.zeros(heads, q.dtype)
        sums, share = np.zeros((heads, basis.shape[2]), q.dtype), np.empty(heads, q.dtype)
        for p in range(pair_start[i], pair_start[i + 1]):
            total = np.zeros(heads, q.dtype)
            for e in range(edge_start[p], edge_start[p + 1]):
                for h in range(heads):
                    total[h] += weight[e, h]
            r = nearest[p]
            for h in range(heads):
                score = real(0)
                for c in range(d):
                    score += q[i, h, c] * k[pair_j[p], h, c]
                z[p, h] = total[h]
                attention[p, h] = score * scale + np.log(total[h]) - real(0.5) * r * r * inverse_variance[i, h]
                highest[h] = max(highest[h], attention[p, h])
        for p in range(pair_start[i], pair_start[i + 1]):
            for h in range(heads):
                attention[p, h] = np.exp(attention[p, h] - highest[h])
                norm[h] += attention[p, h]
        for p in range(pair_start[i], pair_start[i + 1]):
            for h in range(heads):
                attention[p, h] /= norm[h]
                share[h] = attention[p, h] / z[p, h]
                for c in range(d):
                    mixed[i, h, c] += attention[p, h] * v[pair_j[p], h, c]
            for e in range(edge_start[p], edge_start[p + 1]):
                k0 = np.uint64(first[e])  # unsigned: no check for negative indices, so that the loop is vectorised
                for h in range(heads):
                    w = share[h] * weight[e, h]
                    for n in range(NEAR_UNSIGNED):
                        sums[h, k0 + n] += w * gaussians[e, n]
        basis[i] = sums


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _backward(atom_start: Any, beyond: Any, q: Any, k: Any, v: Any, weight: Any, pair_j: Any, nearest: Any,
              gaussians: Any, first: Any, edge_start: Any, pair_start: Any, z: Any, attention: Any, d_mixed: Any,
              d_basis: Any, d_q: Any, d_k: Any, d_v: Any, d_inverse_variance: Any) -> None:
    """One crystal a thread: its atoms write into each other's gradients.

    With g_n = b(r_n)·∂basis, x = r² − r₀² and ⟨·⟩ the mean over a pair's images with weights w/Z: ∂a = v_j·∂mixed +
    ⟨g⟩, and since ∂w/∂σ⁻² = −w x/2, each pair adds −½( ∂s (⟨x⟩ + r₀²) + a (⟨x g⟩ − ⟨x⟩⟨g⟩) ) to ∂σ⁻², with s its score.
    """
    heads, d = q.shape[1:]
    real = q.dtype.type
    scale = real(1.0 / math.sqrt(d))
    for crystal in numba.prange(len(atom_start) - 1):
        for i in range(atom_start[crystal], atom_start[crystal + 1]):
            begin, end = pair_start[i], pair_start[i + 1]
            change, spread = np.empty((end - begin, heads), q.dtype), np.empty((end - begin, heads), q.dtype)
            mean_change, d_rate = np.zeros(heads, q.dtype), np.zeros(heads, q.dtype)
            rows = d_basis[i]
            for p in range(begin, end):
                j = pair_j[p]
                means = np.zeros((3, heads), q.dtype)  # ⟨g⟩, ⟨x⟩, ⟨x g⟩
                for e in range(edge_start[p], edge_start[p + 1]):
                    k0 = np.uint64(first[e])
                    for h in range(heads):
                        g = real(0)
                        for n in range(NEAR_UNSIGNED):
                            g += rows[h, k0 + n] * gaussians[e, n]
                        means[0, h] += weight[e, h] * g
                        means[1, h] += weight[e, h] * beyond[e]
                        means[2, h] += weight[e, h] * beyond[e] * g
                for h in range(heads):
                    a = attention[p, h]
                    mean_g, mean_x = means[0, h] / z[p, h], means[1, h] / z[p, h]
                    along = mean_g
                    for c in range(d):
                        along += v[j, h, c] * d_mixed[i, h, c]
                        d_v[j, h, c] += a * d_mixed[i, h, c]
                    change[p - begin, h], spread[p - begin, h] = along, mean_x + nearest[p] * nearest[p]
                    mean_change[h] += a * along
                    d_rate[h] += a * (means[2, h] / z[p, h] - mean_x * mean_g)
            for p in range(begin, end):
                j = pair_j[p]
                for h in range(heads):
                    d_score = attention[p, h] * (change[p - begin, h] - mean_change[h])
                    d_rate[h] += d_score * spread[p - begin, h]
                    for c in range(d):
                        d_q[i, h, c] += d_score * scale * k[j, h, c]
                        d_k[j, h, c] += d_score * scale * q[i, h, c]
            for h in range(heads):
                d_inverse_variance[i, h] = real(-0.5) * d_rate[h]
