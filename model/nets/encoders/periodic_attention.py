"""Attention over all periodic images of all atoms, CrystalFormer's inner loop, compiled for the CPU.

Rows are orbits: atoms that symmetry makes alike share their queries, keys and values, so the images of all of them
stand in one sum, and nothing else of the formulas changes. For orbit i, head h, with σ⁻² = `inverse_variance[i, h]`,
over the pairs p = (i, j) with c_n images at each of the distances r_n, the nearest at r₀:

    Z_p       = Σ_n w_n,   w_n = c_n exp( −(r_n² − r₀²) σ⁻² / 2 )
    a_p       = softmax_p( q_i·k_j/√d + log Z_p − r₀² σ⁻² / 2 )
    mixed_i   = Σ_p a_p v_j
    basis_i,k = Σ_p a_p Σ_n w_n b_k(r_n) / Z_p

which is eq. 4 to 6 of the paper with the matrix W_E drawn out of the sum over pairs: Σ_p a_p β_p = W_E · basis_i.
The weights w are all that is stored of the size of edges × heads, and nothing is of that size times basis functions.
Compiled, of the 64 Gaussians b_k only the `NEAR` nearest to a distance differ from zero by more than 1e-14, so only
these are summed. Each orbit's sums run in the order of its edges, whatever the number of threads. On other devices the
same formulas run as torch operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.input.batch import PairImages, StructureBatch
from model.nets.encoders.graph import begins

NEAR = 16
NEAR_UNSIGNED = np.uint64(NEAR)


@dataclass(frozen=True)
class Images:
    """Images of all pairs of a batch: what does not depend on layer or head."""

    pairs: PairImages
    beyond: Tensor
    """`[edges]`, r² − r₀², Å²."""
    basis: Tensor
    """b(r): `[edges, NEAR]`, from `first` on (compiled), or `[edges, n_basis]`."""
    first: Tensor
    """`[edges]`, index of the first Gaussian in `basis`."""
    edge_start: Tensor
    """`[pairs + 1]`, where each pair's edges begin."""
    pair_start: Tensor
    """`[orbits + 1]`, where each orbit's pairs begin."""
    orbit_start: Tensor
    """`[crystals + 1]`, where each crystal's orbits begin."""
    n_basis: int
    compiled: bool


