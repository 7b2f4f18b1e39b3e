"""What a step of iComFormer keeps for its gradients; what it computes is tested with the other encoders."""

from typing import Any

import torch
from torch import Tensor

from features import crystal
from model.nets.encoders.comformer import Comformer
from model.nets.encoders.graph import nearest_edges
from tests.model.nets.batches import atom_by_atom


def test_of_each_edge_and_layer_few_rows_are_kept(structures: dict[str, Any]) -> None:
    """Key and value before and after their nets are four, score and gate two, and the edges are there once: nine in
    all. Written down plainly, without `computed_again`, there are fifteen.
    """
    batch = atom_by_atom([crystal.canonical_structure(structures[i]) for i in ("mp-20928", "mp-2700", "mp-5229")])
    net = Comformer(dim=64, layers=4).double()
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(batch)
    i, _, _ = nearest_edges(batch, net.neighbours)
    meetings = int(batch.neighbours.n_axes[batch.crystal[batch.first][i]].sum())
    rows = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / (8 * net.dim)
    assert rows / (4 * len(i) + meetings) < 10
