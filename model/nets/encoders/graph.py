"""What the graph networks share: the graph of nearest neighbours and normalisation over a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from features.views.structures import SAME_SHELL
from model.input.batch import StructureBatch


def begins(sorted_index: Tensor, groups: int) -> Tensor:
    """`[groups + 1]`, where each group's members begin in a sorted list of the groups that they are in, and its end.

    A search, since to count them would have a GPU's host wait for the largest group.
    """
    return torch.searchsorted(sorted_index, torch.arange(groups + 1, device=sorted_index.device))


def nearest_edges(batch: StructureBatch, neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    """i, j and vectors of each orbit's nearest images, the last shell whole. The batch has them sorted by distance."""
    near = batch.neighbours
    start = begins(near.i, len(batch.first))
    counts = start.diff()
    distance = near.vector.norm(dim=-1)
    last = start[:-1] + counts.clamp(max=neighbours) - 1
    reach = torch.where(counts > 0, distance[last.clamp(0, max(0, len(distance) - 1))], 0.0) if len(distance) \
        else distance.new_zeros(len(counts))
    keep = (distance <= reach[near.i] + SAME_SHELL).nonzero().squeeze(1)
    return near.i[keep], near.j[keep], near.vector[keep]


def normalise(layer: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch normalisation; a batch of one row has no statistics of its own and takes the running ones."""
    if len(x) > 1 or not layer.training:
        result: Tensor = layer(x)
        return result
    return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)