def prepare(batch: StructureBatch, n_basis: int, width: float, compiled: bool | None = None) -> Images:
    """Gaussians b_k(r) = exp( −(r − k·width)² / 2·width² ), k = 1 … n_basis, of all edges."""
    pairs = batch.images
    distance = pairs.distance
    compiled = distance.device.type == "cpu" if compiled is None else compiled
    near = NEAR if compiled else n_basis
    first = (torch.floor(distance / width).long() - near // 2).clamp(0, n_basis - near)
    centres = (first[:, None] + torch.arange(1, near + 1, device=distance.device)).to(distance.dtype) * width
    return Images(
        pairs,
        beyond=distance**2 - (pairs.nearest**2)[pairs.pair_of],
        basis=torch.exp(-((distance[:, None] - centres) ** 2) / (2 * width**2)),
        first=first,
        edge_start=begins(pairs.pair_of, len(pairs.nearest)),
        pair_start=begins(pairs.pair_i, len(batch.first)),
        orbit_start=F.pad(torch.cumsum(batch.n_orbits, 0), (1, 0)),
        n_basis=n_basis,
        compiled=compiled,
    )


def periodic_attention(q: Tensor, k: Tensor, v: Tensor, inverse_variance: Tensor,
                       images: Images) -> tuple[Tensor, Tensor]:
    """`mixed` `[orbits, heads, d]` and `basis` `[orbits, heads, n_basis]`, see above.

    Args:
        q, k, v: `[orbits, heads, d]`.
        inverse_variance: `[orbits, heads]`, Å⁻².
        images: of the same batch; their precision is that of the sums, whatever that of q, k and v.
    """
    q, k, v, inverse_variance = (x.to(images.basis.dtype) for x in (q, k, v, inverse_variance))
    if images.compiled:
        mixed, basis = _Compiled.apply(q, k, v, inverse_variance, images)
        return mixed, basis
    return _with_torch(q, k, v, inverse_variance, images)


def _with_torch(q: Tensor, k: Tensor, v: Tensor, inverse_variance: Tensor, images: Images) -> tuple[Tensor, Tensor]:
    pairs, orbits = images.pairs, len(q)
    rate = inverse_variance[pairs.pair_i]
    weight = torch.exp(-0.5 * images.beyond[:, None] * rate[pairs.pair_of]) * pairs.count[:, None]
    z = torch.zeros_like(rate).index_add(0, pairs.pair_of, weight)
    score = (q[pairs.pair_i] * k[pairs.pair_j]).sum(-1) / math.sqrt(q.shape[-1])
    score = score + torch.log(z) - 0.5 * (pairs.nearest**2)[:, None] * rate
    attention = _segment_softmax(score, pairs.pair_i, orbits)
    mixed = torch.zeros_like(q).index_add(0, pairs.pair_i, attention[..., None] * v[pairs.pair_j])
    share = weight * (attention / z)[pairs.pair_of]
    owner = pairs.pair_i[pairs.pair_of]
    nothing = q.new_zeros(orbits, images.n_basis)
    # one head at a time: all of them at once would be edges × heads × basis functions
    return mixed, torch.stack([nothing.index_add(0, owner, one[:, None] * images.basis) for one in share.unbind(1)], 1)


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
        _same_threads()
        pairs, heads = images.pairs, q.shape[1]
        z, attention = q.new_empty(len(pairs.nearest), heads), q.new_empty(len(pairs.nearest), heads)
        mixed, basis = torch.zeros_like(given[0]), q.new_zeros(len(q), heads, images.n_basis)
        owner = pairs.pair_i[pairs.pair_of]
        # exponentials are torch's, since a compiler's are not vectorised
        weight = given[3].mul(-0.5).index_select(0, owner).mul_(images.beyond[:, None]).exp_()
        weight.mul_(pairs.count[:, None])
        _scores(*_arrays(given[0], given[1], given[3], weight, pairs.pair_j, pairs.nearest, images.edge_start,
                         images.pair_start, z, attention))
        attention.exp_()
        _sums(*_arrays(given[2], weight, pairs.pair_j, images.basis, images.first, images.edge_start,
                       images.pair_start, z, attention, mixed, basis))
        ctx.images = images
        ctx.save_for_backward(*given, weight, z, attention)
        return mixed, basis

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *given, weight, z, attention = ctx.saved_tensors
        out = [torch.zeros_like(tensor) for tensor in given]
        images = ctx.images
        _same_threads()
        arrays = _arrays(images.orbit_start, images.beyond, *given[:3], weight, images.pairs.pair_j,
                         images.pairs.nearest, images.basis, images.first, images.edge_start, images.pair_start, z,
                         attention, *(g.contiguous() for g in gradients), *out)
        with numba.parallel_chunksize(1):  # crystals differ in size
            _backward(*arrays)
        return (*out, None)


def _same_threads() -> None:
    """Give the compiled loops as many threads as torch has; starting them would otherwise change torch's number."""
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _scores(q: Any, k: Any, inverse_variance: Any, weight: Any, pair_j: Any, nearest: Any, edge_start: Any,
            pair_start: Any, z: Any, attention: Any) -> None:
    """Z, and the exponent of the attention without log Z (which multiplies later), less its maximum; an orbit a thread.

    Heads are the inner loop, here and below: each is a sum of its own, which keeps the processor busy.
    """
    orbits, heads, d = q.shape
    real = q.dtype.type
    scale = real(1.0 / math.sqrt(d))
    for i in numba.prange(orbits):
        highest, total = np.full(heads, -np.inf, q.dtype), np.empty(heads, q.dtype)
        for p in range(pair_start[i], pair_start[i + 1]):
            total[:] = 0
            for e in range(edge_start[p], edge_start[p + 1]):
                for h in range(heads):
                    total[h] += weight[e, h]
            half = real(0.5) * nearest[p] * nearest[p]
            for h in range(heads):
                score = real(0)
                for c in range(d):
                    score += q[i, h, c] * k[pair_j[p], h, c]
                z[p, h] = total[h]
                attention[p, h] = score * scale - half * inverse_variance[i, h]
                highest[h] = max(highest[h], attention[p, h])
        for p in range(pair_start[i], pair_start[i + 1]):
            for h in range(heads):
                attention[p, h] -= highest[h]


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _sums(v: Any, weight: Any, pair_j: Any, gaussians: Any, first: Any, edge_start: Any, pair_start: Any, z: Any,
          attention: Any, mixed: Any, basis: Any) -> None:
    """From exponentials to the attention itself, and its sums over pairs and images; an orbit a thread."""
    orbits, heads, d = v.shape
    for i in numba.prange(orbits):
        norm, share = np.zeros(heads, v.dtype), np.empty(heads, v.dtype)
        sums = np.zeros((heads, basis.shape[2]), v.dtype)
        for p in range(pair_start[i], pair_start[i + 1]):
            for h in range(heads):
                norm[h] += attention[p, h] * z[p, h]
        for p in range(pair_start[i], pair_start[i + 1]):
            for h in range(heads):
                share[h] = attention[p, h] / norm[h]
                attention[p, h] = share[h] * z[p, h]
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
def _backward(orbit_start: Any, beyond: Any, q: Any, k: Any, v: Any, weight: Any, pair_j: Any, nearest: Any,
              gaussians: Any, first: Any, edge_start: Any, pair_start: Any, z: Any, attention: Any, d_mixed: Any,
              d_basis: Any, d_q: Any, d_k: Any, d_v: Any, d_inverse_variance: Any) -> None:
    """One crystal a thread: its orbits write into each other's gradients.

    With g_n = b(r_n)·∂basis, x = r² − r₀² and ⟨·⟩ the mean over a pair's images with weights w/Z: ∂a = v_j·∂mixed +
    ⟨g⟩, and since ∂w/∂σ⁻² = −w x/2, each pair adds −½( ∂s (⟨x⟩ + r₀²) + a (⟨x g⟩ − ⟨x⟩⟨g⟩) ) to ∂σ⁻², with s its score.
    """
    heads, d = q.shape[1:]
    real = q.dtype.type
    scale = real(1.0 / math.sqrt(d))
    for crystal in numba.prange(len(orbit_start) - 1):
        for i in range(orbit_start[crystal], orbit_start[crystal + 1]):
            begin, end = pair_start[i], pair_start[i + 1]
            change, spread = np.empty((end - begin, heads), q.dtype), np.empty((end - begin, heads), q.dtype)
            mean_change, d_rate = np.zeros(heads, q.dtype), np.zeros(heads, q.dtype)
            rows = d_basis[i]
            means = np.empty((3, heads), q.dtype)  # ⟨g⟩, ⟨x⟩, ⟨x g⟩ of a pair
            for p in range(begin, end):
                j = pair_j[p]
                means[:] = 0
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
