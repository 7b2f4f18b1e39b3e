"""`dvc.yaml` names all code that a stage runs through: a fix there must run the stage again."""

from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

REPO = Path(__file__).parents[1]
ENTRIES = {
    "ingest": ("features.views.materials", "pipelines.sources"),
    "describe": ("features.views.descriptions", "pipelines.sources.materials_project.texts"),
    "paraphrase": ("features.views.paraphrases",),
    "embed": ("features.views.text_embeddings",),
    "tokenize": ("features.views.text_tokens",),
    "tensorize": ("features.views.structures",),
    "chgnet": ("features.views.chgnet_atoms",),
    "split": ("features.views.splits",),
    "train": ("model.training.train",),
    "evaluate": ("model.evaluation.stage",),
    "explain": ("model.explain",),
    "publish": (),
}
"""Stage → the modules that do its work; a package stands for all that is in it."""

EXCUSED = {
    "features": "a docstring",
    "features.view": "the contract: a change of what a view means raises its version, which is in each fingerprint",
    "features.rules": "what values may be; a rule changes none",
    "features.contract": "checks such rules",
    "features.other_tables": "such rules of the tables that are no views",
    "features.registry": "finds views by name",
    "features.params": "reads params.yaml; the values are dependencies themselves",
    "features.errors": "kinds of errors",
    "features.reading": "reads regular files within bounds; what is larger is a reject or stops the run",
    "features.bounds": "which crystals are too large to be read, and no value of the others",
    "features.terminal": "what a terminal may be shown",
    "features.paths": "where things lie; the places are in dvc.yaml",
    "features.progress": "progress bars",
    "features.processes": "worker processes, and how many cores there are",
    "features.redaction": "what no message shows",
    "features.code": "a digest of code",
    "features.libraries": "versions, which are in each fingerprint",
    "features.differences": "words for messages",
    "features.store": "how rows lie on disk; a table that reads otherwise has another version",
    "features.vectors": "vectors that searches hold, which no stage reads",
    "features.catalog": "the catalog over the tables, which no stage reads",
}
"""Plumbing: a change there changes no value. A package stands for all that is in it."""

READERS = ("features.cif", "features.formats", "features.crystal_files")
AS_DATA = {"train": ("features.views", "features.crystal", "features.sentences", "features.text_encoder",
                     "features.describer", "features.paraphraser", *READERS),
           "evaluate": ("features.views", "features.crystal", "features.sentences", "features.text_encoder",
                        "features.describer", "features.paraphraser", *READERS),
           "explain": ("features.views.materials", "features.views.structures", "features.views.chgnet_atoms",
                       "features.crystal", "features.describer", "features.paraphraser", "features.columns",
                       "features.printing", *READERS)}
"""What a stage of the model takes of these is in the tables that they make, which are dependencies themselves."""


@pytest.fixture(scope="module")
def graph() -> Any:
    return grimp.build_graph("features", "pipelines", "model", cache_dir=None)


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPO / "dvc.yaml").read_text())
    return content["stages"]  # type: ignore[no-any-return]


def within(module: str, packages: Any) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages if package != "features") \
        or (module == "features" and "features" in packages)


def test_every_stage_has_an_entry(stages: dict[str, Any]) -> None:
    assert set(stages) == set(ENTRIES)


@pytest.mark.parametrize("stage", ENTRIES)
def test_the_code_of_a_stage_is_among_its_dependencies(graph: Any, stages: dict[str, Any], stage: str) -> None:
    code = set()
    for entry in ENTRIES[stage]:
        inside = {entry, *graph.find_descendants(entry)}
        code |= inside.union(*(graph.find_upstream_modules(module) for module in inside))
    named = [dep.removesuffix(".py").replace("/", ".") for dep in stages[stage]["deps"]
             if dep.split("/")[0] in ("features", "pipelines", "model")]
    missing = sorted(module for module in code
                     if not within(module, named) and not within(module, EXCUSED)
                     and not within(module, AS_DATA.get(stage, ())) and module not in ("model", "pipelines"))
    assert missing == []


@pytest.mark.parametrize("stage", ENTRIES)
def test_every_dependency_exists(stages: dict[str, Any], stage: str) -> None:
    for dep in stages[stage]["deps"]:
        assert "${" in dep or dep.startswith("data/") or (REPO / dep).exists(), dep
