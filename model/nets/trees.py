"""Boosted trees that read a text: a member beside networks, with the same tokens in and a prediction out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.input.batch import StructureBatch, TextBatch
from model.input.words import WordBatch
from model.nets.fusion import Tokens
from model.nets.network import Prediction
from model.nets.text_facts import TextFacts
from model.params import TreesParams


class TextTrees(nn.Module):
    """A sum of regression trees over `TextFacts`. `model.training.trees` grows them.

    It has the interface of `MultimodalNet`, so that whatever asks the networks of a model asks it too: the token of a
    text is the prediction itself, and the atoms say nothing.
    """

    start: Tensor
    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor

    def __init__(self, params: TreesParams) -> None:
        super().__init__()
        self.depth = params.depth
        shape = (params.trees, 2 ** (params.depth + 1) - 1)
        self.facts = TextFacts()
        self.register_buffer("start", torch.zeros((), dtype=torch.float64))
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.int64))
        for name in ("threshold", "value"):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def predict(self, facts: Tensor) -> Tensor:
        """`[texts]` from `[texts, SIZE]`, in units of the target's standard deviation.

        A node without children points at itself. Features are compared in single precision, as they were in growing.
        """
        x = facts.float().double()
        tree = torch.arange(len(self.feature), device=x.device)
        node = torch.zeros(len(x), len(tree), dtype=torch.int64, device=x.device)
        for _ in range(self.depth):
            left = x.gather(1, self.feature[tree, node]) <= self.threshold[tree, node]
            node = torch.where(left, self.left[tree, node], self.right[tree, node])
        return self.start + self.value[tree, node].sum(1)

    def forward(self, structure: StructureBatch, text: TextBatch | WordBatch) -> Prediction:
        """Predict."""
        return self.fuse(self.structure_tokens(structure), self.text_branch(text))

    def structure_tokens(self, batch: StructureBatch) -> Tokens:
        """One empty token for each crystal."""
        crystals, device = len(batch.n_atoms), batch.n_atoms.device
        return Tokens(torch.zeros(crystals, 1, 1, device=device),
                      torch.ones(crystals, 1, dtype=torch.bool, device=device))

    def text_branch(self, batch: TextBatch | WordBatch, hidden: Tensor | None = None) -> Tokens:
        """The prediction as one token; `hidden`: `[crystals, sentences]`, True where a sentence is not read."""
        if not isinstance(batch, WordBatch):
            raise TypeError("trees read words and numbers, and no vectors of sentences")
        if hidden is not None:
            batch = batch.only(~hidden.reshape(-1)[batch.sentence])
        return Tokens(self.predict(self.facts(batch)).float()[:, None, None], batch.mask.any(1, keepdim=True))

    def fuse(self, _atoms: Tokens, words: Tokens) -> Prediction:
        """What the text says; not a number for a crystal without one, nor by structure."""
        nothing = torch.full_like(words.values[:, 0, 0], torch.nan)
        predicted = torch.where(words.present, words.values[:, 0, 0], nothing)
        return Prediction(predicted, nothing, predicted, None)
