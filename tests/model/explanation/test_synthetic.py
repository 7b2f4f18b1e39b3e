"""A property made of the space group alone, in texts whose space groups were drawn at random."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from features.store import tables
from features.words.vocabulary import SYMMETRY, id_of_symmetry
from model import checkpoint
from model.checkpoint import Trained
from model.explanation import synthetic
from model.explanation.game import Game
from model.explanation.synthetic import Synthetic
from model.forward import load_splits
from model.input.loader import Dataset
from model.input.words import WordBatch
from model.nets.trees import TextTrees
from model.params import Members
from tests.model.explanation.models import MODELS, READ, background, made

MIRRORS = {id_of_symmetry(part): part.count("m") for part in SYMMETRY}


@pytest.fixture(scope="module")
def model(worded: Path) -> Trained:
    trained = checkpoint.load(worded)
    return replace(trained, params=trained.params.model_copy(update={"members": Members(fused=1, trees=1)}))


@pytest.fixture(scope="module")
def found(worded: Path, model: Trained) -> tuple[Synthetic, dict[str, Dataset], list[str]]:
    """The model, the data sets that it was trained on, and the crystals that it explains."""
    trained_on: dict[str, Dataset] = {}
    splits = load_splits(worded, model.params)
    told_of = [splits["test"].ids[row] for row in np.flatnonzero(splits["test"].n_texts)]
    with pytest.MonkeyPatch.context() as patch:
        real = synthetic.fit
        patch.setattr(synthetic, "EPOCHS", 3)
        patch.setattr(synthetic, "fit", lambda params, splits, *given, **how: trained_on.update(splits) or real(
            params, splits, *given, **how))
        return synthetic.make(worded, model, splits, told_of), trained_on, told_of


def group(text: str) -> str:
    return text.split(" space group")[0].split()[-1]


def own(root: Path) -> dict[str, str]:
    return {row["material_id"]: row["text"] for row in tables.read(root, "descriptions").to_pylist()}


def test_the_values_are_the_mirror_planes_of_the_texts(found: tuple[Synthetic, dict[str, Dataset], list[str]]) -> None:
    """Counted in the tokens that the network is given; a crystal without a text has no value."""
    _, trained_on, _ = found
    assert set(trained_on) == {"train", "validation"}
    seen = set()
    for split in trained_on.values():
        for batch in split.batches(split.plan(4)):
            assert isinstance(batch.text, WordBatch)
            crystal = batch.text.sentence // batch.text.mask.shape[1]
            for row, place in enumerate(batch.row):
                ids = batch.text.ids[crystal == row].tolist()
                value = float(split.targets[place])
                if not ids:
                    assert np.isnan(value)
                    assert split.ids[int(place)] == "mp-30"
                    continue
                assert value == sum(MIRRORS.get(one, 0) for one in ids)
                seen.add(value)
    assert len(seen) > 1
    assert all((one.labels[:, 0] == one.targets)[one.n_texts > 0].all() for one in trained_on.values())


def test_a_text_has_the_space_group_of_another_and_is_otherwise_its_own(
        found: tuple[Synthetic, dict[str, Dataset], list[str]], worded: Path) -> None:
    made_up, _, test = found
    texts = own(worded)
    assert len(made_up.texts) == len(test) > 5
    drawn = [group(one.text) for one in made_up.texts]
    assert Counter(drawn) == Counter(group(texts[one]) for one in test)
    assert drawn != [group(texts[one]) for one in test]
    for one, reading in zip(test, made_up.texts, strict=True):
        named = group(texts[one])
        assert texts[one].replace(f" {named} space group", f" {group(reading.text)} space group") == reading.text
        if group(reading.text) != named:
            assert f" {named} " not in reading.text
        (unit,) = (unit for unit in reading.parsed.facts if unit.kind == "space group")
        assert reading.text[unit.start:unit.end] == group(reading.text)
        assert synthetic._value(reading) == group(reading.text).count("m")


def test_the_training_texts_do_not_leak_their_own_space_groups(
        found: tuple[Synthetic, dict[str, Dataset], list[str]], worded: Path) -> None:
    """The tokens of the symmetries are drawn: some crystals have those of others."""
    _, trained_on, _ = found
    texts, other = own(worded), 0
    names = {id_of_symmetry(part): part for part in SYMMETRY}
    for split in trained_on.values():
        for batch in split.batches(split.plan(4)):
            assert isinstance(batch.text, WordBatch)
            crystal = batch.text.sentence // batch.text.mask.shape[1]
            for row, place in enumerate(batch.row):
                parts = [names[one] for one in batch.text.ids[crystal == row].tolist() if one in names]
                other += bool(parts) and "".join(parts) != group(texts[split.ids[int(place)]])
    assert other > 5


def test_the_model_reads_the_text_alone(found: tuple[Synthetic, dict[str, Dataset], list[str]],
                                        model: Trained) -> None:
    made_up, trained_on, _ = found
    game = made_up.game
    assert game.trained.net.kinds == ["text", "trees"]
    assert (len(game.background), len(made_up.atoms[0].values)) == (14, 1)
    pieces = [one.pieces for one in made_up.texts]
    predicted = game.predict(made_up.atoms, pieces)
    others = [type(one)(torch.randn_like(one.values), one.mask) for one in made_up.atoms]
    np.testing.assert_array_equal(game.predict(others, pieces), predicted)
    assert np.ptp(predicted) > 1e-4
    train = trained_on["train"].targets[np.isfinite(trained_on["train"].targets)]
    assert game.trained.config.target_mean == pytest.approx(train.mean())
    assert game.trained.config.target_std == pytest.approx(train.std())
    assert isinstance(game.trained.net.networks()[1], TextTrees)
    assert model.net.kinds == ["fused"]  # the real one is what it was
    values = np.array([synthetic._value(one) for one in made_up.texts])
    assert made_up.learned() == pytest.approx(np.abs(predicted - values).mean() / np.abs(values - values.mean()).mean())


def test_what_finds_the_fact_and_what_does_not(structures: dict[str, Any]) -> None:
    made_up = Synthetic(Game(made(**MODELS["text_only"]), background(structures)), list(READ.values()))

    def naming(kind: str, sign: float = 1.0) -> list[Any]:
        return [np.array([sign if unit.kind == kind else 0.1 for unit in text.parsed.facts]) for text in made_up.texts]

    assert made_up.found(naming("space group")).tolist() == [1.0] * 6
    assert made_up.found(naming("space group", -1.0)).tolist() == [1.0] * 6
    assert made_up.found(naming("formula")).tolist() == [0.0] * 6
    assert made_up.found([*naming("space group")[:3], *naming("formula")[3:]]).mean() == 0.5
    assert made_up.chance() == pytest.approx(np.mean([1 / len(one.parsed.facts) for one in READ.values()]))


@pytest.mark.parametrize(("says", "error"), [("the truth", 0.0), ("the mean", 1.0)])
def test_whether_it_has_learned(says: str, error: float) -> None:
    texts = list(READ.values())
    values = np.array([group(one.text).count("m") for one in texts], float)
    assert np.ptp(values) > 0
    answer = values if says == "the truth" else np.full(len(values), values.mean())
    game = SimpleNamespace(predict=lambda _atoms, variants: answer[:len(variants)], others_atoms=[])
    assert Synthetic(cast(Game, game), texts).learned() == pytest.approx(error)
