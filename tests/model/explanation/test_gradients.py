"""Integrated gradients are complete: they add up to the prediction minus that of the baseline, by the whole model."""

from typing import Any

import numpy as np
import pytest
import torch

from features.text_encoder import EncodedText
from features.words.vocabulary import KINDS
from model.explanation import gradients
from model.explanation.game import Game
from model.explanation.gradients import Integrated
from model.explanation.texts import Reading, VectorReading, WordPiece, collate
from model.input.batch import StructureBatch, Text, collate_texts
from model.nets.fusion import Tokens
from model.nets.network import MultimodalNet
from model.nets.words import WordsBranch
from tests.model.explanation.models import MEAN, MODELS, READ, STD, background, crystal, game, made, row, whole

SENTENCES = {"mp-149": "Si crystallizes in the cubic Fd-3m space group.",
             "mp-127": "Na is Copper structured and crystallizes in the cubic Im-3m space group."}
OXIDE = "SrTiO3 crystallizes in the cubic Pm-3m space group. All Ti(1)-O(1) bond lengths are 1.97 Å."


def mean_atoms(mine: Game) -> list[torch.Tensor]:
    """For each network the mean token of all atoms of the background's crystals."""
    with torch.no_grad():
        tokens = mine.trained.net.structure_tokens(mine.background.structures)
    return [torch.cat([values[mask] for values, mask in zip(one.values, one.mask, strict=True)]).mean(0)
            for one in tokens]


def atoms_at_baseline(mine: Game, structure: StructureBatch) -> list[Tokens]:
    return [Tokens(mean.expand_as(one.values), one.mask)
            for mean, one in zip(mean_atoms(mine), mine.atoms(structure), strict=True)]


def baseline(mine: Game, structure: StructureBatch, text: Reading) -> float:
    """The whole model's prediction from mean atoms and from mean words of the same role."""
    batch = collate([text.pieces], 1)
    hooks = []
    for net in mine.trained.net.networks():
        if isinstance(net, MultimodalNet) and isinstance(net.text_branch, WordsBranch):
            with torch.no_grad():
                theirs = collate([one.pieces for one in mine.others], 1)
                embedded = net.text_branch.embed(theirs)
            of_role = {kind: embedded[theirs.kinds == kind].mean(0) if (theirs.kinds == kind).any()
                       else embedded.mean(0) for kind in range(len(KINDS))}
            hooks.append(net.text_branch.embed.register_forward_hook(
                lambda _module, given, _out, means=of_role: torch.stack([means[int(k)] for k in given[0].kinds])))
    try:
        with torch.no_grad():
            words = mine.trained.net.text_tokens(batch)
            fused = mine.trained.net.fuse(atoms_at_baseline(mine, structure), words).fused
    finally:
        for hook in hooks:
            hook.remove()
    return float(fused[0]) * STD + MEAN


@pytest.mark.parametrize(("name", "steps", "off"), [
    *((name, gradients.STEPS, 2e-2) for name in MODELS),
    *((name, 300, 1e-3) for name in ("two layers, both ways", "all kinds"))])
def test_they_add_up(structures: dict[str, Any], name: str, steps: int, off: float,
                     monkeypatch: pytest.MonkeyPatch) -> None:
    """The better, the more points the path has. What trees say of the text is in nobody's share."""
    monkeypatch.setattr(gradients, "STEPS", steps)
    mine, structure, text = game(structures, name), crystal(structures), READ["SrTiO3"]
    found = Integrated(mine).explain(mine.atoms(structure), text)
    difference = whole(mine.trained, structure, text) - baseline(mine, structure, text)
    size = np.abs(found.text).sum() + np.abs(found.atoms).sum()
    assert size > 1e-3
    assert found.text.sum() + found.atoms.sum() == pytest.approx(difference, abs=off * size)


