"""A small project with made-up texts, so that training is tested without describing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features import registry, sentences
from features.paths import Paths
from features.store import placement, tables
from features.view import Batch, Reject
from model.checkpoint import Trained
from model.prediction import recipe
from model.prediction.asked import Asked
from model.prediction.inputs import Inputs
from model.prediction.predictor import Answer, Predictor
from model.records import Predicted
from pipelines.engine import stages
from tests.conftest import make_project

SMALL = {"crystalformer": {"dim": 16, "heads": 2, "layers": 1}, "epochs": 4, "batch_size": 8, "warmup_steps": 2}


SMALL_WORDS = {**SMALL, "text": "words", "words": {"dim": 16, "heads": 2}}
EXPLAIN = {"crystals": 1, "tested": 1, "aggregated": 1}
"""Each exchanged fact sends a text through the frozen encoder again."""


def small_project(root: Path, without_text: tuple[str, ...] = (), read: str = "embed", **sections: Any) -> Path:
    """Ingested test crystals, tensors, splits and short texts that name formula and system, as embeddings or, with
    `read` tokenize, as words."""
    sections["explain"] = {**EXPLAIN, **sections.get("explain", {})}
    make_project(root, train={**SMALL, **sections.pop("train", {})}, **sections)
    for stage in ("ingest", "tensorize", "split"):
        stages.run(stage, root, "serial")
    rows = [_description(row) for row in tables.read(root, "materials").to_pylist()
            if row["material_id"] not in without_text]
    publish(root, "describe", rows)
    for stage in ("paraphrase", read):
        stages.run(stage, root, "serial")
    return root


ONLY_G = ("mp-169", "mp-149", "mp-2700", "mp-127", "mp-361")
"""Of formulas with other crystals (C, Si) and of one alone, all in the split train; then of the test and validation."""
ONLY_K = ("mp-48", "mp-30", "mp-317")


def with_missing_labels(project: Path, root: Path) -> Path:
    """A copy of a small project in which some crystals have one of the two moduli alone, a property is 0 for all, and
    one (`tested`) is known of a test crystal alone."""
    shutil.copytree(project, root)
    path = root / "data" / "input" / "properties.csv"
    head, *rows = (line.split(",") for line in path.read_text().splitlines())
    lines = [",".join([*head, "zero", "tested"])]
    lines += [f"{i},{'' if i in ONLY_G else k},{'' if i in ONLY_K else g},0,{'1' if i == 'mp-952' else ''}"
              for i, k, g in rows]
    path.write_text("\n".join(lines) + "\n")
    stages.run("ingest", root, "serial")
    return root


def _description(row: dict[str, Any]) -> dict[str, Any]:
    text = (f"{row['reduced_formula']} crystallizes in the {row['crystal_system']} {row['space_group']} space group. "
            f"{row['elements'][0]}(1) is bonded in a 6-coordinate geometry to six equivalent {row['elements'][-1]}(1) "
            f"atoms. The {row['elements'][0]}(1)-{row['elements'][-1]}(1) bond length is {row['density'] / 3:.2f} Å.")
    return {"material_id": row["material_id"], "text": text, "sentences": sentences.to_rows(sentences.tag(text)),
            "source": "computed"}


def publish(root: Path, stage: str, rows: list[dict[str, Any]]) -> None:
    """Write a view's table from ready rows."""
    view = registry.view_of(stage)
    where = placement.positions([row["material_id"] for row in rows])
    bounds = [placement.part_range(part, 8) for part in range(8)]
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    tables.publish(
        Paths(root).table(view.name), view.schema, view.key,
        (pa.Table.from_pylist([r for r, p in zip(rows, where, strict=True) if low <= p < high], schema=view.schema)
         for low, high in bounds),
        ({**view.header(view.params()), "inputs_digest": digest} for _ in bounds))


def described(monkeypatch: pytest.MonkeyPatch, compute: Callable[[pa.Table, Any], Batch]) -> None:
    """Let `predict` describe by this function; what stands in the real one's place is compared end to end."""
    view = replace(registry.view_of("describe"), compute=compute)
    monkeypatch.setattr(recipe, "view_of", lambda stage: view if stage == "describe" else registry.view_of(stage))


def answers(trained: Trained, crystals: Any, every_block: bool = False, **asked: Any) -> list[Answer]:
    """What a model says of crystals, all in this process, so that `described` counts."""
    predictor = Predictor.of(trained)
    made = (recipe.make(predictor.recipe, one) for one in Inputs(crystals, every_block))
    return list(predictor.answers(made, Asked(**asked)))


def predicted(trained: Trained, crystals: Any, every_block: bool = False, **asked: Any) -> list[Predicted]:
    """The predictions of that."""
    return [answer.predicted for answer in answers(trained, crystals, every_block, **asked)]


def briefly(units: pa.Table, _params: Any) -> Batch:
    """A describer that says of each crystal what the small project's descriptions say."""
    rows = [_description(row) for row in units.to_pylist()]
    return Batch(pa.Table.from_pylist(rows, schema=registry.view_of("describe").schema), list(range(len(rows))), {})


def cards_of(page: Path) -> list[dict[str, Any]]:
    """The data of the crystals that a page shows."""
    (data,) = re.findall(r'<script[^>]* id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    found: list[dict[str, Any]] = json.loads(data)["cards"]
    return found


def no_text(_units: pa.Table, _params: Any) -> Batch:
    """A describer that rejects every crystal."""
    return Batch(registry.view_of("describe").schema.empty_table(), [],
                 {0: Reject("file", "ValueError", "robocrys: no")})
