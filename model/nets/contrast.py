"""Bringing the two views of a crystal near each other: the loss of CLIP (Radford et al., ICML 2021, figure 3).

Of crystal i the pooled tokens of both views are projected and brought to length 1, s_i and t_i. With the learned
temperature τ, which begins at 0.07 and stays above 0.01 as in the paper, and over the N crystals that have both,

    L = (1/2N) Σ_i [ −log( exp(s_i·t_i/τ) / Σ_j exp(s_i·t_j/τ) ) − log( exp(s_i·t_i/τ) / Σ_j exp(s_j·t_i/τ) ) ].

A crystal is told apart from those that are computed with it: of its batch, or of one process's share of that.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.nets.fusion import Tokens

WIDTH = 64
"""Of the space in which the views meet."""


class Contrast(nn.Module):
    """Projections of both views and a temperature."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.structure, self.text = nn.Linear(dim, WIDTH, bias=False), nn.Linear(dim, WIDTH, bias=False)
        self.sharpness = nn.Parameter(torch.tensor(-math.log(0.07)))
        """Logarithm of 1/τ."""

    def forward(self, structure: Tokens, text: Tokens) -> Tensor:
        """The loss, a scalar; crystals that lack a view are left out, and one or none gives 0."""
        both = structure.present & text.present
        s = F.normalize(self.structure(structure.mean()[both]), dim=-1)
        t = F.normalize(self.text(text.mean()[both]), dim=-1)
        alike = s @ t.T * self.sharpness.clamp_max(math.log(100.0)).exp()
        own = torch.arange(len(alike), device=alike.device)
        total = F.cross_entropy(alike, own, reduction="sum") + F.cross_entropy(alike.T, own, reduction="sum")
        return total / (2 * max(len(alike), 1))
