"""Stage `explain`: explanations of a handful of test predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from features import catalog
from features.params import load_section
from features.paths import Paths
from features.progress import Progress, say
from features.store import placement, tables
from features.view import column
from model import checkpoint
from model.checkpoint import Trained
from model.coverage import COLUMNS, in_words
from model.explanation.methods import explain
from model.explanation.variants import reader
from model.identity import require_same
from model.inference import load_splits
from model.input.loader import read_crystals
from model.params import ExplainParams
from model.publish import publish
from model.records import Explanation
from model.report import pages

ATTRIBUTIONS = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("kind", pa.string(), "modality, region, sentence or token"),
    column("index", pa.int32(), "number within the kind, from 0, in the order of the text"),
    column("label", pa.string(), "what it is: the words themselves, or the name of a region or modality"),
    column("start", pa.int32(), "first character in the description; null for what has no place"),
    column("end", pa.int32(), "character behind the last"),
    column("change", pa.float64(), "prediction with everything minus prediction without this, in the learned unit"),
    column("attention", pa.float64(), "mean weight of the cross-attention; null for other fusions, and for "
           "tokens of a model that reads words"),
])


def explain_stage(root: Path) -> None:
    """Explain a handful of test crystals; writes the table `attributions` and `data/results/explanations.html`."""
    params = load_section(root, "explain", ExplainParams)
    trained = checkpoint.load(root)
    if not trained.params.with_text:
        _write(root, trained, [])
        say("explain: the model was trained without text, so there is nothing to explain")
        return
    require_same(trained.identity, root, trained.params)
    test = load_splits(root, trained.params)["test"]
    place = placement.positions(test.ids)
    chosen = sorted(np.flatnonzero(test.n_texts), key=lambda index: int(place[index]))[:params.crystals]
    ids = [test.ids[index] for index in chosen]
    if not ids:
        _write(root, trained, [])
        say("explain: no test crystal has a text, so there is nothing to explain")
        return
    texts = {row["material_id"]: row for row in
             tables.read(root, "descriptions", ["material_id", "text", "sentences", "mineral"], ids).to_pylist()}
    outside = {row["material_id"]: in_words(trained.coverage.outside(row)) for row in
               tables.read(root, "materials", ["material_id", *COLUMNS], ids).to_pylist()}
    read = reader(trained)
    crystals = read_crystals(root, ids, test.reads)
    explanations = []
    with Progress("explain", len(chosen), "crystals") as progress:
        for number, index in enumerate(chosen):
            name = test.ids[index]
            explanations.append(explain(trained, name, crystals.batch([number]), read(texts[name]),
                                        float(test.targets[index]), outside[name]))
            progress.advance(1)
    _write(root, trained, explanations)
    say(f"explain: {len(explanations)} test crystals")


def _write(root: Path, trained: Trained, explanations: list[Explanation]) -> None:
    publish(root, "attributions", ATTRIBUTIONS, ("material_id", "kind", "index"),
            [row for explanation in explanations for row in explanation.rows])
    Paths(root).results.mkdir(parents=True, exist_ok=True)
    pages.write_explanations(Paths(root).results / "explanations.html", trained.params.target, trained.learned_unit,
                             explanations)
    catalog.refresh(root)
