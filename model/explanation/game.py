"""What a model predicts when parts of a crystal are replaced by those of the background, and Shapley values of it.

The players are the structure and the three regions of the text. v(C), the value of a coalition C, is the mean
prediction over the crystals of the background, where what is in C is the crystal's own and all else is that crystal's.
So v of nobody is the mean prediction for the background, the *reference*, and v of all is the prediction. The Shapley
value of a player i of n = 4 is Σ_C |C|! (n − |C| − 1)! / n! · (v(C ∪ i) − v(C)) over the coalitions without i (Shapley
1953), exact here: all 16 are asked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.sentences import REGIONS
from model.background import Background
from model.checkpoint import Trained
from model.explanation.texts import Piece, Reading, collate, cut, nothing, reader
from model.input.batch import StructureBatch
from model.nets.ensemble import unread
from model.nets.fusion import Tokens
from model.nets.network import MultimodalNet
from model.nets.trees import TextTrees

Floats = NDArray[np.float64]
Said = tuple[list[list[Piece]], dict[Piece, int], Tensor]
"""Variants, the place of each of their pieces, and what is made of each: `[pieces, width]`."""
PLAYERS = ("structure", *REGIONS)
WEIGHTS_AT_ONCE = 2_000_000
"""Variants times sentences times what attends to them, atoms or sentences, in one pass: what bounds the memory."""
VARIANTS_AT_ONCE = 128


class Game:
    """A model, and the background that its explanations compare with."""

    def __init__(self, trained: Trained, background: Background | None = None) -> None:
        self.trained = trained
        self.background = background or Background.of(trained)
        self.read = reader(trained)

    def played_by(self, trained: Trained) -> Game:
        """The same with another model that reads texts in the same way: none is read twice."""
        game = Game.__new__(Game)
        game.trained, game.background, game.read = trained, self.background, self.read
        game.others = self.others
        return game

    @cached_property
    def others(self) -> list[Reading]:
        """The background's descriptions."""
        return [self.read(row) for row in self.background.texts]

    @property
    def explaining(self) -> list[Reading]:
        """The half of them whose facts stand in the place of others when effects are measured."""
        return self.others[:max(1, len(self.others) // 2)]

    @property
    def testing(self) -> list[Reading]:
        """The other half, by which effects are tested; the same crystal where there is one alone."""
        return self.others[len(self.others) // 2:]

    @cached_property
    def others_atoms(self) -> list[Tokens]:
        """The background's atoms, as each network sees them."""
        return self.atoms(self.background.structures)

    @torch.no_grad()
    def atoms(self, crystals: StructureBatch) -> list[Tokens]:
        """Tokens of the crystals' atoms, as each network sees them."""
        return self.trained.net.structure_tokens(crystals.to(self.trained.device))

    def predict(self, atoms: Sequence[Tokens], variants: Sequence[Sequence[Piece]]) -> Floats:
        """`[variants]`, predictions in the learned unit.

        Args:
            atoms: for each network the tokens of one crystal, or those of n crystals: variant v is asked of crystal
                v modulo n.
            variants: texts.
        """
        values: Floats = self.predict_each([atoms], variants)[0]
        return values

    @torch.no_grad()
    def predict_each(self, structures: Sequence[Sequence[Tokens]], variants: Sequence[Sequence[Piece]]) -> Floats:
        """`[structures, variants]`, the same for several structures, each as `atoms` of `predict`."""
        if not variants:
            return np.zeros((len(structures), 0))
        said = [self._said(number, variants) for number in range(len(self.trained.net.kinds))]
        alone = [self._by_structure(atoms) for atoms in structures]
        values = torch.zeros(len(structures), len(variants), device=self.trained.device)
        for row in self._shares(structures, variants):
            shown = [variants[number] for number in row]
            words = self._words(shown, [one and ([one[0][number] for number in row], *one[1:]) for one in said])
            by_text = self._by_text(words)
            place = torch.tensor(row, device=self.trained.device)
            for number, (atoms, by_structure) in enumerate(zip(structures, alone, strict=True)):
                fused = [text if text is not None else structure[place % len(structure)] if structure is not None
                         else net.fuse(_rows(tokens, place), heard).fused for net, tokens, heard, text, structure in
                         zip(self.trained.net.networks(), atoms, words, by_text, by_structure, strict=True)]
                values[number, place] = self.trained.net.blend(torch.stack(fused))
        return self.trained.natural(values).numpy()

    def _shares(self, structures: Sequence[Sequence[Tokens]], variants: Sequence[Sequence[Piece]]) -> list[list[int]]:
        """Numbers of the variants that come together: those of about one length, so that little is padded."""
        order = sorted(range(len(variants)), key=lambda number: len(variants[number]))
        atoms = max(one.mask.shape[1] for tokens in structures for one in tokens)
        shares: list[list[int]] = []
        for number in reversed(order):
            longest = len(variants[shares[-1][0]]) if shares else 0
            if not shares or len(shares[-1]) >= min(
                    VARIANTS_AT_ONCE, WEIGHTS_AT_ONCE // max(1, longest * max(longest, atoms))):
                shares.append([])
            shares[-1].append(number)
        return shares

    def _by_structure(self, atoms: Sequence[Tokens]) -> list[Tensor | None]:
        """What each network of the structure alone predicts, `[crystals]`: the same whatever the text; None for
        others."""
        return [net.fuse(tokens, unread(net, tokens.mask[:, :1])).fused if kind == "structure" else None
                for kind, net, tokens in zip(self.trained.net.kinds, self.trained.net.networks(), atoms, strict=True)]

    def _by_text(self, words: Sequence[Tokens]) -> list[Tensor | None]:
        """What each network of the text alone, and each forest, predicts, `[variants]`."""
        return [net.fuse(heard, heard).fused if kind in ("text", "trees") else None
                for kind, net, heard in zip(self.trained.net.kinds, self.trained.net.networks(), words, strict=True)]

    def _said(self, number: int, variants: Sequence[Sequence[Piece]]) -> Said | None:
        """The variants as a network reads them, and what it makes of each piece by itself: most pieces stand in many
        variants. None for a network of the structure alone, and for trees, which read texts as a whole."""
        net = self.trained.net.networks()[number]
        if self.trained.net.kinds[number] == "structure" or isinstance(net, TextTrees):
            return None
        shown = [cut(variant, net.text_branch.most) for variant in variants]
        place, known = self._others_said[number]
        new: dict[Piece, int] = {}
        for variant in shown:
            for piece in variant:
                if piece not in place:
                    new.setdefault(piece, len(place) + len(new))
        return shown, {**place, **new}, torch.cat([known, self._alone(net, list(new))]) if new else known

    @cached_property
    def _others_said(self) -> dict[int, tuple[dict[Piece, int], Tensor]]:
        """What each text network makes of the background's sentences, which are asked again and again, and of one that
        says nothing, the first."""
        result = {}
        for number, (kind, net) in enumerate(zip(self.trained.net.kinds, self.trained.net.networks(), strict=True)):
            if kind != "structure" and not isinstance(net, TextTrees):
                pieces = [nothing(self.trained.config.text_dim),
                          *(piece for other in self.others for piece in other.pieces)]
                result[number] = {piece: place for place, piece in enumerate(pieces)}, self._alone(net, pieces)
        return result

    @torch.no_grad()
    def _alone(self, net: MultimodalNet, pieces: Sequence[Piece]) -> Tensor:
        batch = collate([[piece] for piece in pieces], self.trained.config.text_dim).to(self.trained.device)
        return net.text_branch.alone(batch)[:, 0]  # type: ignore[arg-type]

    def _words(self, variants: Sequence[Sequence[Piece]], said: Sequence[Said | None]) -> list[Tokens]:
        """Tokens of the texts as each network reads them; one of the structure alone reads nothing."""
        device = self.trained.device
        whole = collate(variants, self.trained.config.text_dim).to(device)
        result = []
        for net, mine in zip(self.trained.net.networks(), said, strict=True):
            if isinstance(net, TextTrees):
                result.append(net.text_branch(whole))
            elif mine is None:
                result.append(unread(net, whole.mask))
            else:
                shown, place, alone = mine
                index = np.zeros(tuple(whole.mask.shape), np.int64)
                for row, variant in enumerate(shown):
                    index[row, :len(variant)] = [place[piece] for piece in variant]
                mask = whole.mask if net.text_branch.most is None else \
                    collate(shown, self.trained.config.text_dim).mask.to(device)
                result.append(net.text_branch.together(alone[torch.from_numpy(index).to(device)], mask))
        return result

    def contributions(self, crystal: StructureBatch, text: Reading) -> dict[str, float]:
        """`PLAYERS` → exact Shapley values in the learned unit, and `reference`: all together are the prediction."""
        values, reference = shapley(self.values(self.atoms(crystal), text))
        return dict(zip(PLAYERS, values, strict=True)) | {"reference": reference}

    def values(self, atoms: Sequence[Tokens], text: Reading) -> Floats:
        """`[2, 2, 2, 2]`, v of each coalition; an index is 1 where that player is in it."""
        count = len(self.background)
        coalitions = list(itertools.product((False, True), repeat=len(REGIONS)))
        variants = [_mixed(text, other, coalition) for coalition in coalitions for other in self.others]
        predicted = self.predict_each([self.others_atoms, atoms], variants).reshape(2, len(coalitions), count)
        return predicted.mean(axis=2).reshape((2,) * len(PLAYERS))


def _mixed(text: Reading, other: Reading, own: Sequence[bool]) -> list[Piece]:
    """The regions of a text that are its own (`own`, one for each), with the other regions of another text.

    A text that is whole keeps its order, which counts where a network reads the first words alone.
    """
    if len(set(own)) == 1:
        return list((text if own[0] else other).pieces)
    return [piece for region, mine in enumerate(own) for piece in (text if mine else other).of_region(region)]


def _rows(one: Tokens, row: Tensor) -> Tokens:
    """The tokens of these variants: the crystals again and again."""
    if len(one.values) == 1:
        return Tokens(one.values.expand(len(row), -1, -1), one.mask.expand(len(row), -1))
    return Tokens(one.values[row % len(one.values)], one.mask[row % len(one.values)])


def shapley(values: Floats) -> tuple[list[float], float]:
    """Shapley value of each player, and v of nobody.

    `values`: `[2, …, 2]`, v of each coalition, an axis for each player.
    """
    n = values.ndim
    result = []
    for player in range(n):
        without, joined = (np.take(values, one, axis=player) for one in (0, 1))
        sizes = np.indices(without.shape).sum(axis=0) if n > 1 else np.zeros(())
        weights = np.vectorize(lambda size: math.factorial(size) * math.factorial(n - size - 1))(sizes.astype(int))
        result.append(float((weights * (joined - without)).sum() / math.factorial(n)))
    return result, float(values.reshape(-1)[0])
