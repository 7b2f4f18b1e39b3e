"""Integrated gradients (Sundararajan et al., ICML 2017, by captum) of words, of encoder tokens, and of atoms.

The path goes from a baseline to the crystal: each word's embedding from the mean embedding of the background's words of
the same role, each atom's token from the mean token of the background's atoms. The values of one network's inputs add
up to the difference of the predictions at both ends. Boosted trees have no gradient: what the text says to them is
shared by nobody, so values of a model with trees explain the share of its networks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from features.words.vocabulary import KINDS
from model.explanation.facts import Unit
from model.explanation.game import Floats, Game
from model.explanation.texts import Reading, VectorReading, collate
from model.input.words import WordBatch
from model.nets.ensemble import unread
from model.nets.fusion import Tokens
from model.nets.network import MultimodalNet
from model.nets.trees import TextTrees

STEPS = 24
"""Points of the Gauss-Legendre rule along the path."""


@dataclass(frozen=True)
class Gradients:
    """Of one crystal, in the learned unit."""

    text: Floats
    """`[tokens]`: words, or tokens of the frozen encoder."""
    atoms: Floats
    """`[atoms]`, of the canonical crystal."""
    reference: float
    """The prediction at the baseline, but for what trees say: with all of the above it adds up to the prediction as far
    as the rule is exact."""

    def of_units(self, text: Reading, units: Sequence[Unit]) -> Floats:
        """`[units]`, sums over the tokens of each."""
        return np.array([self.text[_rows(text, unit)].sum() for unit in units])

    def of_sentences(self, text: Reading) -> Floats:
        """`[sentences]`, the same of each sentence."""
        of = _sentence_of(text)
        return np.bincount(of, self.text, minlength=len(text.pieces)).astype(np.float64)


class Integrated:
    """Integrated gradients of one model."""

    def __init__(self, game: Game) -> None:
        self.game, self.trained = game, game.trained
        self.networks = [(number, net) for number, (kind, net) in
                         enumerate(zip(self.trained.net.kinds, self.trained.net.networks(), strict=True))
                         if isinstance(net, MultimodalNet) and kind != "structure"]
        """Those that read the text, and their numbers."""

    @cached_property
    def mean_atoms(self) -> list[Tensor]:
        """`[dim]` for each network, mean token of the background's atoms."""
        return [one.values[one.mask].mean(0) for one in self.game.others_atoms]

    @cached_property
    def mean_words(self) -> list[Tensor]:
        """`[KINDS, width]` for each network that reads words, mean embedding of the background's words of each role;
        `[1, dim]` for each that reads vectors, mean token of the encoder."""
        if any(isinstance(other, VectorReading) for other in self.game.others):
            tokens = np.concatenate([other.encoded.tokens for other in self.game.others])  # type: ignore[attr-defined]
            return [torch.from_numpy(tokens.mean(axis=0, keepdims=True)).to(self.trained.device)] * len(self.networks)
        batch = self._batch([other.pieces for other in self.game.others])
        result = []
        with torch.no_grad():
            for _, net in self.networks:
                embedded = net.text_branch.embedding(batch)  # type: ignore[operator]
                role = torch.nn.functional.one_hot(batch.kinds, len(KINDS)).to(embedded.dtype)
                counts = role.sum(0)[:, None]
                result.append(torch.where(counts > 0, role.T @ embedded / counts.clamp_min(1), embedded.mean(0)))
        return result

    def explain(self, atoms: Sequence[Tokens], text: Reading) -> Gradients:
        """Of one crystal: its tokens as each network sees them, and its description."""
        from captum.attr import IntegratedGradients

        reads = self._vectors if isinstance(text, VectorReading) else self._words
        inputs, baselines, heard = reads(text)
        shown = [one.values[:, one.mask[0]] for one in atoms]
        asked = [number for number, kind in enumerate(self.trained.net.kinds) if kind in ("fused", "structure")]
        inputs += [shown[number] for number in asked]
        baselines += [self.mean_atoms[number].expand_as(shown[number]) for number in asked]

        def predict(*given: Tensor) -> Tensor:
            many = len(given[0])
            words = heard(given[:len(given) - len(asked)], many)
            of = dict(zip(asked, given[len(given) - len(asked):], strict=True))
            tokens = [Tokens(of.get(number, one).expand(many, -1, -1),
                             torch.ones(many, one.shape[1], dtype=torch.bool, device=one.device))
                      for number, one in enumerate(shown)]
            return self.trained.net.fuse(tokens, words).fused

        values = IntegratedGradients(predict, multiply_by_inputs=True).attribute(
            tuple(inputs), tuple(baselines), n_steps=STEPS, method="gausslegendre")
        scale = self.trained.config.target_std
        summed = [one.detach().double().sum(-1)[0].cpu().numpy() * scale for one in values]
        of_text, of_atoms = summed[:len(summed) - len(asked)], summed[len(summed) - len(asked):]
        longest = len(_sentence_of(text))
        whole = np.sum([np.pad(one, (0, longest - len(one))) for one in of_text], axis=0) if of_text \
            else np.zeros(longest)
        with torch.no_grad():
            start = float(self.trained.natural(predict(*baselines))[0])
        return Gradients(whole, np.sum(of_atoms, axis=0) if of_atoms else np.zeros(shown[0].shape[1]), start)

    def _batch(self, variants: Sequence[Any]) -> WordBatch:
        return collate(variants, self.trained.config.text_dim).to(self.trained.device)  # type: ignore[return-value]

    def _words(self, text: Reading) -> tuple[list[Tensor], list[Tensor], Callable[..., list[Tokens]]]:
        """Embeddings of the words for each network, their baselines, and what the networks make of them."""
        one = self._batch([text.pieces])
        cuts = [one if net.text_branch.most is None else one.first(net.text_branch.most) for _, net in self.networks]
        with torch.no_grad():
            inputs = [net.text_branch.embedding(cut)[None]  # type: ignore[operator]
                      for (_, net), cut in zip(self.networks, cuts, strict=True)]
        baselines = [mean[cut.kinds][None] for mean, cut in zip(self.mean_words, cuts, strict=True)]

        def heard(given: Sequence[Tensor], many: int) -> list[Tokens]:
            whole = self._batch([text.pieces] * many)
            result = self._unread(whole.mask)
            for (number, net), x in zip(self.networks, given, strict=True):
                branch = net.text_branch
                batch = whole if branch.most is None else whole.first(branch.most)
                result[number] = branch.together(branch.alone(batch, x.flatten(0, 1)), batch.mask)  # type: ignore[arg-type]
            return self._with_trees(result, whole)

        return inputs, baselines, heard

    def _vectors(self, text: Reading) -> tuple[list[Tensor], list[Tensor], Callable[..., list[Tokens]]]:
        """The same of the frozen encoder's tokens, whose means are the vectors of sentences."""
        encoded = text.encoded  # type: ignore[attr-defined]
        device = self.trained.device
        tokens = torch.from_numpy(np.asarray(encoded.tokens, np.float32)).to(device)[None]
        of = torch.from_numpy(encoded.sentence_of.astype(np.int64)).to(device)
        share = torch.nn.functional.one_hot(of, len(text.pieces)).to(tokens.dtype)
        share = (share / share.sum(0).clamp_min(1)).T

        def heard(given: Sequence[Tensor], many: int) -> list[Tokens]:
            whole = collate([text.pieces] * many, self.trained.config.text_dim).to(device)
            result = self._unread(whole.mask)
            for (number, net), x in zip(self.networks, given, strict=True):
                branch = net.text_branch
                result[number] = branch.together(branch.alone(whole, share @ x), whole.mask)  # type: ignore[arg-type]
            return result

        count = len(self.networks)
        return [tokens.clone() for _ in range(count)], \
            [mean.expand_as(tokens) for mean in self.mean_words], heard

    def _unread(self, mask: Tensor) -> list[Tokens]:
        """What a network of the structure alone is told of a text."""
        return [unread(net, mask) for net in self.trained.net.networks()]

    def _with_trees(self, words: list[Tokens], batch: WordBatch) -> list[Tokens]:
        return [net.text_branch(batch) if isinstance(net, TextTrees) else one
                for net, one in zip(self.trained.net.networks(), words, strict=True)]


def _sentence_of(text: Reading) -> np.ndarray[Any, np.dtype[np.int64]]:
    """`[tokens]`, the sentence of each token that has a gradient."""
    if isinstance(text, VectorReading):
        return text.encoded.sentence_of.astype(np.int64)
    return np.repeat(np.arange(len(text.pieces)), [len(piece.ids) for piece in text.pieces])  # type: ignore[attr-defined]


def _rows(text: Reading, unit: Unit) -> Any:
    if not isinstance(text, VectorReading):
        return unit.rows
    offsets = text.encoded.offsets
    return np.flatnonzero((offsets[:, 0] < unit.end) & (offsets[:, 1] > unit.start))
