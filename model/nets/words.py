"""A text branch that learns from the words themselves: elements, terms of the field, and numbers read as numbers.

Tokens hear from their neighbours and from their sentence, each sentence is pooled to a vector, and sentences hear from
each other by self-attention: so of "All Os(1)-Si(1) bond lengths are 2.56 Å" the vector holds the two elements with
their properties, the length, and the length against the sum of their covalent radii; and it knows the heading.
Nothing is padded but sentences, and what a crystal's tokens say does not depend on the batch.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from features.sentences import REGIONS
from features.words.vocabulary import KINDS, SIZE
from model.input.batch import N_ELEMENTS
from model.input.words import WordBatch
from model.nets.element_properties import covalent_radii, standardised
from model.nets.fusion import Tokens
from model.params import WordsParams

LENGTH, BOND = KINDS.index("length"), KINDS.index("bond")
SMALLEST, LARGEST = 0.03, 250.0
"""Numbers in texts: shares of a formula, Å, counts, degrees."""


class WordsBranch(nn.Module):
    """One token of width `dim` for each sentence."""

    def __init__(self, params: WordsParams, dim: int) -> None:
        super().__init__()
        width = params.dim
        self.most, self.numbers = params.most, params.numbers
        self.embed = TokenEmbedding(width)
        self.within = nn.ModuleList([WithinSentence(width, params.heads) for _ in range(params.within)])
        self.pool = SentencePool(width, params.heads)
        self.region = nn.Embedding(len(REGIONS), width)
        nn.init.normal_(self.region.weight, std=0.1)
        self.across = nn.ModuleList([AcrossSentences(width, params.heads) for _ in range(params.across)])
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))

    def forward(self, batch: WordBatch, hidden: Tensor | None = None) -> Tokens:
        """`hidden`: `[crystals, sentences]`, True where no other sentence may hear of this one."""
        if self.most is not None:
            batch = batch.first(self.most)
        return self.together(self.alone(batch), batch.mask if hidden is None else batch.mask & ~hidden)

    def alone(self, batch: WordBatch, embedded: Tensor | None = None) -> Tensor:
        """`[crystals, sentences, width]`, what each sentence says by itself.

        `embedded`: `[tokens, width]`, in place of what `embedding` makes of the tokens.
        """
        sentences = batch.mask.numel()
        x = self.embedding(batch) if embedded is None else embedded
        for layer in self.within:
            x = layer(x, batch.sentence, sentences)
        return self.pool(x, batch.sentence, sentences).view(*batch.mask.shape, -1) + self.region(batch.regions)

    def embedding(self, batch: WordBatch) -> Tensor:
        """`[tokens, width]`, each token by itself."""
        if not self.numbers:
            batch = replace(batch, values=torch.full_like(batch.values, torch.nan))
        return self.embed(batch)

    def together(self, y: Tensor, mask: Tensor) -> Tokens:
        """The sentences that are in the mask hear from each other; one token for each."""
        for layer in self.across:
            y = layer(y, mask)
        return Tokens(self.project(y), mask)


class TokenEmbedding(nn.Module):
    """What a token is, its role, the properties of its element, and its number: the sum, and a net on the sum."""

    properties: Tensor
    radii: Tensor
    scales: Tensor
    lengths: Tensor
    ratios: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.identity = nn.Embedding(SIZE, width)
        nn.init.normal_(self.identity.weight, std=0.1)
        self.kind = nn.Embedding(len(KINDS), width)
        self.register_buffer("properties", torch.from_numpy(standardised()), persistent=False)
        self.register_buffer("radii", torch.from_numpy(covalent_radii()), persistent=False)
        self.element = nn.Sequential(nn.Linear(self.properties.shape[1], width), nn.SiLU(), nn.Linear(width, width))
        self.register_buffer("scales", torch.linspace(math.log(SMALLEST), math.log(LARGEST), 24), persistent=False)
        self.register_buffer("lengths", torch.linspace(1.0, 4.0, 25), persistent=False)
        self.register_buffer("ratios", torch.linspace(0.7, 1.5, 17), persistent=False)
        self.number = nn.Linear(24 + 25 + 17 + 3, width)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(),
                                 nn.Linear(2 * width, width))

    def forward(self, batch: WordBatch) -> Tensor:
        """`[tokens, width]`."""
        is_element = (batch.ids < N_ELEMENTS).unsqueeze(-1)
        number = batch.ids.clamp(max=N_ELEMENTS - 1)
        x = self.identity(batch.ids) + self.kind(batch.kinds) + self.element(self.properties[number]) * is_element
        x = x + self.number(self._numbers(batch, self.radii[number]))
        return x + self.mix(x)

    def _numbers(self, batch: WordBatch, radius: Tensor) -> Tensor:
        """`[tokens, 69]`: Gaussians of the number's logarithm; of a length in Å; of a length against the sum of the
        radii of its bond's two ends. Zeros where there is no number, or no bond with two known radii.
        """
        has = ~batch.values.isnan()
        value = batch.values.nan_to_num()
        logarithm = value.abs().clamp(SMALLEST, LARGEST).log()
        length = has & (batch.kinds == LENGTH)
        end = (batch.kinds == BOND).to(value.dtype)
        ends, summed = (value.new_zeros(batch.mask.numel()).index_add(0, batch.sentence, part)[batch.sentence]
                        for part in (end, end * radius))
        known = length & (summed > 0)
        ratio = torch.where(known, value * ends / (2 * summed).clamp_min(1e-6), 0.0)  # ends / 2 bonds in the sentence

        def bumps(x: Tensor, centres: Tensor, width: float, where: Tensor) -> Tensor:
            return torch.exp(-((x.unsqueeze(-1) - centres) / width).square()) * where.unsqueeze(-1)

        return torch.cat([
            bumps(logarithm, self.scales, 0.38, has), bumps(value, self.lengths, 0.125, length),
            bumps(ratio, self.ratios, 0.05, known),
            torch.stack([has.to(value.dtype), logarithm * has, ratio], dim=-1)], dim=-1)


class SentencePool(nn.Module):
    """The tokens of each sentence as one vector: a mean with learned weights, of its own for each head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.weight, self.value = nn.Linear(width, heads), nn.Linear(width, width)

    def forward(self, x: Tensor, sentence: Tensor, sentences: int) -> Tensor:
        """`[sentences, width]`, from `[tokens, width]` and the index of each token's sentence."""
        exact = torch.promote_types(x.dtype, torch.float32)  # sums of many tokens are not for half precision
        weight = self.weight(x).to(exact).clamp(-15.0, 15.0).exp()
        whole = weight.new_zeros(sentences, weight.shape[1]).index_add(0, sentence, weight)
        shares = weight / whole[sentence]
        heads, width = weight.shape[1], x.shape[1]
        value = self.value(x).to(exact).view(-1, heads, width // heads) * shares.unsqueeze(-1)
        return value.new_zeros(sentences, width).index_add(0, sentence, value.flatten(1))


class WithinSentence(nn.Module):
    """Each token hears from its sentence as a whole and from the tokens before and after it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.pool = SentencePool(width, heads)
        self.up, self.down = nn.Linear(4 * width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, sentence: Tensor, sentences: int) -> Tensor:
        """`[tokens, width]`."""
        if not len(x):  # no crystal of the batch has a text
            return x
        y = self.norm(x)
        whole = self.pool(y, sentence, sentences)[sentence]
        same = (sentence[1:] == sentence[:-1]).unsqueeze(-1)
        before, after = F.pad(y[:-1] * same, (0, 0, 1, 0)), F.pad(y[1:] * same, (0, 0, 0, 1))
        return x + self.down(F.silu(self.up(torch.cat([y, whole, before, after], dim=-1))))


class AcrossSentences(nn.Module):
    """Self-attention between the sentences of a text, then a net on each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_net = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`[crystals, sentences, width]`; what is not in the mask is heard by nobody."""
        crystals, sentences, width = x.shape
        parts = self.asks(self.norm(x)).view(crystals, sentences, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        score = (q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)).masked_fill(~mask[:, None, None, :], -1e4)
        heard = torch.softmax(score, dim=-1) @ v
        x = x + self.out(heard.transpose(1, 2).reshape(crystals, sentences, width))
        return x + self.down(F.silu(self.up(self.norm_net(x))))
