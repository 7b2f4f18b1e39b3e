"""Several networks that predict together: each has learned alone, and their predictions are averaged with weights.

They are of up to four kinds (`model.params.MemberKind`): networks of structure and text together, of structure alone,
of text alone, and boosted trees on the text. Those of one kind count alike; how much each kind counts is learned on the
validation crystals when all have been trained (`model/blend.py`). So a model of structure networks and what reads the
text alone is late fusion: no gradient of the text ever reaches a structure network, which is the very one that is
trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.input.batch import StructureBatch, TextBatch
from model.input.words import WordBatch
from model.nets.fusion import Tokens
from model.nets.network import MultimodalNet, Prediction
from model.nets.trees import TextTrees
from model.params import MEMBERS, READERS, MemberKind, TrainParams


class Ensemble(nn.Module):
    """The networks that `train.members` asks for, and the weights of their kinds."""

    weights: Tensor

    def __init__(self, params: TrainParams, text_dim: int) -> None:
        super().__init__()
        networks = params.networks()
        self.kinds: list[MemberKind] = [kind for kind, _ in networks]
        self.nets = nn.ModuleList([MultimodalNet(one, text_dim) for _, one in networks])
        trees = params.members.trees
        self.kinds += ["trees"] * trees
        self.nets.extend(TextTrees(params.trees) for _ in range(trees))
        there = torch.tensor([float(kind in self.kinds) for kind in MEMBERS])
        self.register_buffer("weights", there / there.sum())

    def forward(self, structure: StructureBatch, text: TextBatch | WordBatch) -> Prediction:
        """Predict."""
        return self.fuse(self.structure_tokens(structure), self.text_tokens(text))

    def structure_tokens(self, batch: StructureBatch) -> list[Tokens]:
        """Tokens of the atoms, as each network sees them."""
        return [net.structure_tokens(batch) for net in self.networks()]

    def text_tokens(self, batch: TextBatch | WordBatch, hidden: Tensor | None = None) -> list[Tokens]:
        """Tokens of the text, as each network reads them; `hidden`: `[crystals, sentences]`, True where not shown."""
        shown = batch.mask if hidden is None else batch.mask & ~hidden
        return [unread(net, shown) if kind == "structure" else net.text_branch(batch, hidden)
                for kind, net in zip(self.kinds, self.networks(), strict=True)]

    def fuse(self, atoms: Sequence[Tokens], words: Sequence[Tokens]) -> Prediction:
        """From the tokens of each network to predictions.

        A network that cannot predict for a crystal (one of text alone, without a text) is left out, and its weight
        goes to the others; a crystal without a text has no prediction by text. *Structure* is the mean over the
        networks of structure alone where there are any, else that of the structure branches of the fused ones; *text*
        is that of what reads the text alone, weighted, else that of the text branches.
        """
        every = [net.fuse(a, w) for net, a, w in zip(self.networks(), atoms, words, strict=True)]
        fused = torch.stack([one.fused for one in every])
        by_kind = torch.stack([self._mean(fused, kind) for kind in MEMBERS])
        readers = [place for place, kind in enumerate(MEMBERS) if kind in READERS and kind in self.kinds]
        own = [one for one, kind in zip(every, self.kinds, strict=True) if kind == "fused"] or every
        by_text = self._blended(by_kind, readers) if readers else torch.stack([one.text for one in own]).nanmean(0)
        attention = [one.attention for one in every if one.attention is not None]
        return Prediction(
            self.blend(fused),
            by_kind[1] if "structure" in self.kinds else torch.stack([one.structure for one in own]).nanmean(0),
            torch.where(words[0].present, by_text, torch.nan),
            torch.stack(attention).mean(0) if attention else None,
            _spread(fused))

    def blend(self, fused: Tensor) -> Tensor:
        """`[crystals]`, the weighted mean over `[networks, crystals]`, predictions of all networks."""
        return self._blended(torch.stack([self._mean(fused, kind) for kind in MEMBERS]), range(len(MEMBERS)))

    def _blended(self, by_kind: Tensor, places: Sequence[int]) -> Tensor:
        """`[crystals]`, weighted mean over some kinds of `by_kind`; not a number where none of them predicts."""
        chosen, weight = by_kind[list(places)], self.weights[list(places), None]
        # one that counts for nothing still predicts where no other does; beside a weight, 1e-12 is nothing in float32
        weight = torch.where(chosen.isnan(), 0.0, weight + 1e-12)
        return (chosen.nan_to_num() * weight).sum(0) / weight.sum(0)

    def networks(self) -> list[MultimodalNet | TextTrees]:
        """In the order of `kinds`."""
        return list(self.nets)  # type: ignore[arg-type]

    def _mean(self, values: Tensor, kind: str) -> Tensor:
        """`[crystals]` from `[networks, crystals]`, over the networks of a kind; not a number where none predicts."""
        mine = [row for row, of in enumerate(self.kinds) if of == kind]
        return values[mine].nanmean(0) if mine else torch.full_like(values[0], torch.nan)


def unread(net: MultimodalNet | TextTrees, mask: Tensor) -> Tokens:
    """What a network of the structure alone is told of texts: that there are some, which costs nothing."""
    dim = 1 if isinstance(net, TextTrees) else int(net.encoder.dim)  # type: ignore[arg-type]
    return Tokens(torch.zeros(*mask.shape, dim, device=mask.device), mask)


def _spread(values: Tensor) -> Tensor:
    """Standard deviation over the networks that predict, `[crystals]`; 0 for a single one."""
    return (values - values.nanmean(0)).square().nanmean(0).sqrt()
