"""Contracts of the tables that are no feature views: what the model, the experiments and `publish` make.

They stand here, and not beside the code that makes the tables, so that whoever reads tables can check them without the
model. `model.publish` looks them up by the name of the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from features import sentences
from features.rules import Rule, finite, not_blank, one_of, present, refers, relation, within

METHODS = ("shapley", "replacement", "gradients")
OF_A_CRYSTAL = refers(["material_id"], "materials")


def _ordered(low: str, value: str, high: str) -> Rule:
    """The ends of an interval and what lies in it; an end that nobody knows is infinite or not a number."""
    return relation(f"{low} ≤ {value} ≤ {high}", (low, value, high), lambda pl: (
        (pl.col(low).is_nan() | (pl.col(low) <= pl.col(value))) & (pl.col(high) >= pl.col(value))))


PREDICTIONS = (
    *present("material_id", "split", "target", "transform", "y_true", "y_fused", "value_true", "value_fused"),
    OF_A_CRYSTAL,
    refers(["material_id", "split"], "splits"),
    one_of("split", ("train", "validation", "test")),
    one_of("transform", ("none", "log10")),
    not_blank("target"),
    *finite("y_true", "y_fused", "y_structure_only", "y_text_only", "value_true", "value_fused"),
    _ordered("y_low", "y_fused", "y_high"),
)

ATTRIBUTIONS = (
    *present("material_id", "method", "kind", "index", "label", "effect", "reference"),
    OF_A_CRYSTAL,
    one_of("method", METHODS),
    one_of("kind", ("modality", "region", "fact", "sentence", "token", "atom")),
    one_of("region", sentences.REGIONS),
    within("index", 0),
    within("sentence", 0),
    relation("start and end are given together, and 0 ≤ start ≤ end", ("start", "end"), lambda pl: (
        (pl.col("start").is_null() == pl.col("end").is_null())
        & (pl.col("start").is_null() | ((pl.col("start") >= 0) & (pl.col("end") >= pl.col("start")))))),
    relation("atoms are numbered from 0", ("atoms",), lambda pl: pl.col("atoms").list.min() >= 0, column="atoms"),
    *finite("effect", "reference", "spread"),
    within("spread", 0),
)

ATTENTION = (
    *present("material_id", "network", "sentence", "weight"),
    OF_A_CRYSTAL,
    within("network", 0),
    within("layer", 0),
    within("head", 0),
    within("sentence", 0),
    *finite("weight"),
    within("weight", -1e-6, 1 + 1e-6),
)

FAITHFULNESS = (
    *present("method", "test", "unit", "crystals"),
    one_of("method", METHODS),
    one_of("test", ("deletion", "insertion", "shuffled weights", "synthetic fact")),
    one_of("unit", ("fact", "sentence")),
    *finite("value", "control", "difference", "low", "high"),
    within("crystals", 0),
    relation("low ≤ high", ("low", "high"), lambda pl: pl.col("low") <= pl.col("high")),
)

FACT_EFFECTS = (
    *present("method", "fact", "label", "effect", "crystals", "share_raised"),
    one_of("method", METHODS),
    *finite("effect", "low", "high"),
    within("crystals", 1),
    within("share_raised", 0, 1),
    relation("low ≤ high", ("low", "high"), lambda pl: pl.col("low") <= pl.col("high")),
)

EXPERIMENTS = (
    *present("dataset", "target", "arm", "control", "n_train", "members", "seeds", "folds"),
    *finite("mae", "minus_dedicated"),
    within("mae", 0),
    within("n_train", 1),
    within("members", 1),
    within("seeds", 1),
    within("folds", 1),
    relation("low ≤ mae ≤ high", ("low", "mae", "high"), lambda pl: (
        (pl.col("low") <= pl.col("mae")) & (pl.col("mae") <= pl.col("high")))),
)

PROFILES = (
    *present("table_name", "position", "column_name", "type", "rows", "missing"),
    within("position", 0),
    within("rows", 0),
    relation("no more rows are missing, and no more values distinct, than there are rows",
             ("rows", "missing", "distinct"), lambda pl: (
                 pl.col("missing").is_between(0, pl.col("rows"))
                 & pl.col("distinct").fill_null(0).is_between(0, pl.col("rows")))),
    *finite("min", "max", "mean", "std", "quantiles", "edges"),
    relation("min ≤ max", ("min", "max"), lambda pl: pl.col("min") <= pl.col("max")),
    within("std", 0),
    relation("there is one edge more than bins", ("edges", "counts"),
             lambda pl: pl.col("edges").list.len() == pl.col("counts").list.len() + 1),
)

TABLES: Mapping[str, tuple[tuple[str, ...], tuple[Rule, ...]]] = {
    "predictions": (("material_id",), PREDICTIONS),
    "attributions": (("material_id", "method", "kind", "index"), ATTRIBUTIONS),
    "attention": (("material_id", "network", "layer", "head", "sentence"), ATTENTION),
    "faithfulness": (("method", "test"), FAITHFULNESS),
    "fact_effects": (("method", "fact", "label"), FACT_EFFECTS),
    "profiles": (("table_name", "position", "column_name"), PROFILES),
    "experiments": (("dataset", "target", "arm", "control", "members"), EXPERIMENTS),
}
"""Key and rules of each."""
