"""The whole model: structure encoder, text branch, fusion, and one head for each branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from features.sentences import REGIONS
from model.input.batch import Ints, StructureBatch, TensorGroup, TextBatch
from model.input.words import WordBatch
from model.nets import encoders, fusion
from model.nets.contrast import Contrast
from model.nets.fusion import Tokens
from model.nets.words import WordsBranch
from model.params import LossWeights, Masking, TrainParams


class Prediction(NamedTuple):
    """Predictions of the three branches, `[crystals]` each, in units of the target's standard deviation."""

    fused: Tensor
    structure: Tensor
    text: Tensor
    attention: Tensor | None
    """See `fusion.Fused`."""
    spread: Tensor | None = None
    """`[crystals]`, standard deviation over the networks of an ensemble."""
    further: Tensor | None = None
    """`[branches, crystals, targets]`: what fused, structure and text branch predict of the targets of `train.also`."""
    contrast: Tensor | None = None
    """Scalar, the loss of `model.nets.contrast` as a training step sees the crystals, where there is that term."""


@dataclass(frozen=True)
class Hidden(TensorGroup):
    """What one training step does not show."""

    atoms: Tensor
    """`[atoms]`, True where the element is hidden."""
    sentences: Tensor
    """`[crystals, sentences]`, True where the sentence is hidden."""
    structure: Tensor
    """`[crystals]`, True where a fused branch that reads both views gets no structure."""
    text: Tensor
    """`[crystals]`, True where it gets no text."""


def draw_hidden(structure: StructureBatch, text: TextBatch | WordBatch, rows: Ints, masking: Masking,
                seed: Sequence[int]) -> Hidden:
    """Draw what is hidden. At least one sentence of a text always stays, and atoms alike by symmetry go together.

    A draw follows from the seed, the crystal's row in the data set and the place in it alone: it does not depend on
    the batch, nor on how many processes share it.

    Args:
        structure: on the CPU.
        text: of the same crystals.
        rows: `[crystals]`, index in the data set.
        masking: the probabilities.
        seed: such as (seed of the run, epoch).
    """
    crystals, sentences = text.mask.shape
    mask = text.mask.numpy()
    scores = uniform([*seed, 0], rows[:, None], np.arange(sentences)[None])
    hidden = mask & (scores < masking.sentences)
    hidden[np.arange(crystals), np.where(mask, scores, -1.0).argmax(axis=1)] = False
    modality = uniform([*seed, 1], rows, np.zeros_like(rows))
    crystal = structure.crystal[structure.first].numpy()
    start = np.cumsum(structure.n_orbits.numpy()) - structure.n_orbits.numpy()
    orbits = uniform([*seed, 2], rows[crystal], np.arange(len(crystal)) - start[crystal]) < masking.atoms
    return Hidden(
        atoms=torch.from_numpy(orbits)[structure.orbit],
        sentences=torch.from_numpy(hidden),
        structure=torch.from_numpy((modality < masking.drop_structure) & mask.any(axis=1)),
        text=torch.from_numpy(modality > 1 - masking.drop_text),
    )


def uniform(seed: Sequence[int], row: Ints, index: Ints) -> NDArray[np.float64]:
    """Numbers in [0, 1), one for each (row, index), broadcast: SplitMix64 (Steele et al., OOPSLA 2014) of a counter."""
    key = np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)
    x = key + (row.astype(np.uint64) << np.uint64(32)) + index.astype(np.uint64)
    for _ in range(2):  # twice, since counters in a row differ in a few bits only
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53


class TextBranch(nn.Module):
    """Sentence (or token) vectors of the frozen encoder, projected linearly, plus what region they speak of."""

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(text_dim, dim)
        self.region = nn.Embedding(len(REGIONS), dim)
        nn.init.normal_(self.region.weight, std=dim**-0.5)

    most = None
    """No text is cut."""

    def forward(self, batch: TextBatch, hidden: Tensor | None = None) -> Tokens:
        return self.together(self.alone(batch), batch.mask if hidden is None else batch.mask & ~hidden)

    def alone(self, batch: TextBatch, embedded: Tensor | None = None) -> Tensor:
        """`[crystals, sentences, dim]`; `embedded`: vectors in place of those of the batch."""
        vectors = batch.vectors if embedded is None else embedded
        # The encoders' vectors have very different lengths (MiniLM ~1, BERT-base ~10); the direction is what counts.
        vectors = F.normalize(vectors, dim=-1) * vectors.shape[-1] ** 0.5
        return self.project(vectors) + self.region(batch.regions)

    def together(self, y: Tensor, mask: Tensor) -> Tokens:
        """What no layer joins; what is in the mask stays."""
        return Tokens(y, mask)


class Head(nn.Sequential):
    """Linear, ReLU, linear: `[crystals, targets]`."""

    def __init__(self, dim: int, targets: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, targets))


