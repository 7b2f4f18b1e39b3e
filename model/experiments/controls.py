"""Other texts in the place of a crystal's own: what tells whether it is the text that helps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from features import text_encoder
from features.errors import UserError
from features.sentences import REGIONS, Sentence
from features.store import tables
from features.views.text_embeddings import EmbedParams, half
from features.words.tokenizer import columns, tokenize
from model.experiments import vectors
from model.experiments.matrix import TextsShown
from model.input.batch import Ints, Texts
from model.input.loader import Dataset
from model.input.words import COLUMNS, Words


def anothers(groups: Sequence[str], seed: Sequence[int]) -> Ints:
    """For each crystal another one of another group, each once.

    The groups are put in a random order and everybody moves on by the size of the largest, which nobody's own group
    outlasts. Raises `UserError` if one group is more than half of all.
    """
    rng = np.random.default_rng(list(seed))
    names, number = np.unique(np.array(groups), return_inverse=True)
    largest = int(np.bincount(number).max())
    if 2 * largest > len(groups):
        raise UserError("one formula is more than half of a part: its crystals cannot all get another formula's text")
    order = np.lexsort((rng.random(len(groups)), rng.permutation(len(names))[number]))
    result = np.empty(len(groups), np.int64)
    result[order] = np.roll(order, -largest)
    return result


def shown(root: Path, dataset: Dataset, texts: TextsShown, groups: dict[str, str], seed: Sequence[int]) -> Dataset:
    """The data set with the texts that a control shows in the place of its own."""
    if texts == "own":
        return dataset
    if texts == "anothers":
        if len(dataset.bounds) > 1:
            raise UserError("texts are shuffled within one window: raise train.loader.window in the matrix")
        return dataset.showing(texts_of=anothers([groups[i] for i in dataset.ids], seed))
    if dataset.words and texts != "formula_and_space_group":
        raise UserError(f"a network that reads words cannot be shown {texts}, which is vectors")
    if texts == "random":
        return dataset.showing(texts=_random(root, dataset))
    if texts == "document":
        return dataset.showing(texts=_documents(root, dataset))
    if texts == "facts":
        return dataset.showing(texts=_facts(root, dataset))
    return dataset.showing(texts=_formula_words(root, dataset) if dataset.words else _formulas(root, dataset))


def formula_sentences(root: Path, ids: Sequence[str]) -> dict[str, str]:
    """A sentence with formula, crystal system and space group of each crystal, by its id."""
    names = ["material_id", "reduced_formula", "crystal_system", "space_group"]
    return {row["material_id"]: f"{row['reduced_formula']} crystallizes in the {row['crystal_system']} "
                                f"{row['space_group']} space group."
            for row in tables.read(root, "materials", names, ids).to_pylist()}


def _random(root: Path, dataset: Dataset) -> Texts:
    """As many vectors as the description has sentences, normally distributed, the same whenever the crystal is seen.

    They tell crystals apart and mean nothing; no region is told, and how many sentences there are stays.
    """
    counts = {row["material_id"]: len(row["regions"]) for row in _variant_0(root, dataset, "regions")}
    drawn = []
    for i in dataset.ids:
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(i.encode()).digest()[:8], "big"))
        drawn.append(rng.standard_normal((counts.get(i, 0), dataset.text_dim), np.float32))
    return _texts(drawn, dataset.text_dim)


def _documents(root: Path, dataset: Dataset) -> Texts:
    """The vector of the whole description."""
    rows = _variant_0(root, dataset, "pooled")
    if any(row["pooled"] is None for row in rows):
        raise UserError("text_embeddings holds no vectors of whole texts; put document into embed.levels")
    pooled = {row["material_id"]: np.array([row["pooled"]], np.float32) for row in rows}
    return _texts([pooled.get(i, np.zeros((0, dataset.text_dim), np.float32)) for i in dataset.ids], dataset.text_dim)


def _formulas(root: Path, dataset: Dataset) -> Texts:
    """One sentence, encoded as the descriptions are; a crystal without a description has none here either."""
    params = EmbedParams.model_validate(tables.footer(tables.files(root, "text_embeddings")[0])["params"])
    said = formula_sentences(root, dataset.ids)
    spoken = [said[i] for i in dataset.ids]
    encoded = text_encoder.load(params).encode(spoken, [[Sentence(0, len(text), "global")] for text in spoken])
    return _texts([half(one.by_sentence(1)).astype(np.float32)[:int(there > 0)]
                   for one, there in zip(encoded, dataset.n_texts, strict=True)], dataset.text_dim)


def _formula_words(root: Path, dataset: Dataset) -> Words:
    """The same sentence as tokens."""
    said = formula_sentences(root, dataset.ids)
    empty: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    return Words.of([_tokens(said[i]) if there else empty
                     for i, there in zip(dataset.ids, dataset.n_texts, strict=True)])


def _tokens(sentence: str) -> dict[str, list[Any]]:
    tagged = [Sentence(0, len(sentence), "global")]
    return columns(tokenize(sentence, tagged), tagged)


def _facts(root: Path, dataset: Dataset) -> Texts:
    """What trees read of a description, as one vector: numbers in the place of what an encoder makes of the words.

    Each has mean 0 and deviation 1 over the crystals of the tables, whatever their part, and the vector is filled up
    with zeros. The branch brings vectors to one length, of which there are then few that are far from it.
    """
    facts = vectors.facts(root)
    all_of_them = np.stack(list(facts.values()))
    mean, deviation = all_of_them.mean(0), all_of_them.std(0)
    if vectors.number_of_facts() > dataset.text_dim:
        raise UserError(f"{vectors.number_of_facts()} facts do not fit into vectors of {dataset.text_dim} numbers")

    def row(i: str) -> Any:
        scaled = np.where(deviation > 0, (facts[i] - mean) / np.where(deviation > 0, deviation, 1.0), 0.0)
        return np.pad(scaled, (0, dataset.text_dim - len(scaled))).astype(np.float32)[None]

    nothing = np.zeros((0, dataset.text_dim), np.float32)
    return _texts([row(i) if i in facts and there else nothing
                   for i, there in zip(dataset.ids, dataset.n_texts, strict=True)], dataset.text_dim)


def _variant_0(root: Path, dataset: Dataset, column: str) -> list[dict[str, Any]]:
    rows = tables.read(root, "text_embeddings", ["material_id", "variant", column], dataset.ids).to_pylist()
    return [row for row in rows if row["variant"] == 0]


def _texts(sentences: list[Any], dim: int) -> Texts:
    """One text for each crystal, all of one region; one without vectors is none."""
    flat = np.concatenate([np.zeros((0, dim), np.float32), *sentences])
    return Texts(flat, np.full(len(flat), REGIONS.index("global"), np.int64),
                 np.cumsum([0, *(len(one) for one in sentences)]))
