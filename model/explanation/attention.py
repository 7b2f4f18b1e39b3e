"""Where the cross-attention of fused networks looks, by layer and head, and rolled out over the layers.

Attention is no explanation: it says what a layer reads, and not what the prediction would be without it. Rolled out
(Abnar & Zuidema, ACL 2020), each layer passes half of what it has on, the residual, and takes half from where it looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from model.explanation.game import Game
from model.explanation.texts import Reading, collate
from model.nets.fusion import CrossAttentionFusion, Tokens
from model.nets.network import MultimodalNet


@torch.no_grad()
def rows(game: Game, material_id: str, atoms: Sequence[Tokens], text: Reading) -> list[dict[str, Any]]:
    """Rows of `model.records.ATTENTION` for one crystal; none for a model without such networks."""
    batch = collate([text.pieces], game.trained.config.text_dim).to(game.trained.device)
    result = []
    fused = [(tokens, net) for kind, tokens, net in
             zip(game.trained.net.kinds, atoms, game.trained.net.networks(), strict=True)
             if kind == "fused" and isinstance(net, MultimodalNet) and isinstance(net.fusion, CrossAttentionFusion)]
    for network, (tokens, net) in enumerate(fused):
        layers, both = _layers(net, tokens, net.text_branch(batch))

        def row(layer: int | None, head: int | None, weights: Tensor, network: int = network) -> list[dict[str, Any]]:
            return [{"material_id": material_id, "network": network, "layer": layer, "head": head,
                     "sentence": sentence, "weight": float(weight)} for sentence, weight in enumerate(weights)]

        for layer, weights in enumerate(layers):
            for head, of_head in enumerate(weights):
                result += row(layer, head, of_head.mean(0))
        result += row(None, None, rolled_out([one.mean(0) for one in layers], [one.mean(0) for one in both]).mean(0))
    return result


def _layers(net: MultimodalNet, atoms: Tokens, words: Tokens) -> tuple[list[Tensor], list[Tensor]]:
    """Weights `[heads, atoms, sentences]` of each layer in which atoms ask, and `[heads, sentences, atoms]` of each in
    which the text does."""
    seen: list[list[Tensor]] = [[], []]
    fusion: CrossAttentionFusion = net.fusion  # type: ignore[assignment]
    hooks = [layer.register_forward_hook(lambda _m, _in, out, into=into: into.append(out[1][0]))
             for into, layers in zip(seen, (fusion.atoms_ask, fusion.text_asks), strict=True)
             for layer in layers]
    try:
        net.fuse(atoms, words)
    finally:
        for hook in hooks:
            hook.remove()
    return seen[0], seen[1]


def rolled_out(atoms_ask: Sequence[Tensor], text_asks: Sequence[Tensor]) -> Tensor:
    """`[atoms, sentences]`: how much of each sentence as it was read has reached each atom.

    Args:
        atoms_ask: `[atoms, sentences]` of each layer.
        text_asks: `[sentences, atoms]` of the layers after all but the last of these, or none.
    """
    atoms, sentences = atoms_ask[0].shape
    whole = torch.eye(atoms + sentences, dtype=torch.float64)
    for number, weights in enumerate(atoms_ask):
        step = torch.eye(atoms + sentences, dtype=torch.float64)
        step[:atoms] *= 0.5
        step[:atoms, atoms:] = 0.5 * weights.double().cpu()
        whole = step @ whole
        if number < len(text_asks):
            step = torch.eye(atoms + sentences, dtype=torch.float64)
            step[atoms:] *= 0.5
            step[atoms:, :atoms] = 0.5 * text_asks[number].double().cpu()
            whole = step @ whole
    return whole[:atoms, atoms:]