class MultimodalNet(nn.Module):
    """Structure and text of a crystal in, three predictions of one property out, or of several at once."""

    def __init__(self, params: TrainParams, text_dim: int) -> None:
        super().__init__()
        self.encoder = encoders.make(params)
        dim = int(self.encoder.dim)  # type: ignore[arg-type]
        self.text_branch = WordsBranch(params.words, dim) if params.text == "words" else TextBranch(text_dim, dim)
        self.fusion = fusion.make(params.fusion, dim, params.crystalformer.heads, params.cross_attention)
        self.without_text, self.without_structure = params.without_text, params.without_structure
        self.fuses_both, self.apart = params.fuses_both, params.gradients == "apart"
        self.learns_text = params.fusion != "structure_only" or params.loss.text > 0
        targets = 1 + len(params.also)
        self.head_fused, self.head_structure, self.head_text = (Head(dim, targets) for _ in range(3))
        self.contrast = Contrast(dim) if params.loss.contrast > 0 else None

    def clipped_together(self) -> list[list[nn.Parameter]]:
        """Parameters whose gradients are clipped to one norm: those of branches that learn apart are not."""
        if not self.apart:
            return [list(self.parameters())]
        structure = [*self.encoder.parameters(), *self.head_structure.parameters()]
        mine = {id(parameter) for parameter in structure}
        return [structure, [parameter for parameter in self.parameters() if id(parameter) not in mine]]

    def forward(self, structure: StructureBatch, text: TextBatch | WordBatch,
                hidden: Hidden | None = None) -> Prediction:
        """Predict; with `hidden`, as a training step sees the crystals.

        A step of a network whose loss no text enters does not read it: its prediction by text is that of zeros.
        """
        atoms = self.structure_tokens(structure, hidden.atoms if hidden else None)
        if hidden is None or self.learns_text:
            words = self.text_branch(text, hidden.sentences if hidden else None)
        else:
            words = Tokens(atoms.values.new_zeros(*text.mask.shape, atoms.values.shape[-1]), text.mask)
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
        """From the tokens of both views to predictions.

        A fused branch that never lacks a view while training does not predict for a crystal that does: the other
        view's branch predicts, or if that does not learn either, nobody, and the fused prediction is not a number.
        With neither view it never is one. What `hidden` takes from a crystal is no lack: from it the branch learns.
        """
        shown_atoms, shown_words = atoms, words
        if hidden is not None and self.fuses_both:  # from one view alone there is nothing to learn without it
            shown_atoms = Tokens(atoms.values, atoms.mask & ~hidden.structure[:, None])
            shown_words = Tokens(words.values, words.mask & ~hidden.text[:, None])
        if self.apart:
            shown_atoms = Tokens(shown_atoms.values.detach(), shown_atoms.mask)
        together = self.fusion(shown_atoms, shown_words)
        fused, structure = self.head_fused(together.vector), self.head_structure(atoms.mean())
        text = self.head_text(words.mean())
        nobody = torch.full_like(fused, torch.nan)
        by: dict[str | None, Tensor] = {"fused": fused, "text": text, None: nobody,
                                        "structure": structure.detach() if self.apart else structure}
        has_atoms, has_words = atoms.present[:, None], words.present[:, None]
        with_atoms = torch.where(has_words, fused, by[self.without_text])
        without_atoms = torch.where(has_words, by[self.without_structure], nobody)
        fused = torch.where(has_atoms, with_atoms, without_atoms)
        further = torch.stack([fused[:, 1:], structure[:, 1:], text[:, 1:]]) if fused.shape[1] > 1 else None
        contrast = None if hidden is None or self.contrast is None else self.contrast(shown_atoms, shown_words)
        return Prediction(fused[:, 0], structure[:, 0], text[:, 0], together.attention, None, further, contrast)


def joint_loss(prediction: Prediction, target: Tensor, has_text: Tensor, weights: LossWeights,
               weight: Tensor | None = None, labelled: Sequence[int] | None = None,
               with_text: Sequence[int] | None = None, crystals: int | None = None, needs_text: bool = False) -> Tensor:
    """Weighted sum of the three branches' mean absolute errors; the text branch counts crystals with a text.

    The error of a branch is that of the target, and of each of n further targets with the weight `also`/n. A mean is
    that over the crystals that have the target. The contrast of a share counts by its share of the step's crystals.

    Args:
        prediction: of the crystals at hand.
        target: `[crystals, targets]`, the target and the further ones; NaN where a crystal has none.
        has_text: `[crystals]`.
        weights: of the branches, of the further targets, and of the contrast.
        weight: `[crystals]`, 0 for those that do not count.
        labelled: `[targets]`, crystals of the whole step that have each, if these are a share of it: the shares' losses
            sum to the step's.
        with_text: `[targets]`, those of them that have a text.
        crystals: of the whole step.
        needs_text: nothing is predicted without a text, and nothing learned from a crystal that has none.
    """
    known = ~target.isnan()
    weight = torch.ones_like(target[:, 0]) if weight is None else weight
    labelled = known.sum(0).tolist() if labelled is None else labelled
    with_text = (known & has_text[:, None]).sum(0).tolist() if with_text is None else with_text

    def mean(branch: int, first: Tensor, weight: Tensor, counts: Sequence[int]) -> Tensor:
        every = [first] if prediction.further is None else [first, *prediction.further[branch].unbind(1)]
        if branch == 0 and needs_text:  # else nobody's prediction, which is no number, stays none even at a weight of 0
            every = [values.where(has_text, 0.0) for values in every]
        means = [((values - goal).abs() * (weight * there)).sum() / max(count, 1) for values, goal, there, count in
                 zip(every, target.nan_to_num().unbind(1), known.unbind(1), counts, strict=True)]
        return means[0] + weights.also / max(len(means) - 1, 1) * sum(means[1:])

    if needs_text:
        loss = weights.fused * mean(0, prediction.fused, weight * has_text, with_text)
    else:
        loss = weights.fused * mean(0, prediction.fused, weight, labelled)
    if weights.structure > 0:
        loss = loss + weights.structure * mean(1, prediction.structure, weight, labelled)
    if weights.text > 0:
        loss = loss + weights.text * mean(2, prediction.text, weight * has_text, with_text)
    if prediction.contrast is not None:
        loss = loss + weights.contrast * prediction.contrast * weight.sum() / (crystals or len(target))
    return loss