@pytest.mark.parametrize("name", ["gated", "two layers, both ways", "all kinds"])
def test_sums_over_units_and_sentences(structures: dict[str, Any], name: str) -> None:
    mine, structure, text = game(structures, name), crystal(structures), READ["Ca5Sb3"]
    found = Integrated(mine).explain(mine.atoms(structure), text)
    assert found.text.shape == (sum(len(piece.ids) for piece in text.pieces if isinstance(piece, WordPiece)),)
    assert found.atoms.shape == (len(structures["mp-5229"]),)
    facts = found.of_units(text, text.parsed.facts)
    by_sentence = found.of_sentences(text)
    for number in range(len(text.pieces)):
        mine_of = [value for value, one in zip(facts, text.parsed.facts, strict=True) if one.sentence == number]
        assert by_sentence[number] == pytest.approx(sum(mine_of), abs=1e-12)
    assert by_sentence.sum() == pytest.approx(found.text.sum())
    assert np.ptp(facts) > 1e-5


def test_what_is_not_read_has_no_share(structures: dict[str, Any]) -> None:
    structure, text = crystal(structures), READ["SrTiO3"]

    def explained(name: str) -> gradients.Gradients:
        mine = game(structures, name)
        return Integrated(mine).explain(mine.atoms(structure), text)

    blind, reader, cut = explained("structure_only"), explained("text_only"), explained("first words")
    assert not blind.text.any()
    assert blind.atoms.any()
    assert not reader.atoms.any()
    assert reader.text.all()
    assert cut.text[:20].all()
    assert not cut.text[20:].any()
    trees = explained("trees")  # nothing of the text has a gradient
    assert not trees.text.any()
    assert trees.atoms.any()


def test_a_crystal_of_the_mean_has_no_share(structures: dict[str, Any]) -> None:
    """A background of this very crystal whose atoms are all alike, and a text in which each role has one word."""
    said = {"mp-127": "Na crystallizes in the Im-3m space group."}
    mine = Game(made(fusion="gated"), background(structures, said))
    text = mine.others[0]
    found = Integrated(mine).explain(mine.atoms(mine.background.structures), text)
    assert np.abs(found.atoms).max() < 1e-7
    assert abs(found.text[-1]) < 1e-7  # the only element, behind the parts of the space group
    assert np.abs(found.text[:-1]).max() > 1e-5


def test_of_the_frozen_encoders_tokens(structures: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "STEPS", 200)
    trained = made(text="sentences", text_dim=384, members={"fused": 1, "structure": 1, "text": 1})
    mine, structure = Game(trained, background(structures, SENTENCES)), crystal(structures)
    text = mine.read(row(OXIDE))
    assert isinstance(text, VectorReading)
    found = Integrated(mine).explain(mine.atoms(structure), text)
    encoded: EncodedText = text.encoded
    assert found.text.shape == (len(encoded.tokens),)
    every = np.concatenate([one.encoded.tokens for one in mine.others])  # type: ignore[attr-defined]
    regions = np.array([piece.region for piece in text.pieces])
    vectors = np.tile(every.mean(axis=0, dtype=np.float64), (2, 1)).astype(np.float32)
    with torch.no_grad():
        words = trained.net.text_tokens(collate_texts([Text(vectors, regions)], 384))
        fused = trained.net.fuse(atoms_at_baseline(mine, structure), words).fused
    difference = whole(trained, structure, text) - float(fused[0]) * STD - MEAN
    size = np.abs(found.text).sum() + np.abs(found.atoms).sum()
    assert found.text.sum() + found.atoms.sum() == pytest.approx(difference, abs=2e-3 * size)
    assert found.of_sentences(text).sum() == pytest.approx(found.text.sum())
    facts = found.of_units(text, text.parsed.facts)
    (group,) = (number for number, one in enumerate(text.parsed.facts) if one.kind == "space group")
    unit = text.parsed.facts[group]
    inside = [value for value, (start, end) in zip(found.text, encoded.offsets.tolist(), strict=True)
              if start >= unit.start and end <= unit.end]
    assert len(inside) > 1
    assert facts[group] == pytest.approx(sum(inside))
    assert facts[group] != 0
