"""What an atom is before it has heard of any other: a learned vector of its element, and what is tabulated of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.input.batch import N_ELEMENTS
from model.nets.element_properties import standardised


class ElementEmbedding(nn.Embedding):
    """A learned vector for each element; with `properties`, plus a net on the 22 of `element_properties`.

    Elements that few training crystals have are then like those that many have. A hidden element has number 0 and no
    properties.
    """

    table: Tensor

    def __init__(self, dim: int, std: float, properties: bool) -> None:
        super().__init__(N_ELEMENTS, dim)
        nn.init.normal_(self.weight, std=std)
        self.net: nn.Module | None = None
        if properties:
            table = torch.from_numpy(standardised())
            self.register_buffer("table", table, persistent=False)
            last = nn.Linear(dim, dim, bias=False)
            # the sum begins about as long as the learned vector alone
            nn.init.normal_(last.weight, std=std * dim**-0.5)
            self.net = nn.Sequential(nn.Linear(table.shape[1], dim), nn.SiLU(), last)

    def forward(self, elements: Tensor) -> Tensor:
        """`[atoms, dim]` from atomic numbers `[atoms]`."""
        x: Tensor = super().forward(elements)
        if self.net is None:
            return x
        told: Tensor = self.net(self.table[elements]) * (elements > 0).unsqueeze(-1)
        return x + told
