"""A small project whose tables are sound in every respect, without describing or encoding anything."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features import contract, registry, sentences
from features.catalog import inputs
from features.paths import Paths
from features.store import placement, tables
from features.view import rows_to_table
from pipelines.engine import stages
from tests.conftest import make_project

CRYSTALS = ("mp-149", "mp-30", "mp-48", "mp-127", "mp-2700", "mp-1135")
DIM = 8


def sound_project(root: Path) -> Path:
    """Ingested, split and tensorized crystals, with texts, vectors and predictions that are made up but fit."""
    make_project(root, only=list(CRYSTALS))
    (root / "data" / "input" / "broken.cif").write_text("data_broken\n_cell_length_a 1\n")
    for stage in ("ingest", "split", "tensorize"):
        stages.run(stage, root, "serial")
    made = tables.read(root, "materials").to_pylist()
    publish(root, "descriptions", [_description(row) for row in made])
    publish(root, "paraphrases", [_paraphrase(row) for row in made])
    publish(root, "text_embeddings", [_vectors(row, variant) for row in made for variant in (0, 1)])
    splits = {row["material_id"]: row["split"] for row in tables.read(root, "splits").to_pylist()}
    publish(root, "predictions", [_prediction(row["material_id"], splits[row["material_id"]]) for row in made])
    return root


def publish(root: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as a stage would, with footers that say what they were made from."""
    view, key = registry.view_named(name), contract.of(name).key  # type: ignore[union-attr]
    schema = view.schema if view else pa.Table.from_pylist(rows).schema
    parts = placement.number_of_parts(len(rows))
    where = placement.part_of([row["material_id"] for row in rows], parts)
    footers = []
    units = inputs.units(root, view) if view and view.inputs else None
    for part in range(parts):
        footer: dict[str, Any] = {"view": name, "version": 1, "parts": parts}
        if view:
            header = {"view": name, "version": view.version, "params": {}, "libraries": {}, "digest": ""}
            mine = [row for row, number in zip(rows, where, strict=True) if number == part]
            assert units is not None
            marks = [mark for mark, unit in zip(inputs.fingerprints(header, units), units.to_pylist(), strict=True)
                     if any(all(row[name] == unit[name] for name in key if name in unit) for row in mine)]
            footer |= {**header, "inputs_digest": hashlib.sha256(b"".join(sorted(marks))).hexdigest()}
        footers.append(footer)
    tables.publish(Paths(root).table(name), schema, key, (
        rows_to_table([row for row, number in zip(rows, where, strict=True) if number == part], schema)
        for part in range(parts)), iter(footers))


def _text(row: dict[str, Any]) -> str:
    return (f"{row['reduced_formula']} crystallizes in the {row['crystal_system']} {row['space_group']} space group. "
            f"{row['elements'][0]}(1) is bonded to {row['elements'][-1]}(1) atoms.")


def _description(row: dict[str, Any]) -> dict[str, Any]:
    text = _text(row)
    return {**dict.fromkeys(registry.view_of("describe").schema.names), "material_id": row["material_id"],
            "text": text, "sentences": sentences.to_rows(sentences.tag(text)), "n_words": len(text.split()),
            "space_group": row["space_group"], "crystal_system": row["crystal_system"], "flags": [],
            "source": "computed", "engine_version": "0"}


def _paraphrase(row: dict[str, Any]) -> dict[str, Any]:
    text = _text(row).replace("crystallizes", "forms")
    return {"material_id": row["material_id"], "variant": 1, "text": text,
            "sentences": sentences.to_rows(sentences.tag(text)), "method": "rules", "model": None, "seed": 0,
            "attempts": 1, "dropped": 0, "n_reworded": 1, "facts": 3, "lexical_distance": 0.2}


def _vectors(row: dict[str, Any], variant: int) -> dict[str, Any]:
    made = np.random.default_rng(len(row["cif"]) + variant).normal(size=(3, DIM)).astype(np.float16)
    return {"material_id": row["material_id"], "variant": variant, "pooled": made[0],
            "sentence_vectors": list(made[1:]), "regions": ["global", "local"], "token_vectors": None,
            "token_spans": None, "n_tokens": 20, "n_windows": 1, "encoder": "made up",
            "weights_digest": "0" * 64, "precision": "float32"}


def _prediction(material_id: str, split: str) -> dict[str, Any]:
    return {"material_id": material_id, "split": split, "target": "k_vrh", "transform": "log10", "y_true": 2.0,
            "y_fused": 2.1, "y_low": 1.9, "y_high": 2.3, "outside": None, "y_structure_only": None,
            "y_text_only": None, "pretrained_on": None, "value_true": 100.0, "value_fused": 125.9, "value_low": 79.4,
            "value_high": 199.5}
