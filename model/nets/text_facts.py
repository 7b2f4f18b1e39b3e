"""A text as one vector of numbers: statistics of its formula's elements, of its counts, lengths and angles, and of its
terms, all read from its tokens. Trees learn from it.

*Statistics of a formula* are those of Magpie (Ward et al., npj Comput. Mater. 2, 16028, 2016): over the elements, by
their share of the atoms, of each of 22 properties the mean, mean deviation, minimum, maximum, range, and the value of
the most frequent element. *Spreads* are mean, standard deviation, minimum and maximum. A text that lacks something has
`MISSING` in its place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from features.sentences import REGIONS
from features.words.vocabulary import KINDS, TERMS, id_of_term
from model.input.batch import N_ELEMENTS
from model.input.words import WordBatch
from model.nets.element_properties import NAMES, covalent_radii, standardised

MISSING = -9.0
"""No statistic is as low: properties are standardised, numbers of texts are 0 or more but for few charges."""
SPREADS = ("neighbours", "length", "length against radii", "difference of electronegativity", "angle", "charge")
SIZE = 6 * len(NAMES) + 4 * len(SPREADS) + len(TERMS) + len(REGIONS) + 1
"""Length of the vector."""
ELEMENT, NEIGHBOUR, BOND, LENGTH, ANGLE, CHARGE = (KINDS.index(kind) for kind in (
    "element", "neighbour", "bond", "length", "angle", "charge"))
FIRST_TERM = id_of_term(TERMS[0])


class TextFacts(nn.Module):
    """Tokens of texts in, `[texts, SIZE]` out; in double precision, since trees ask which side of a number one is."""

    properties: Tensor
    radii: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("properties", torch.from_numpy(standardised()).double(), persistent=False)
        self.register_buffer("radii", torch.from_numpy(covalent_radii()).double(), persistent=False)

    @torch.no_grad()
    def forward(self, batch: WordBatch) -> Tensor:
        texts, sentences = batch.mask.shape
        text = batch.sentence // sentences
        value = batch.values.double()
        regions = torch.stack([(batch.mask & (batch.regions == one)).sum(1) for one in range(len(REGIONS))], dim=1)
        spoken = batch.mask.sum(1, keepdim=True)
        term = batch.ids - FIRST_TERM
        is_term = (term >= 0) & (term < len(TERMS))
        counts = value.new_zeros(texts, len(TERMS)).index_put(
            (text[is_term], term[is_term]), value.new_ones(int(is_term.sum())), accumulate=True)
        return torch.cat([self._formula(batch, text, value), *self._spreads(batch, text, value),
                          counts / spoken.clamp_min(1), regions, spoken], dim=1)

    def _formula(self, batch: WordBatch, text: Tensor, value: Tensor) -> Tensor:
        """`[texts, 6 · properties]`."""
        texts = len(batch.mask)
        mine = (batch.kinds == ELEMENT) & (batch.ids < N_ELEMENTS) & ~value.isnan()
        share = value.new_zeros(texts, N_ELEMENTS).index_put((text[mine], batch.ids[mine]), value[mine],
                                                             accumulate=True)
        whole = share.sum(1, keepdim=True)
        share = share / whole.clamp_min(1e-9)
        mean = share @ self.properties
        deviation = (share.unsqueeze(-1) * (self.properties - mean.unsqueeze(1)).abs()).sum(1)
        there = (share > 0).unsqueeze(-1)
        least = torch.where(there, self.properties, torch.inf).amin(1)
        most = torch.where(there, self.properties, -torch.inf).amax(1)
        frequent = self.properties[share.argmax(1)]
        statistics = torch.cat([mean, deviation, least, most, most - least, frequent], dim=1)
        return torch.where(whole > 0, statistics, MISSING)

    def _spreads(self, batch: WordBatch, text: Tensor, value: Tensor) -> list[Tensor]:
        """`[texts, 4]` for each of `SPREADS`."""
        texts, sentences = len(batch.mask), batch.mask.numel()
        number = batch.ids.clamp(max=N_ELEMENTS - 1)
        counted = (batch.kinds == NEIGHBOUR) & ~value.isnan()
        neighbours = value.new_zeros(sentences).index_add(0, batch.sentence[counted], value[counted])
        of = torch.arange(texts, device=text.device).repeat_interleave(batch.mask.shape[1])
        end = batch.kinds == BOND
        length = (batch.kinds == LENGTH) & ~value.isnan()
        ends, summed = (value.new_zeros(sentences).index_add(0, batch.sentence[end], of_end)[batch.sentence[length]]
                        for of_end in (torch.ones_like(value[end]), self.radii[number[end]]))
        known = summed > 0
        ratio = value[length][known] * ends[known] / (2 * summed[known])  # ends / 2 bonds in the sentence
        first = _first_ends(end, batch.sentence)
        electronegativity = self.properties[number, NAMES.index("Electronegativity")]
        difference = (electronegativity[first] - electronegativity[first + 1]).abs()
        angle, charge = ((batch.kinds == kind) & ~value.isnan() for kind in (ANGLE, CHARGE))
        parts = ((neighbours[neighbours > 0], of[neighbours > 0]), (value[length], text[length]),
                 (ratio, text[length][known]), (difference, text[first]), (value[angle], text[angle]),
                 (value[charge], text[charge]))
        return [_spread(values, places, texts) for values, places in parts]


def _first_ends(end: Tensor, sentence: Tensor) -> Tensor:
    """Places of the tokens that are the first of a bond's two ends, which stand side by side: of a run of ends within a
    sentence every second one, and none whose other end is not there."""
    place = torch.arange(len(end), device=end.device)
    goes_on = torch.zeros_like(end)
    goes_on[1:] = end[1:] & end[:-1] & (sentence[1:] == sentence[:-1])
    begun = torch.where(goes_on, torch.zeros_like(place), place).cummax(0).values
    followed = torch.zeros_like(end)
    followed[:-1] = goes_on[1:]
    return place[end & followed & ((place - begun) % 2 == 0)]


def _spread(values: Tensor, text: Tensor, texts: int) -> Tensor:
    """Mean, deviation, least and most of the values of each text, `[texts, 4]`."""
    count = values.new_zeros(texts).index_add(0, text, torch.ones_like(values))
    mean = values.new_zeros(texts).index_add(0, text, values) / count
    square = values.new_zeros(texts).index_add(0, text, (values - mean[text]).square()) / count
    least = values.new_full((texts,), torch.inf).scatter_reduce(0, text, values, "amin")
    most = values.new_full((texts,), -torch.inf).scatter_reduce(0, text, values, "amax")
    return torch.where((count > 0).unsqueeze(-1), torch.stack([mean, square.sqrt(), least, most], dim=1), MISSING)
