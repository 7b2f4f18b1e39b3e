"""How structure and text come together: sum, concat, gated, film, cross-attention, or one of them alone.

Every fusion takes the tokens of both views with masks and gives one vector per crystal. One that reads both begins at
the structure: what lets the text in starts at zero, so that an untrained text adds no noise, and opens with the first
step (as in ReZero, Bachlechner et al., UAI 2021). A view that a crystal lacks (no text, or dropped while training) is
replaced by a learned vector, never by zeros of another meaning; cross-attention without text leaves the atoms as they
are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.params import CrossAttentionParams


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
    """`[crystals, heads, atoms, text tokens]`, weights of the last cross-attention from atoms to text; rows of padded
    atoms mean nothing."""


class Fusion(Protocol):
    """What the network knows of a fusion: an `nn.Module` with this."""

    def __call__(self, structure: Tokens, text: Tokens) -> Fused:
        """Bring the two views of each crystal together."""


class _Pooled(nn.Module):
    """Both views as one vector each, a learned vector where a view is missing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.no_structure, self.no_text = _learned(dim), _learned(dim)

    def pool(self, structure: Tokens, text: Tokens) -> tuple[Tensor, Tensor]:
        return (torch.where(structure.present[:, None], structure.mean(), self.no_structure),
                torch.where(text.present[:, None], text.mean(), self.no_text))


class SumFusion(_Pooled):
    """s + α ⊙ t with a learned α that starts at 0."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.opening = nn.Parameter(torch.zeros(dim))

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        s, t = self.pool(structure, text)
        return Fused(s + self.opening * t)


class ConcatFusion(_Pooled):
    """W [s; t], where W starts as the identity for s and zeros for t."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.mix = _zeroed(nn.Linear(2 * dim, dim))
        with torch.no_grad():
            self.mix.weight[:, :dim] = torch.eye(dim)

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        return Fused(self.mix(torch.cat(self.pool(structure, text), dim=-1)))


class GatedFusion(_Pooled):
    """(1 − α ⊙ g) ⊙ s + α ⊙ g ⊙ t with g = σ(W [s; t]) and a learned α that starts at 0.

    At α = 1 it is the usual gate. α is not held between 0 and 1: what is smooth and bounded by 0 has no slope there,
    and would never open.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.gate = nn.Linear(2 * dim, dim)
        self.opening = nn.Parameter(torch.zeros(dim))

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        s, t = self.pool(structure, text)
        gate = torch.sigmoid(self.gate(torch.cat([s, t], dim=-1)))
        return Fused(s + self.opening * gate * (t - s))


class FilmFusion(nn.Module):
    """The text scales and shifts every atom's token, (1 + γ) ⊙ x + β with [γ; β] = W t (FiLM, Perez et al., AAAI 2018).

    Then a net on each atom, and the mean. W starts at zero.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.modulate = _zeroed(nn.Linear(dim, 2 * dim))
        self.net = _Net(dim)
        self.no_structure, self.no_text = _learned(dim), _learned(dim)

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        atoms = _with_a_token_each(structure, self.no_structure)
        t = torch.where(text.present[:, None], text.mean(), self.no_text)
        scale, shift = self.modulate(t).unsqueeze(1).chunk(2, dim=-1)
        return Fused(Tokens(self.net((1 + scale) * atoms.values + shift), atoms.mask).mean())


class CrossAttentionFusion(nn.Module):
    """Every atom asks the text, in one layer or several; the mean of the atoms is the crystal's vector.

    With `both` directions the text's tokens ask the atoms after every layer but the last. A crystal without text keeps
    its atoms as they are but for the nets; one without structure asks with a single learned token.
    """

    def __init__(self, dim: int, heads: int, params: CrossAttentionParams) -> None:
        super().__init__()
        self.atoms_ask = nn.ModuleList(_Asks(dim, heads) for _ in range(params.layers))
        self.text_asks = nn.ModuleList(_Asks(dim, heads) for _ in range(params.layers - 1)
                                       if params.directions == "both")
        self.no_structure = _learned(dim)

    def forward(self, structure: Tokens, text: Tokens) -> Fused:
        atoms, attention = _with_a_token_each(structure, self.no_structure), None
        for number, atoms_ask in enumerate(self.atoms_ask):
            atoms, attention = atoms_ask(atoms, text)
            if number < len(self.text_asks):
                text, _ = self.text_asks[number](text, atoms)
        return Fused(atoms.mean(), attention)


class StructureOnly(nn.Module):
    """The structure's vector, whatever the text says; zeros mean that there is none."""

    def forward(self, structure: Tokens, _text: Tokens) -> Fused:
        return Fused(structure.mean())


class TextOnly(nn.Module):
    """The text's vector, whatever the structure is; zeros mean that there is none."""

    def forward(self, _structure: Tokens, text: Tokens) -> Fused:
        return Fused(text.mean())


class _Asks(nn.Module):
    """Tokens ask others: multi-head attention whose last layer starts at zero, then a net; each with a residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = _zeroed(nn.Linear(dim, dim))
        self.net = _Net(dim)

    def forward(self, asking: Tokens, asked: Tokens) -> tuple[Tokens, Tensor]:
        """The tokens that ask, and the weights `[crystals, heads, asking, asked]`."""
        batch, n, dim = asking.values.shape
        q, k, v = (layer(x.values).view(batch, -1, self.heads, dim // self.heads).transpose(1, 2) for layer, x in
                   ((self.query, asking), (self.key, asked), (self.value, asked)))
        score = q @ k.transpose(-1, -2) / math.sqrt(dim // self.heads)
        score = score.masked_fill(~asked.mask[:, None, None, :], -torch.inf)
        # where nobody can be asked the softmax would be 0/0; such rows attend to nothing
        present = asked.present[:, None, None, None]
        attention = torch.softmax(torch.where(present, score, 0.0), dim=-1) * present
        message = self.out((attention @ v).transpose(1, 2).reshape(batch, n, dim))
        return Tokens(self.net(asking.values + message * asked.present[:, None, None]), asking.mask), attention


class _Net(nn.Module):
    """x + W relu(W x), on each token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.relu(self.up(x)))


def _learned(dim: int) -> nn.Parameter:
    """A vector in the place of a view that is missing."""
    return nn.Parameter(torch.randn(dim) * dim**-0.5)


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _with_a_token_each(structure: Tokens, no_structure: Tensor) -> Tokens:
    """The tokens, with a single one of the learned vector for each crystal that has none."""
    absent = ~structure.present
    if not bool(absent.any()):
        return structure
    first = torch.zeros_like(structure.mask)
    first[:, 0] = absent
    values = torch.where(first.unsqueeze(-1), no_structure, structure.values)
    return Tokens(values, structure.mask | first)


def make(name: str, dim: int, heads: int, cross_attention: CrossAttentionParams | None = None) -> nn.Module:
    """The fusion that `train.fusion` names; `heads` and the section `train.cross_attention` are for the one with it."""
    if name == "cross_attention":
        return CrossAttentionFusion(dim, heads, cross_attention or CrossAttentionParams())
    if name in ("structure_only", "text_only"):
        return StructureOnly() if name == "structure_only" else TextOnly()
    return {"sum": SumFusion, "concat": ConcatFusion, "gated": GatedFusion, "film": FilmFusion}[name](dim)
