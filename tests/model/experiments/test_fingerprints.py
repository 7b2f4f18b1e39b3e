"""Fingerprints name all code that makes a prediction, and tell one arm's changes from another's."""

from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from model.experiments import fingerprints
from model.experiments.fingerprints import BASELINE_CODE, NETWORK_CODE
from model.experiments.folds import Population
from model.experiments.matrix import Cell
from model.experiments.reports import Report
from tests.model.experiments.tiny import CONTENT, matrix

REPO = Path(__file__).parents[3]
EXCUSED = {
    "model.checkpoint": "a model on disk, which no cell writes",
    "model.coverage": "the same",
    "model.header": "the same",
    "model.cautions": "what is said of one",
    "model.uncertainty": "intervals of a model on disk",
    "model.identity": "what a table was made from, which is in the fingerprint itself",
    "model.training.parallel": "several processes, of which a cell has one",
    "model.training.resume": "going on, which no cell does",
    "model.experiments.matrix": "what is asked for, which is in the fingerprint itself",
    "model.blend": "weights of predictions that are stored already",
    "model.experiments.results": "cells on disk",
    "model.experiments.fingerprints": "this",
    "model": "no code", "model.training": "no code", "model.experiments": "no code",
}
"""Modules that a cell runs through and that change no prediction."""


@pytest.mark.parametrize(("entry", "named"), [("networks", NETWORK_CODE), ("baselines", BASELINE_CODE)])
def test_the_code_of_a_cell_is_in_its_fingerprint(entry: str, named: tuple[str, ...]) -> None:
    graph: Any = grimp.build_graph("features", "pipelines", "model", cache_dir=None)
    modules = {name for name in graph.find_upstream_modules(f"model.experiments.{entry}") if name.startswith("model")}
    inside = [f"model.{name.removesuffix('.py').replace('/', '.')}" for name in named]
    allowed = {*EXCUSED, *(["model.forward"] if entry == "baselines" else [])}
    missing = sorted(name for name in modules - allowed
                     if not any(name == one or name.startswith(f"{one}.") for one in inside))
    if entry == "baselines":  # of what stands beside the data set, the network is nobody's here
        missing = [name for name in missing if not name.startswith(("model.nets", "model.input", "model.params"))]
    assert missing == []


def test_what_was_asked_for(project: Path) -> None:
    """Another seed, fold, arm or parameter is another cell; a default that is named is none."""
    population = Population.of(project, "k_vrh", "log10", 5)

    def of(cell: Cell, **changes: Any) -> str:
        return fingerprints.of(project, matrix(**changes), cell, population).asked

    one = Cell("tiny", "k_vrh", "fused", "none", 0, 0)
    others = [Cell("tiny", "k_vrh", "fused", "none", 1, 0), Cell("tiny", "k_vrh", "fused", "none", 0, 1),
              Cell("tiny", "k_vrh", "dedicated", "none", 0, 0), Cell("tiny", "k_vrh", "fused", "shuffled_text", 0, 0),
              Cell("tiny", "k_vrh", "ridge_words", "none", 0, 0)]
    assert len({of(cell) for cell in (one, *others)}) == 6
    assert of(one, train={**CONTENT["train"], "accumulate": 1, "device": "cpu"}) == of(one)
    assert of(one, train={**CONTENT["train"], "accumulate": 2}) != of(one)
    assert of(one, validation=0.2) != of(one)
    assert of(one, bootstrap=100, seeds=5) == of(one)
    pooled = {**CONTENT["arms"], "fused": {"kind": "network", "train": {"fusion": "gated"}, "texts": "document"}}
    control = {"arms": {**CONTENT["arms"], "fused": {**CONTENT["arms"]["fused"], "controls": ["one"]}},
               "controls": {**CONTENT["controls"], "one": {"texts": "document"}}}
    # an arm's own texts make the cell that the control of these texts makes
    assert of(one, arms=pooled) == of(Cell("tiny", "k_vrh", "fused", "one", 0, 0), **control) != of(one)


def test_only_what_reads_the_text_depends_on_its_tables(project: Path) -> None:
    population = Population.of(project, "k_vrh", "log10", 5)
    tables = {arm: fingerprints.of(project, matrix(), Cell("tiny", "k_vrh", arm, "none", 0, 0), population).tables
              for arm in ("dedicated", "fused", "ridge_words")}
    assert len(set(tables.values())) == 3


def test_the_stage_of_dvc() -> None:
    """It reads the tables whose identity is in fingerprints, and always asks those, and not DVC, what is missing.

    The CSV files that `report` writes are its outs, kept in git.
    """
    (stage,) = yaml.safe_load((REPO / "model" / "experiments" / "dvc.yaml").read_text())["stages"].values()
    assert stage["always_changed"] is True
    tables = {Path(dep).name for dep in stage["deps"]}
    made = {Path(out).name for one in yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"].values()
            for out in one["outs"] if isinstance(out, str) and out.startswith("data/features/")}
    read = {"materials", "splits", "structures", "descriptions", "text_embeddings", "text_tokens"}
    assert read <= tables <= made
    sheets = [path.relative_to(REPO).as_posix() for path, _, _ in Report([], []).sheets(REPO)]
    assert stage["outs"] == [{path: {"cache": False, "persist": True}} for path in sheets]
