"""Other texts in the place of a crystal's own, and parts that share no group."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.errors import UserError
from features.store import tables
from model.experiments import baselines, controls
from model.experiments.folds import PARTS, Population
from model.forward import load_splits
from model.input.loader import Dataset
from model.params import TrainParams
from pipelines.engine import stages


@pytest.fixture(scope="module")
def population(project: Path) -> Population:
    return Population.of(project, "k_vrh", "log10", 5)


def datasets(project: Path, population: Population) -> dict[str, Dataset]:
    return load_splits(project, TrainParams(), population.parts(0, 0.3))


def texts_of(dataset: Dataset) -> list[bytes]:
    """What each crystal shows, as bytes of its vectors."""
    (batch,) = dataset.batches([np.arange(len(dataset))])
    return [vectors[mask].numpy().tobytes() for vectors, mask in zip(batch.text.vectors, batch.text.mask, strict=True)]


def test_no_group_is_in_two_folds_or_parts(population: Population) -> None:
    fold_of: dict[str, int] = {}
    for group, fold in zip(population.groups, population.fold.tolist(), strict=True):
        assert fold_of.setdefault(group, fold) == fold
    tested = []
    for fold in range(5):
        parts = population.parts(fold, 0.3)
        part_of: dict[str, str] = {}
        for i, group in zip(population.ids, population.groups, strict=True):
            assert part_of.setdefault(group, parts[i]) == parts[i]
        assert set(parts.values()) == set(PARTS)
        tested += [i for i in population.ids if parts[i] == "test"]
    assert sorted(tested) == population.ids


def test_folds_other_than_those_of_the_tables_are_refused(project: Path) -> None:
    with pytest.raises(UserError, match="need 4 folds by reduced formula, but the table splits has 5 by"):
        Population.of(project, "k_vrh", "log10", 4)


def test_a_population_is_kept_as_it_is(population: Population) -> None:
    again = Population.from_table(population.to_table())
    assert again.digest == population.digest
    assert replace(again, y=again.y + 1e-7).digest != population.digest
    assert replace(again, y=np.nextafter(again.y, np.inf)).digest == population.digest


@pytest.mark.parametrize("sizes", [[1, 1], [3, 3], [4, 1, 2, 1], [1] * 50 + [20] + [7] * 3])
def test_nobody_gets_a_text_of_his_own_formula(sizes: list[int]) -> None:
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    given = controls.anothers(groups, (0, 1))
    assert sorted(given) == list(range(len(groups)))
    assert all(groups[place] != groups[owner] for place, owner in enumerate(given))
    if len(groups) > 8:
        assert not np.array_equal(given, controls.anothers(groups, (1, 1)))


def test_a_formula_that_is_everywhere_cannot_be_shuffled() -> None:
    with pytest.raises(UserError, match="one formula is more than half of a part"):
        controls.anothers(["a", "a", "b"], (0,))


def test_shuffled_texts_are_those_of_other_crystals(project: Path, population: Population) -> None:
    groups = dict(zip(population.ids, population.groups, strict=True))
    for dataset in datasets(project, population).values():
        own = texts_of(dataset)
        shown = texts_of(controls.shown(project, dataset, "anothers", groups, (0, 0)))
        assert sorted(shown) == sorted(own)
        for i, text in zip(dataset.ids, shown, strict=True):
            owners = [other for other, mine in zip(dataset.ids, own, strict=True) if mine == text]
            assert i not in owners
            assert all(groups[owner] != groups[i] for owner in owners)


def test_training_and_test_both_show_them(project: Path, population: Population) -> None:
    """Variants and shares of the plan go through the same assignment."""
    dataset = datasets(project, population)["train"]
    given = np.roll(np.arange(len(dataset)), 1)
    other = dataset.showing(texts_of=given)
    plan = [np.arange(len(dataset))]
    (expected,) = dataset.batches(plan, np.full(len(dataset), 1)[given], texts_of=given)
    (batch,) = other.batches(plan, np.full(len(dataset), 1))
    assert bool((batch.text.vectors == expected.text.vectors).all())
    (nothing,) = other.batches(plan, texts_of=np.full(len(dataset), -1))
    assert not bool(nothing.text.mask.any())
    assert nothing.with_text == (0,)


def test_random_vectors_are_the_crystals_own(project: Path, population: Population) -> None:
    dataset = datasets(project, population)["train"]
    one, other = (texts_of(controls.shown(project, dataset, "random", {}, seed)) for seed in ((0,), (1,)))
    assert one == other
    assert len(set(one)) == len({i for i, n in zip(dataset.ids, dataset.n_texts, strict=True) if n}) + bool(
        (dataset.n_texts == 0).any())
    assert [len(text) for text in one] == [len(text) for text in texts_of(dataset)]
    assert not set(one) & set(texts_of(dataset)) - {b""}


@pytest.mark.parametrize("texts", ["formula_and_space_group", "document", "facts"])
def test_one_vector_for_a_text(project: Path, population: Population, texts: str) -> None:
    dataset = datasets(project, population)["train"]
    shown = texts_of(controls.shown(project, dataset, texts, {}, (0,)))  # type: ignore[arg-type]
    assert [len(text) for text in shown] == [4 * dataset.text_dim * int(n > 0) for n in dataset.n_texts]


def test_a_formula_says_nothing_else(project: Path) -> None:
    said = controls.formula_sentences(project, ["mp-149"])
    assert said == {"mp-149": "Si crystallizes in the cubic Fd-3m space group."}


def test_a_formula_as_words(project: Path, population: Population) -> None:
    stages.run("tokenize", project, "serial")
    dataset = load_splits(project, TrainParams(text="words", fusion="text_only"), population.parts(0, 0.3))["train"]
    (own,), (shown,) = (one.batches([np.arange(len(dataset))]) for one in (
        dataset, controls.shown(project, dataset, "formula_and_space_group", {}, (0,))))
    assert bool((shown.text.mask.any(1) == own.text.mask.any(1)).all())
    assert shown.text.mask.shape[1] == 1
    assert 0 < len(shown.text.ids) < len(own.text.ids)
    with pytest.raises(UserError, match="a network that reads words cannot be shown facts, which is vectors"):
        controls.shown(project, dataset, "facts", {}, (0,))


def test_words_of_another_crystal(project: Path, population: Population) -> None:
    groups = dict(zip(population.ids, population.groups, strict=True))
    described = {row["material_id"]: row["text"] for row in tables.read(project, "descriptions").to_pylist()}
    spoken = baselines._speaker(population.ids, "anothers", groups, (0, 0))
    assert all(groups[i] != groups[owner] for i, owner in zip(population.ids, spoken, strict=True))
    assert baselines._texts(project, "anothers", spoken) == [described.get(i, "") for i in spoken]
