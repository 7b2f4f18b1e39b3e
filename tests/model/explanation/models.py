"""Untrained models of every kind, and a background of real texts and crystals, for tests of explanations."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

from features import sentences
from features.text_encoder import TextEncoder, load
from features.text_encoder.weights import identity
from features.views.structures import SCHEMA, TensorizeParams, structure_tensors
from features.views.text_embeddings import EmbedParams
from model.background import Background
from model.checkpoint import Trained
from model.explanation.game import Game
from model.explanation.texts import Reading, WordReading, collate
from model.input.batch import ATOMS, IMAGES, StructureBatch
from model.nets.ensemble import Ensemble
from model.nets.trees import TextTrees
from model.params import TrainParams
from tests.features.texts import ALL, BI2O3, CA5SB3, MANY, MOS2, SRTIO3, UNLABELLED
from tests.model.nets.gates import opened

MEAN, STD = 1.5, 0.5
SMALL = {"text": "words", "words": {"dim": 16, "heads": 2, "across": 2},
         "crystalformer": {"dim": 16, "heads": 2, "layers": 1}, "trees": {"trees": 8, "depth": 3}}
FUSIONS = ("sum", "concat", "gated", "film", "cross_attention", "structure_only", "text_only")
MODELS: dict[str, dict[str, Any]] = {
    **{name: {"fusion": name} for name in FUSIONS},
    "two layers, both ways": {"cross_attention": {"layers": 2, "directions": "both"}},
    "two networks": {"members": {"fused": 2}},
    "structure beside text": {"members": {"fused": 0, "structure": 1, "text": 1}},
    "trees": {"members": {"fused": 0, "structure": 1, "trees": 1}},
    "all kinds": {"members": {"fused": 1, "structure": 1, "text": 1, "trees": 1}},
    "first words": {"members": {"fused": 1, "text": 1, "trees": 1}, "words": {**SMALL["words"], "most": 20}},
}
PROTOTYPES = {SRTIO3: "(Cubic) Perovskite", BI2O3: "Bismite", MOS2: "Molybdenite"}
CRYSTAL = "mp-5229"
"""SrTiO3."""
OTHERS = {"mp-149": CA5SB3, "mp-22862": BI2O3, "mp-127": MOS2, "mp-361": MANY, "mp-938": UNLABELLED}
"""Crystals of the background; whose texts they are does not matter."""


def row(text: str, sites: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A row of the table `descriptions`, with the columns that are read."""
    return {"text": text, "sentences": sentences.to_rows(sentences.tag(text)), "mineral": PROTOTYPES.get(text),
            "sites": sites}


def words(text: str) -> WordReading:
    return WordReading.read(row(text))


READ = {name: words(text) for name, text in ALL.items()}


def background(structures: dict[str, Any], others: dict[str, str] = OTHERS) -> Background:
    key = tuple(others.items())
    if key not in MADE:
        MADE[key] = _background(structures, others)
    return MADE[key]


MADE: dict[Any, Background] = {}


def _background(structures: dict[str, Any], others: dict[str, str]) -> Background:
    params = TensorizeParams(reach=30.0, max_sites=2000)
    columns = (*ATOMS, *IMAGES)
    rows = [{"material_id": one, **row(text), **{name: np.asarray(tensors[name]).tolist() for name in columns}}
            for one, text in others.items() for tensors in [structure_tensors(structures[one], params)]]
    kind = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("region", pa.string())]))
    return Background(pa.Table.from_pylist(rows, schema=pa.schema([
        ("material_id", pa.string()), ("text", pa.string()), ("sentences", kind), ("mineral", pa.string()),
        *((name, SCHEMA.field(name).type) for name in columns)])))


def crystal(structures: dict[str, Any], one: str = CRYSTAL) -> StructureBatch:
    return background(structures, {one: SRTIO3}).structures


def made(seed: int = 0, text_dim: int = 1, **params: Any) -> Trained:
    """A model as it begins, large enough in what it says to tell its inputs apart."""
    torch.manual_seed(seed)
    section = TrainParams.model_validate({**SMALL, **params})
    net = Ensemble(section, text_dim).eval()
    opened(net)
    for one in net.networks():
        if isinstance(one, TextTrees):
            grown(one, seed)
    stored = SimpleNamespace(params=lambda _stage: ENCODER, tables={"embed": SimpleNamespace(
        header={"digest": identity(ENCODER)})}) if text_dim > 1 else None
    config = SimpleNamespace(target_mean=MEAN, target_std=STD, text_dim=text_dim, weights_sha256="its", unit="GPa")
    nothing = cast(Any, None)
    return Trained(net, cast(Any, config), section, cast(Any, stored), nothing, nothing, torch.device("cpu"), Path())


ENCODER = EmbedParams(device="cpu", precision="float32")


@cache
def encoder() -> TextEncoder:
    return load(ENCODER)


def grown(trees: TextTrees, seed: int = 0) -> None:
    """Full trees that ask for numbers between those of real texts."""
    facts = trees.facts(collate([one.pieces for one in READ.values()], 1)).numpy()
    rng = np.random.default_rng(seed)
    several = np.flatnonzero(np.ptp(facts, axis=0) > 0)
    nodes = trees.left.shape[1]
    node = torch.arange(nodes).expand_as(trees.left)
    inner = node < nodes // 2
    features = rng.choice(several, trees.feature.shape)
    low, high = np.quantile(facts, [0.2, 0.8], axis=0)
    trees.feature.copy_(torch.from_numpy(features))
    trees.threshold.copy_(torch.from_numpy((low + high)[features] / 2))
    trees.left.copy_(torch.where(inner, 2 * node + 1, node))
    trees.right.copy_(torch.where(inner, 2 * node + 2, node))
    trees.value.copy_(torch.from_numpy(rng.normal(0, 0.2, trees.value.shape)) * ~inner)


def whole(trained: Trained, structure: StructureBatch, text: Reading | None) -> float:
    """What the whole model predicts for one crystal, without anything of the code that explains but its batch."""
    with torch.no_grad():
        prediction = trained.net(structure, collate([text.pieces if text else []], trained.config.text_dim))
    return float(prediction.fused[0].double()) * STD + MEAN


def game(structures: dict[str, Any], name: str = "cross_attention", **params: Any) -> Game:
    return Game(made(**{**MODELS[name], **params}), background(structures))

