"""The matrix file, what it stands for, and what its mistakes are told as."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from features.errors import UserError
from model.experiments import matrix as matrices
from model.experiments.matrix import Cell, cells
from model.experiments.prepare import prepare
from tests.conftest import make_project
from tests.model.experiments.tiny import CONTENT, matrix


def test_the_projects_own_matrix() -> None:
    """Every cell of a network has parameters, and the dedicated arm sees no text."""
    whole = matrices.read()
    everything = cells(whole)
    assert len(everything) == len(set(everything))
    firsts = [cell for cell in everything if (cell.seed, cell.fold) == (0, 0)]
    assert everything[:len(firsts)] == firsts  # breadth first
    for cell in firsts:
        if whole.arms[cell.arm].kind == "network":
            params = whole.train_params(cell)
            transform = whole.targets[cell.target].transform
            assert (params.target, params.transform, params.seed) == (cell.target, transform, 0)
            assert params.with_text == whole.arms[cell.arm].reads_text
    assert whole.arms[whole.reference].reads_text is False
    without = whole.train_params(Cell("elastic", "k_vrh", "cross_attention", "no_paraphrases", 3, 0))
    assert (without.paraphrases, without.epochs, without.seed) == (False, 40, 3)


def test_also_others_are_the_other_targets_of_the_data_set() -> None:
    whole = matrices.read()
    for arm in ("joint_dedicated", "joint_words"):
        also = {target: whole.train_params(Cell(dataset, target, arm, "none", 0, 0)).also
                for dataset, target in (("elastic", "k_vrh"), ("elastic", "g_vrh"), ("dielectric", "n"))}
        assert also == {"k_vrh": {"g_vrh": "log10"}, "g_vrh": {"k_vrh": "log10"}, "n": {"band_gap": "none"}}
    joint, own = (whole.train_params(Cell("elastic", "k_vrh", arm, "none", 0, 0))
                  for arm in ("joint_words", "words"))
    assert joint.model_copy(update={"also": {}}) == own  # nothing else is another


def test_the_arm_with_a_contrast_is_another_arm_with_it() -> None:
    whole = matrices.read()
    with_it, without = (whole.train_params(Cell("elastic", "k_vrh", arm, "none", 0, 0))
                        for arm in ("contrast_words", "cross_attention_words"))
    assert with_it.loss.contrast == 0.1
    assert with_it.model_copy(update={"loss": without.loss}) == without


def test_a_selection() -> None:
    chosen = cells(matrix(), ["arm=fused,seed=1", "fold=0,fold=3", "control=none"])
    assert chosen == [Cell("tiny", "k_vrh", "fused", "none", 1, 0), Cell("tiny", "k_vrh", "fused", "none", 1, 3)]
    with pytest.raises(UserError, match=r"--only arms=fused: write NAME=VALUE with one of dataset, target, arm"):
        cells(matrix(), ["arms=fused"])
    with pytest.raises(UserError, match="the matrix has no such cell; it has the data sets tiny"):
        cells(matrix(), ["arm=fusd"])


def test_arms_of_a_data_set() -> None:
    some = matrix(datasets={"tiny": {"targets": ["k_vrh"], "arms": ["ridge_words", "dedicated"]},
                            "whole": {"targets": ["k_vrh"]}})
    run = {dataset: {cell.arm for cell in cells(some) if cell.dataset == dataset} for dataset in ("tiny", "whole")}
    assert run == {"tiny": {"dedicated", "ridge_words"}, "whole": {"dedicated", "fused", "ridge_words"}}
    assert (list(some.mixtures_of("tiny")), list(some.mixtures_of("whole"))) == ([], ["mixed"])


def test_an_arm_with_texts_of_its_own() -> None:
    """It shows them under every control that leaves the text alone, and other arms do not."""
    arms = {**CONTENT["arms"], "one": {"kind": "network", "train": {"fusion": "concat"}, "texts": "document",
                                       "controls": ["short"]}}
    whole = matrix(arms=arms, controls={**CONTENT["controls"], "short": {"train": {"epochs": 2}}})
    shown = whole.seen_by("one")
    assert [shown.control(name).texts for name in ("none", "short", "shuffled_text")] == ["document"] * 2 + ["anothers"]
    assert [whole.seen_by("fused").control(name).texts for name in ("none", "short")] == ["own", "own"]
    assert shown.train_params(Cell("tiny", "k_vrh", "one", "short", 0, 0)).epochs == 2
    assert [cell.control for cell in cells(shown, ["arm=one", "seed=0", "fold=0"])] == ["none", "short"]


@pytest.mark.parametrize(("changes", "said"), [
    ({"arms": {**CONTENT["arms"], "trees": {"kind": "trees", "texts": "document"}}},
     "arms.trees.texts is one of networks that read a text"),
    ({"arms": {**CONTENT["arms"], "one": {"kind": "network", "texts": "document", "controls": ["shuffled_text"]}}},
     "arms.one: with texts of its own, its controls cannot show others"),
    ({"arms": {**CONTENT["arms"], "joint": {"kind": "network", "train": {"also": "others"}}}},
     "arms.joint.train.also: the data set tiny has one target and no others; leave the arm out of datasets.tiny.arms"),
    ({"controls": {**CONTENT["controls"], "none": {}}}, "controls.none is the name of no control"),
    ({"datasets": {"tiny": {"targets": ["k_vrh"], "arms": ["dedicatd"]}}},
     "datasets.tiny.arms: there is no 'dedicatd'; did you mean 'dedicated'?"),
    ({"reference": "dedicate"}, "there is no 'dedicate'; did you mean 'dedicated'?"),
    ({"datasets": {"tiny": {"targets": ["k"]}}}, "datasets.tiny.targets: there is no 'k'"),
    ({"arms": {"dedicated": {"kind": "network", "train": {"fusion": "structure_only"}, "controls": ["formula"]}},
      "mixtures": {}}, "arms.dedicated reads no text and so has no controls"),
    ({"mixtures": {"fused": {"parts": {"dedicated": 1}}}}, "mixtures.fused must have a name of its own"),
    ({"mixtures": {"two": {"parts": {"dedicatd": 1}}}}, "mixtures.two.parts: there is no 'dedicatd'; did you mean"),
    ({"mixtures": {"two": {"parts": {"dedicated": 0}}}}, "mixtures.two: numbers of networks must be above 0"),
    ({"mixtures": {"one": {"parts": {"fused": 2}, "weights": "learned"}}}, "weights are learned for 2 to 4 parts"),
    ({"mixtures": {"one": {"dedicated": 1}}}, "mixtures.one.parts: Field required"),
    ({"controls": {**CONTENT["controls"], "../x": {}}}, "../x: names have letters, digits and _ only"),
    ({"seed": 3}, "seed: Extra inputs are not permitted"),
    ({"folds": "five"}, "folds: Input should be a valid integer"),
])
def test_a_mistake_is_one_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(yaml.safe_dump({**CONTENT, **changes}))
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        matrices.read(path)
    assert "\n" not in str(caught.value)


def test_a_wrong_parameter_names_arm_and_control() -> None:
    wrong = matrix(train={"epoch": 3})
    with pytest.raises(UserError, match=r"matrix: arm fused, control none: train\.epoch: Extra inputs"):
        wrong.train_params(Cell("tiny", "k_vrh", "fused", "none", 0, 0))


def test_the_project_of_another_data_set(tmp_path: Path) -> None:
    root = make_project(tmp_path, only=["mp-149"], split={"folds": 3, "seed": 4})
    datasets = {"tiny": {"targets": ["k_vrh"]}, "few": {"targets": ["k_vrh"], "params": {"ingest": {"limit": 2}}}}
    commands = prepare(root, matrix(datasets=datasets), "few")
    project = root / "data" / "experiments" / "few"
    assert commands[0].endswith(str(Path("data") / "experiments" / "few"))
    written = yaml.safe_load((project / "params.yaml").read_text())
    assert written["ingest"] == {"source": "folder", "limit": 2}
    assert written["split"] == {"folds": 5, "seed": 4, "group_by": "reduced_formula"}
    assert (project / "data" / ".rowstore").resolve() == (root / "data" / ".rowstore").resolve()
    assert prepare(root, matrix(datasets=datasets), "few") == commands
    assert prepare(root, matrix(datasets=datasets), "tiny")[0] == "python -m pipelines ingest"
    with pytest.raises(UserError, match="the matrix has no data set 'fw'"):
        prepare(root, matrix(datasets=datasets), "fw")
