"""Several networks: the same however many are trained at a time, weighted, and asked about through every stage."""

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from features.paths import Paths
from features.store import tables
from model import checkpoint
from model.evaluation import stage as evaluation
from model.explain import explain_stage
from model.forward import load_splits, predict
from model.training import fit, side_by_side, train
from pipelines.engine import stages
from tests.conftest import set_params
from tests.model.small import SMALL, SMALL_WORDS

MEMBERS = {"fused": 0, "structure": 2, "text": 1}


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(project, tmp_path_factory.mktemp("members") / "p"))
    set_params(root, train={**SMALL, "epochs": 2, "members": MEMBERS})
    train.train(root)
    return root


def test_two_at_a_time_are_what_one_after_the_other_is(trained: Path, tmp_path: Path, two_threads: None) -> None:
    """Trees, too, which the processes of networks grow when no network is left."""
    root = Path(shutil.copytree(trained, tmp_path / "p"))
    stages.run("tokenize", root, "serial")
    set_params(root, train={**SMALL_WORDS, "epochs": 2, "trees": {"trees": 20, "leaf": 1},
                            "members": {**MEMBERS, "trees": 2}})
    made = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        train.train(root)
        made.append(checkpoint.path_of(root).read_bytes())
    assert made[0] == made[1] != checkpoint.path_of(trained).read_bytes()
    assert not list(Paths(root).training.glob("*"))


def test_how_many_processes_are_done_soonest() -> None:
    assert [side_by_side.at_once(networks, 2) for networks in range(1, 9)] == [1, 2, 3, 2, 3, 2, 2, 2]
    assert [side_by_side.at_once(networks, 8) for networks in (5, 8, 9, 16, 17)] == [5, 8, 9, 8, 9]
    assert side_by_side.at_once(5, 1) == 1


def test_an_interruption_ends_the_processes(trained: Path, tmp_path: Path, two_threads: None,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "p"))
    there = []

    def interrupted(*_: object) -> None:
        there.extend(multiprocessing.active_children())
        raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.train(root)
    assert len(there) == 3  # on two cores, so that none is idle at the end
    assert not any(process.is_alive() for process in there)


def test_a_network_that_is_finished_is_not_trained_again(trained: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the second network, the run goes on there."""
    root, steps, step = Path(shutil.copytree(trained, tmp_path / "p")), [0], fit._Run._step

    def counted(self: fit._Run, *arguments: object) -> torch.Tensor:
        steps[0] += 1
        if steps[0] == allowed:
            raise KeyboardInterrupt
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fit._Run, "_step", counted)
    allowed = 0
    train.train(root)
    whole, steps[0] = steps[0], 0
    allowed = whole // 2
    with pytest.raises(KeyboardInterrupt):
        train.train(root)
    allowed, steps[0] = 0, 0
    train.train(root)
    assert 0 < steps[0] <= whole - whole // 3
    assert checkpoint.path_of(root).read_bytes() == checkpoint.path_of(trained).read_bytes()


def test_weights_and_intervals_come_from_the_validation_crystals(trained: Path) -> None:
    model = checkpoint.load(trained)
    validation = load_splits(trained, model.params)["validation"]
    goal = (validation.targets - model.config.target_mean) / model.config.target_std
    each = [predict(net, validation, model.device)["fused"] for net in model.net.networks()]
    there = np.isfinite(each[2])
    structure, text = (each[0] + each[1])[there] / 2, each[2][there]
    errors = [np.abs((1 - w) * structure + w * text - goal[there]).mean() for w in np.linspace(0, 1, 21)]
    assert model.net.weights.tolist() == pytest.approx([0.0, 1 - np.argmin(errors) / 20, np.argmin(errors) / 20, 0.0])
    whole = predict(model.net, validation, model.device)
    assert whole["fused"][there] == pytest.approx(
        float(model.net.weights[1]) * structure + float(model.net.weights[2]) * text, abs=1e-5)
    score = np.abs(whole["fused"] - goal) / (whole["spread"] + whole["spread"].mean())
    assert model.calibration.scores == pytest.approx(np.sort(score), rel=1e-4)


def test_every_stage_reads_them(trained: Path) -> None:
    evaluation.evaluate(trained)
    scores = json.loads((Paths(trained).results / "metrics.json").read_text())
    assert {"mae", "mae_structure_networks", "mae_text_readers", "fused_minus_structure_networks", "mae_no_text",
            "mae_shuffled_text"} <= set(scores["test"])
    assert scores["networks"] == {"structure": 2, "text": 1}
    assert "compares 3 members with 2 of them" in (Paths(trained).results / "report.html").read_text()
    rows = tables.read(trained, "predictions").to_pylist()
    without = next(row for row in rows if row["material_id"] == "mp-30")
    assert without["y_fused"] == pytest.approx(without["y_structure_only"], abs=1e-6)
    assert without["y_text_only"] is None
    assert all(row["y_low"] < row["y_fused"] < row["y_high"] for row in rows)
    explain_stage(trained)
    effects = tables.read(trained, "attributions").to_pylist()
    assert {row["label"] for row in effects if row["kind"] == "modality"} == {"structure", "text"}
    assert {row["kind"] for row in effects} == {"modality", "region", "sentence", "fact", "token", "atom"}
    assert all(np.isfinite(row["effect"]) for row in effects)
