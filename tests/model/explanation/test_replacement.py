"""Effects by replacement, again by the whole model on texts that were written and read."""

from typing import Any

import numpy as np
import pytest
import torch

from features import sentences
from model.explanation import replacement
from model.explanation.facts import Unit
from model.explanation.game import Game
from model.explanation.replacement import DONORS_ENCODED, Effects, donors_of, of_sentences, of_units
from model.explanation.texts import Change, Piece, Reading, WordReading, collate, rewritten
from tests.model.explanation.models import MEAN, OTHERS, PROTOTYPES, READ, STD, background, crystal, game, made, whole


def directly(mine: Game, structure: Any, text: Reading, unit: Unit, other: Reading, donor: Unit) -> float:
    """The prediction with a fact exchanged, from characters on."""
    written, tagged = rewritten(text, [Change(unit, (other, donor))])
    mineral = PROTOTYPES.get(other.text if unit.kind == "prototype" else text.text)
    read = WordReading.read({"text": written, "sentences": sentences.to_rows(tagged), "mineral": mineral})
    return whole(mine.trained, structure, read)


@pytest.mark.parametrize("name", ["cross_attention", "all kinds", "first words"])
def test_the_effect_of_a_fact(structures: dict[str, Any], name: str) -> None:
    """The prediction minus the mean of those with a fact of each donor: the one of its kind that is as far on."""
    mine, structure, text = game(structures, name), crystal(structures), READ["SrTiO3"]
    found = of_units(mine, mine.atoms(structure), text, text.parsed.facts)
    full, kinds = whole(mine.trained, structure, text), set()
    for number, unit in enumerate(text.parsed.facts):
        values = []
        for other in mine.explaining:
            same = [one for one in other.parsed.facts if one.kind == unit.kind]
            if same:
                values.append(directly(mine, structure, text, unit, other, same[number % len(same)]))
        if values:
            assert found.effect[number] == pytest.approx(full - np.mean(values), abs=3e-6)
            assert found.spread[number] == pytest.approx(np.std(values), abs=3e-6)
            kinds |= {unit.kind} if abs(found.effect[number]) > 1e-4 else set()
    assert len(kinds) > 3
    assert np.nanmax(found.spread) > 1e-4


def test_a_fact_without_donors_is_left_out(structures: dict[str, Any]) -> None:
    """No crystal of the half that explains has a dimensionality: its place stays empty, and there is no spread."""
    mine, structure, text = game(structures), crystal(structures), READ["MoS2"]
    (number,) = (number for number, one in enumerate(text.parsed.facts) if one.kind == "dimensionality")
    unit = text.parsed.facts[number]
    assert donors_of(unit, number, mine.explaining) == []
    found = of_units(mine, mine.atoms(structure), text, text.parsed.facts)
    assert np.isnan(found.spread[number])
    written, tagged = rewritten(text, [Change(unit, None)])
    without = WordReading.read({"text": written, "sentences": sentences.to_rows(tagged), "mineral": "Molybdenite"})
    expected = whole(mine.trained, structure, text) - whole(mine.trained, structure, without)
    assert found.effect[number] == pytest.approx(expected, abs=3e-6)
    assert abs(expected) > 1e-4
    assert of_units(mine, mine.atoms(structure), text, []).effect.shape == (0,)


def test_the_effect_of_a_mention(structures: dict[str, Any]) -> None:
    mine, structure, text = game(structures, "trees"), crystal(structures), READ["SrTiO3"]
    found = of_units(mine, mine.atoms(structure), text, text.parsed.mentions, "mentions")
    (number,) = (number for number, one in enumerate(text.parsed.mentions) if text.text[one.start:one.end] == "1.97 Å")
    values = [directly(mine, structure, text, text.parsed.mentions[number], other, donor)
              for other, donor in donors_of(text.parsed.mentions[number], number, mine.explaining, "mentions")]
    assert len(values) == 2
    assert found.effect[number] == pytest.approx(whole(mine.trained, structure, text) - np.mean(values), abs=3e-6)


def test_the_effect_of_a_sentence(structures: dict[str, Any]) -> None:
    """Replaced by one of the same region; left out where no other text has one."""
    one_sentence = {"mp-149": READ["Bi2O3"].text, "mp-22862": "NaCl crystallizes in the cubic Fm-3m space group."}
    mine = Game(made(), background(structures, {**one_sentence, "mp-127": OTHERS["mp-127"]}))
    structure, text = crystal(structures), READ["SrTiO3"]
    assert [other.text[:6] for other in mine.explaining] == ["Bi2O3 "]
    found = of_sentences(mine, mine.atoms(structure), text)
    full = whole(mine.trained, structure, text)
    for number, piece in enumerate(text.pieces):
        other = mine.explaining[0].of_region(piece.region)
        changed: list[Piece] = [*text.pieces[:number], *([other[number % len(other)]] if other else []),
                                *text.pieces[number + 1:]]
        with torch.no_grad():
            fused = mine.trained.net(structure, collate([changed], 1)).fused
        assert found.effect[number] == pytest.approx(full - (float(fused[0]) * STD + MEAN), abs=3e-6)
        assert np.isnan(found.spread[number]) == (not other)
        assert np.isnan(found.spread[number]) or found.spread[number] == 0  # of one donor
    assert np.isnan(found.spread).sum() == 3  # the semi-global ones
    assert np.abs(found.effect).max() > 1e-3


def test_no_more_donors_than_asked_for(structures: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    mine, structure, text = game(structures), crystal(structures), READ["SrTiO3"]
    atoms = mine.atoms(structure)

    def asked(most: int) -> tuple[int, Effects]:
        count = []
        with monkeypatch.context() as patch:
            real = mine.predict
            patch.setattr(mine, "predict", lambda atoms, variants: count.append(len(variants)) or real(atoms, variants))
            return count, of_units(mine, atoms, text, text.parsed.facts[:1], most=most)  # type: ignore[return-value]

    (one, single), (two, both) = asked(1), asked(16)
    assert (one, two) == ([2], [3])  # with the text as it is
    assert single.spread[0] == 0 < both.spread[0]
    assert DONORS_ENCODED < replacement.DONORS


def test_donors_are_not_all_the_first() -> None:
    others = [READ["Bi2O3"], READ["MoS2"]]
    unit = next(one for one in READ["SrTiO3"].parsed.facts if one.kind == "bond length")
    words = [[other.text[one.start:one.end] for other, one in donors_of(unit, number, others)] for number in range(3)]
    assert [len(some) for some in words] == [2, 2, 2]
    assert len({some[0] for some in words}) == 3
    assert {some[1] for some in words} == {"Mo(1)-S(1) bond lengths are 2.41 Å"}
