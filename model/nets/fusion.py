"""How structure and text come together: sum, concat, gated, cross-attention, or one of them alone.

Every fusion takes the tokens of both views with masks and gives one vector per crystal. A view that a crystal lacks
(no text, or dropped while training) is replaced by a learned vector, never by zeros of another meaning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Tokens:
    """A padded set of tokens per crystal."""

    values: Tensor
    """`[crystals, tokens, dim]`."""
    mask: Tensor
    """`[crystals, tokens]`, True where there is a token."""

    @property
    def present(self) -> Tensor:
        """`[crystals]`, True where there is any token."""
        return self.mask.any(dim=1)

    def mean(self) -> Tensor:
        """`[crystals, dim]`, mean of the tokens that are there; zeros where there is none."""
        weight = self.mask.unsqueeze(-1).to(self.values.dtype)
        return (self.values * weight).sum(1) / weight.sum(1).clamp_min(1.0)


@dataclass(frozen=True)
class Fused:
    """Result of a fusion."""

    vector: Tensor
    """`[crystals, dim]`."""
    attention: Tensor | None = None
    """`[crystals, heads, atoms, text tokens]`, weights of cross-attention; rows of padded atoms mean nothing."""


class Fusion(Protocol):
    """What the network knows of a fusion: an `nn.Module` with this."""

    def __call__(self, structure: Tokens, text: Tokens) -> Fused:
        """Bring the two views of each crystal together."""


class _Pooled(nn.Module):
    """Both views as one vector each, a learned vector where a view is missing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.no_structure = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.no_text = nn.Parameter(torch.randn(dim) * dim**-0.5)

    def pool(self, structure: Tokens, text: Tokens) -> tuple[Tensor, Tensor]:
        return (torch.where(structure.present[:, None], structure.mean(), self.no_structure),
                torch.where(text.present[:, None], text.mean(), self.no_text))


class SumFusion(_Pooled):
    """s + t."""

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        s, t = self.pool(structure, text)
        return Fused(s + t)


class ConcatFusion(_Pooled):
    """W [s; t]."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.mix = nn.Linear(2 * dim, dim)

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        return Fused(self.mix(torch.cat(self.pool(structure, text), dim=-1)))


class GatedFusion(_Pooled):
    """g ⊙ s + (1 − g) ⊙ t with g = σ(W [s; t])."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.gate = nn.Linear(2 * dim, dim)

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        s, t = self.pool(structure, text)
        gate = torch.sigmoid(self.gate(torch.cat([s, t], dim=-1)))
        return Fused(gate * s + (1 - gate) * t)


class CrossAttentionFusion(nn.Module):
    """Every atom asks the text: multi-head attention from atoms to text tokens, with a residual from the atoms.

    A crystal without text keeps its atoms as they are; one without structure asks with a single learned token.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)
        self.no_structure = nn.Parameter(torch.randn(dim) * dim**-0.5)

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        atoms = self._with_a_token_each(structure)
        batch, n_atoms, dim = atoms.values.shape
        q, k, v = (layer(x).view(batch, -1, self.heads, dim // self.heads).transpose(1, 2) for layer, x in
                   ((self.query, atoms.values), (self.key, text.values), (self.value, text.values)))
        score = q @ k.transpose(-1, -2) / math.sqrt(dim // self.heads)
        score = score.masked_fill(~text.mask[:, None, None, :], -torch.inf)
        # without any text the softmax would be 0/0; such rows attend to nothing
        present = text.present[:, None, None, None]
        attention = torch.softmax(torch.where(present, score, 0.0), dim=-1) * present
        message = self.out((attention @ v).transpose(1, 2).reshape(batch, n_atoms, dim))
        x = atoms.values + message * text.present[:, None, None]
        x = x + self.down(F.relu(self.up(x)))
        return Fused(Tokens(x, atoms.mask).mean(), attention)

    def _with_a_token_each(self, structure: Tokens) -> Tokens:
        absent = ~structure.present
        if not bool(absent.any()):
            return structure
        first = torch.zeros_like(structure.mask)
        first[:, 0] = absent
        values = torch.where(first.unsqueeze(-1), self.no_structure, structure.values)
        return Tokens(values, structure.mask | first)


class StructureOnly(_Pooled):
    """The structure's vector, whatever the text says."""

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        return Fused(self.pool(structure, text)[0])


class TextOnly(_Pooled):
    """The text's vector, whatever the structure is."""

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        return Fused(self.pool(structure, text)[1])


def make(name: str, dim: int, heads: int) -> nn.Module:
    """The fusion that `train.fusion` names."""
    if name == "cross_attention":
        return CrossAttentionFusion(dim, heads)
    return {"sum": SumFusion, "concat": ConcatFusion, "gated": GatedFusion, "structure_only": StructureOnly,
            "text_only": TextOnly}[name](dim)
