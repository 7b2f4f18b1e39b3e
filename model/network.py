"""The whole model: structure encoder, text branch, fusion, and one head for each branch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from features.sentences import REGIONS
from model import encoders, fusion
from model.data import StructureBatch, TextBatch
from model.fusion import Tokens
from model.params import LossWeights, Masking, TrainParams


class Prediction(NamedTuple):
    """Predictions of the three branches, `[crystals]` each, in units of the target's standard deviation."""

    fused: Tensor
    structure: Tensor
    text: Tensor
    attention: Tensor | None
    """See `fusion.Fused`."""


@dataclass(frozen=True)
class Hidden:
    """What one training step does not show."""

    atoms: Tensor
    """`[atoms]`, True where the element is hidden."""
    sentences: Tensor
    """`[crystals, sentences]`, True where the sentence is hidden."""
    structure: Tensor
    """`[crystals]`, True where the fused branch gets no structure."""
    text: Tensor
    """`[crystals]`, True where the fused branch gets no text."""


def draw_hidden(structure: StructureBatch, text: TextBatch, masking: Masking, generator: torch.Generator) -> Hidden:
    """Draw afresh, for each sample and step, what is hidden. At least one sentence of a text always stays."""
    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    crystals, sentences = text.mask.shape
    scores = uniform(crystals, sentences).masked_fill(~text.mask.cpu(), 2.0)
    hidden = scores < masking.sentences
    hidden[torch.arange(crystals), torch.where(text.mask.cpu(), scores, -1.0).argmax(dim=1)] = False
    modality = uniform(crystals)
    return Hidden(
        atoms=uniform(structure.numbers.shape[0]) < masking.atoms,
        sentences=hidden,
        structure=(modality < masking.drop_structure) & text.mask.cpu().any(dim=1),
        text=modality > 1 - masking.drop_text,
    )


class TextBranch(nn.Module):
    """Sentence (or token) vectors of the frozen encoder, projected linearly, plus what region they speak of."""

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(text_dim, dim)
        self.region = nn.Embedding(len(REGIONS), dim)
        nn.init.normal_(self.region.weight, std=dim**-0.5)

    def forward(self, batch: TextBatch, hidden: Tensor | None = None) -> Tokens:
        # The encoders' vectors have very different lengths (MiniLM ~1, BERT-base ~10); the direction is what counts.
        vectors = F.normalize(batch.vectors, dim=-1) * batch.vectors.shape[-1] ** 0.5
        mask = batch.mask if hidden is None else batch.mask & ~hidden
        return Tokens(self.project(vectors) + self.region(batch.regions), mask)


class Head(nn.Sequential):
    """Linear, ReLU, linear: one number per crystal."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = super().forward(x)
        return result.squeeze(-1)


class MultimodalNet(nn.Module):
    """Structure and text of a crystal in, three predictions of one property out."""

    def __init__(self, params: TrainParams, text_dim: int) -> None:
        super().__init__()
        self.encoder = encoders.make(params)
        dim = int(self.encoder.dim)  # type: ignore[arg-type]
        self.text_branch = TextBranch(text_dim, dim)
        self.fusion = fusion.make(params.fusion, dim, params.crystalformer.heads)
        self.head_fused, self.head_structure, self.head_text = Head(dim), Head(dim), Head(dim)

    def forward(self, structure: StructureBatch, text: TextBatch, hidden: Hidden | None = None) -> Prediction:
        """Predict; with `hidden`, as a training step sees the crystals."""
        atoms = self.structure_tokens(structure, hidden.atoms if hidden else None)
        words = self.text_branch(text, hidden.sentences if hidden else None)
        return self.fuse(atoms, words, hidden)

    def structure_tokens(self, batch: StructureBatch, hidden: Tensor | None = None) -> Tokens:
        """One token per atom, padded to the largest crystal."""
        flat = self.encoder(batch, hidden)
        largest = int(batch.n_atoms.max())
        start = torch.cumsum(batch.n_atoms, 0) - batch.n_atoms
        place = torch.arange(flat.shape[0], device=flat.device) - start[batch.crystal]
        mask = torch.arange(largest, device=flat.device)[None, :] < batch.n_atoms[:, None]
        values = flat.new_zeros(len(batch.n_atoms), largest, flat.shape[1])
        values = values.index_put((batch.crystal, place), flat)
        return Tokens(values, mask)

    def fuse(self, atoms: Tokens, words: Tokens, hidden: Hidden | None = None) -> Prediction:
        """From the tokens of both views to predictions."""
        shown_atoms, shown_words = atoms, words
        if hidden is not None:
            shown_atoms = Tokens(atoms.values, atoms.mask & ~hidden.structure[:, None])
            shown_words = Tokens(words.values, words.mask & ~hidden.text[:, None])
        fused = self.fusion(shown_atoms, shown_words)
        return Prediction(self.head_fused(fused.vector), self.head_structure(atoms.mean()),
                          self.head_text(words.mean()), fused.attention)


def joint_loss(prediction: Prediction, target: Tensor, has_text: Tensor, weights: LossWeights) -> Tensor:
    """Weighted sum of the three branches' mean absolute errors; the text branch counts crystals with a text."""
    loss = weights.fused * F.l1_loss(prediction.fused, target)
    loss = loss + weights.structure * F.l1_loss(prediction.structure, target)
    if weights.text > 0 and bool(has_text.any()):
        loss = loss + weights.text * F.l1_loss(prediction.text[has_text], target[has_text])
    return loss
