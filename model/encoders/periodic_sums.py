"""Sums over the periodic images of a pair of atoms, as CrystalFormer needs them, compiled for the CPU.

For each pair p and head h, with σ⁻² = `inverse_variance[p, h]`, r the distances of its images, r₀ that of the nearest:

    log Z[p, h]     = log Σ_n w_n,                 w_n = exp( −(r_n² − r₀²) σ⁻² / 2 )
    mean[p, h, k]   = Σ_n w_n b_k(r_n) / Z[p, h]

The weights w are never stored: the backward pass makes them again. Of the 64 Gaussians b_k only the `NEAR` nearest to
a distance differ from zero by more than 1e-14, so only these are summed. On other devices the sums are torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

NEAR = 16


@dataclass(frozen=True)
class Images:
    """Images of all pairs of a batch, sorted by pair: what does not depend on layer or head."""

    beyond: Tensor
    """`[edges]`, r² − r₀², Å²."""
    basis: Tensor
    """`[edges, NEAR]` (CPU) or `[edges, n_basis]`, b(r)."""
    first: Tensor
    """`[edges]`, index of the first of the `NEAR` Gaussians."""
    start: Tensor
    """`[pairs + 1]`, where each pair's edges begin."""
    pair_of: Tensor
    """`[edges]`."""
    n_basis: int


def prepare(distance: Tensor, nearest: Tensor, pair_of: Tensor, n_basis: int, width: float) -> Images:
    """Gaussians b_k(r) = exp( −(r − k·width)² / 2·width² ), k = 1 … n_basis, of all edges."""
    beyond = distance**2 - (nearest**2)[pair_of]
    counts = torch.bincount(pair_of, minlength=len(nearest))
    start = torch.cat([counts.new_zeros(1), torch.cumsum(counts, 0)])
    first = distance.new_zeros(len(distance), dtype=torch.int64)
    offsets = torch.arange(n_basis, device=distance.device)
    if distance.device.type == "cpu":
        first = (torch.floor(distance / width).long() - NEAR // 2).clamp(0, n_basis - NEAR)
        offsets = torch.arange(NEAR)
    centres = (first[:, None] + offsets + 1).to(distance.dtype) * width
    basis = torch.exp(-((distance[:, None] - centres) ** 2) / (2 * width**2))
    return Images(beyond, basis, first, start, pair_of, n_basis)


def periodic_sums(inverse_variance: Tensor, images: Images) -> tuple[Tensor, Tensor]:
    """log Z `[pairs, heads]` and mean Gaussians `[pairs, heads, n_basis]`."""
    if inverse_variance.device.type == "cpu":
        log_z, mean = _Compiled.apply(inverse_variance, images)
        return log_z, mean
    weight = torch.exp(-0.5 * images.beyond[:, None] * inverse_variance[images.pair_of])
    z = torch.zeros_like(inverse_variance).index_add_(0, images.pair_of, weight)
    sums = weight.new_zeros(*inverse_variance.shape, images.n_basis)
    sums = sums.index_add(0, images.pair_of, weight[..., None] * images.basis[:, None])
    return torch.log(z), sums / z[..., None]


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inverse_variance: Tensor, images: Images) -> tuple[Tensor, Tensor]:
        log_z = torch.empty_like(inverse_variance)
        mean = inverse_variance.new_zeros(*inverse_variance.shape, images.n_basis)
        _run(_forward, inverse_variance, images, log_z, mean)
        ctx.images = images
        ctx.save_for_backward(inverse_variance, log_z, mean)
        return log_z, mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        inverse_variance, log_z, mean = ctx.saved_tensors
        out = torch.empty_like(inverse_variance)
        grad_log_z, grad_mean = (gradient.contiguous() for gradient in gradients)
        along = grad_log_z - (grad_mean * mean).sum(-1)
        _run(_backward, inverse_variance, ctx.images, log_z, grad_mean, along, out)
        return out, None


def _run(kernel: Callable[..., None], inverse_variance: Tensor, images: Images, *arrays: Tensor) -> None:
    given = (inverse_variance.detach().contiguous(), images.beyond, images.basis, images.first, images.start)
    kernel(*(tensor.detach().numpy() for tensor in (*given, *arrays)))


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _forward(inverse_variance: Any, beyond: Any, basis: Any, first: Any, start: Any, log_z: Any, mean: Any) -> None:
    pairs, heads = inverse_variance.shape
    for p in numba.prange(pairs):
        for h in range(heads):
            rate = inverse_variance.dtype.type(-0.5) * inverse_variance[p, h]
            z = inverse_variance.dtype.type(0)
            row = mean[p, h]
            for e in range(start[p], start[p + 1]):
                w = np.exp(rate * beyond[e])
                z += w
                k0 = first[e]
                for k in range(NEAR):
                    row[k0 + k] += w * basis[e, k]
            log_z[p, h] = np.log(z)
            for k in range(row.shape[0]):
                row[k] /= z


@numba.njit(cache=True, parallel=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _backward(inverse_variance: Any, beyond: Any, basis: Any, first: Any, start: Any, log_z: Any, grad_mean: Any,
              along: Any, out: Any) -> None:
    """d log Z = Σ (w/Z)·(−(r² − r₀²)/2) dσ⁻², and d mean_k the same sum over (w/Z)·(b_k − mean_k)."""
    pairs, heads = inverse_variance.shape
    half = inverse_variance.dtype.type(-0.5)
    for p in numba.prange(pairs):
        for h in range(heads):
            total = inverse_variance.dtype.type(0)
            row = grad_mean[p, h]
            for e in range(start[p], start[p + 1]):
                k0 = first[e]
                dot = along[p, h]
                for k in range(NEAR):
                    dot += row[k0 + k] * basis[e, k]
                total += half * beyond[e] * np.exp(half * inverse_variance[p, h] * beyond[e] - log_z[p, h]) * dot
            out[p, h] = total
