"""What the training loop promises: exact resume, accumulation, averaged weights, schedules."""

import copy
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from features.paths import Paths
from model import checkpoint
from model.input.loader import Batch
from model.nets.network import MultimodalNet
from model.params import TrainParams
from model.training import fit, train
from model.training.resume import Resume
from tests.conftest import set_params
from tests.damage import flipped, seeded
from tests.model.small import SMALL

QUIET = {"atoms": 0.0, "sentences": 0.0, "drop_structure": 0.0, "drop_text": 0.0}


def trained(root: Path, **changes: Any) -> bytes:
    set_params(root, train={**SMALL, **changes})
    train.train(root)
    return (Paths(root).model / checkpoint.MODEL).read_bytes()


@pytest.mark.parametrize(("changes", "steps"), [
    ({}, 6),  # in the third epoch: goes on after the second
    ({"average": 0.9, "schedule": "one_cycle", "accumulate": 2, "save_every_s": 0.0}, 3),
    ({"encoder": "cgcnn", "cgcnn": {"dim": 16, "layers": 1}, "save_every_s": 0.0}, 7),
    ({"encoder": "comformer", "comformer": {"dim": 16, "layers": 1}, "loader": {"window": 5, "bucket": 2},
      "save_every_s": 0.0}, 5),
])
def test_a_run_killed_and_resumed_gives_the_same_weights(project: Path, tmp_path: Path, changes: dict[str, Any],
                                                         steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(shutil.copytree(project, tmp_path / "p"))
    made: list[int] = []
    step = fit._Run._step
    monkeypatch.setattr(fit._Run, "_step", lambda self, *a: (made.append(0), step(self, *a))[1])
    expected = trained(root, **changes)
    whole = len(made)
    curve = (Paths(root).model / "learning_curve.csv").read_bytes()
    assert not list(Paths(root).training.glob("*"))

    def killed(self: Any, *arguments: Any) -> Any:
        if len(made) == steps:
            raise KeyboardInterrupt
        made.append(0)
        return step(self, *arguments)

    made.clear()
    monkeypatch.setattr(fit._Run, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(root, **changes)
    assert len(list(Paths(root).training.glob("*.pt"))) == 1
    made.clear()
    monkeypatch.setattr(fit._Run, "_step", lambda self, *a: (made.append(0), step(self, *a))[1])
    shutil.rmtree(Paths(root).model)  # as DVC does before a stage
    assert trained(root, **changes) == expected
    assert len(made) == whole - (steps if "save_every_s" in changes else steps - steps % (whole // 4))
    assert (Paths(root).model / "learning_curve.csv").read_bytes() == curve


@pytest.mark.parametrize("threads", [1, 2])
def test_seed_and_threads_decide_every_byte(project: Path, tmp_path: Path, threads: int) -> None:
    root = Path(shutil.copytree(project, tmp_path / "p"))
    changes: dict[str, Any] = {"epochs": 2, "members": {"fused": 1, "structure": 2 - threads}}  # one: in this process
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        made = []
        for seed in (0, 1, 0):
            torch.rand(seed + 1)  # what the process has drawn before does not count
            made.append(trained(root, seed=seed, **changes))
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[2]
    assert made[0] != made[1]


def test_another_run_does_not_take_the_state(tmp_path: Path) -> None:
    one, other = (Resume(tmp_path, {"train": {"seed": seed}}) for seed in (0, 1))
    one.save({"epoch": 3, "weights": torch.ones(2)})
    assert other.load(torch.device("cpu")) is None
    state = Resume(tmp_path, {"train": {"seed": 0}}).load(torch.device("cpu"))
    assert state is not None
    assert state["epoch"] == 3
    one.clear()
    assert one.load(torch.device("cpu")) is None


def a_run(root: Path, net: MultimodalNet, **changes: Any) -> fit._Run:
    params = TrainParams.model_validate({**SMALL, "masking": QUIET, "paraphrases": False, **changes})
    splits = train.load_splits(root, params)
    return fit._Run(copy.deepcopy(net), params, splits, 0.0, 1.0, torch.device("cpu"))


def a_net(root: Path) -> MultimodalNet:
    params = TrainParams.model_validate(SMALL)
    torch.manual_seed(0)
    training = train.load_splits(root, params)["train"]
    net = MultimodalNet(params, training.text_dim)
    net.encoder.calibrate(next(training.batches(training.plan(8))).structure)  # type: ignore[operator]
    return net


def batches(run: fit._Run, size: int) -> list[Batch]:
    return list(run.training.batches(run.training.plan(size)))


def test_two_batches_of_four_make_the_step_of_one_of_eight(project: Path) -> None:
    net = a_net(project)
    one, two = a_run(project, net, batch_size=8), a_run(project, net, batch_size=4, accumulate=2)
    for run in (one, two):
        run._step(batches(run, run.params.batch_size)[:run.params.accumulate])
    for (name, a), b in zip(one.net.named_parameters(), two.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-4, msg=name)
        assert not torch.equal(a, dict(net.named_parameters())[name]) or a.grad is None or not a.grad.any()


def test_averaged_weights(project: Path) -> None:
    run = a_run(project, a_net(project), average=0.5)
    expected: torch.Tensor | None = None
    for batch in batches(run, 8)[:3]:
        run._step([batch])
        now = run.net.head_fused[0].weight.detach().clone()
        expected = now if expected is None else 0.5 * expected + 0.5 * now
    torch.testing.assert_close(run.validated.head_fused[0].weight.detach(), expected)
    assert not torch.equal(run.validated.head_fused[0].weight, run.net.head_fused[0].weight)


def test_one_cycle_rises_to_the_rate_and_falls_to_nothing(project: Path) -> None:
    run = a_run(project, a_net(project), schedule="one_cycle", epochs=6)
    rates = []
    for number in range(6):
        run.epoch(number)
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert max(rates) == pytest.approx(run.params.learning_rate, rel=0.1)
    assert rates[-1] < 1e-3 * run.params.learning_rate
    assert rates.index(max(rates)) in (1, 2)


@pytest.mark.parametrize("encoder", ["crystalformer", "comformer", "cgcnn"])
def test_bfloat16_learns_about_the_same(project: Path, tmp_path: Path, encoder: str) -> None:
    root = Path(shutil.copytree(project, tmp_path / "p"))
    curves = []
    for precision in ("float32", "bfloat16"):
        trained(root, encoder=encoder, precision=precision, **({} if encoder == "crystalformer" else
                                                               {encoder: {"dim": 16, "layers": 1}}))
        curves.append(read_curve(root))
    assert curves[0] != curves[1]
    for one, other in zip(*curves, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=0.05)


def read_curve(root: Path) -> list[dict[str, float]]:
    """Numbers, of the branches in their order."""
    with (Paths(root).model / "learning_curve.csv").open() as handle:
        return [{name: float(value) for name, value in row.items() if name != "branch"}
                for row in csv.DictReader(handle)]


def test_two_processes_learn_what_one_does(project: Path, tmp_path: Path) -> None:
    """`torchrun` over gloo, a batch shared by two, the last batch smaller than the team."""
    root = Path(shutil.copytree(project, tmp_path / "p"))
    params = {"masking": {"atoms": 0.2, "sentences": 0.2}, "batch_size": 4, "average": 0.9, "accumulate": 2,
              "also": {"g_vrh": "log10"}}
    trained(root, **params)
    alone, model = read_curve(root), checkpoint.load(root).net.state_dict()
    shutil.rmtree(Paths(root).model)
    torchrun("-m", "model", "train", "--root", str(root))
    for one, other in zip(alone, read_curve(root), strict=True):
        assert other == pytest.approx(one, abs=2e-5)
    for name, value in checkpoint.load(root).net.state_dict().items():
        torch.testing.assert_close(value, model[name], atol=2e-4, rtol=1e-3, msg=name)


def torchrun(*command: str) -> int:
    return subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                           *command], check=False, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


KILLED = """
import sys
from pathlib import Path
from model.training import fit, train
made, step = [], fit._Run._step
def limited(self, *arguments):
    if len(made) == int(sys.argv[2]):
        raise KeyboardInterrupt
    made.append(0)
    return step(self, *arguments)
fit._Run._step = limited
train.train(Path(sys.argv[1]))
"""


def test_two_processes_killed_and_resumed(project: Path, tmp_path: Path) -> None:
    """With running statistics, which are each process's own."""
    root, script = Path(shutil.copytree(project, tmp_path / "p")), tmp_path / "killed.py"
    script.write_text(KILLED)
    set_params(root, train={**SMALL, "encoder": "cgcnn", "cgcnn": {"dim": 16, "layers": 1}, "batch_size": 4,
                            "epochs": 2, "average": 0.9, "save_every_s": 0.0})
    assert torchrun(str(script), str(root), "1000") == 0
    expected = (Paths(root).model / checkpoint.MODEL).read_bytes()
    shutil.rmtree(Paths(root).model)
    assert torchrun(str(script), str(root), "3") != 0
    assert list(Paths(root).training.glob("*.pt"))
    assert torchrun(str(script), str(root), "1000") == 0
    assert (Paths(root).model / checkpoint.MODEL).read_bytes() == expected


def test_a_damaged_state_is_dropped_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume = Resume(tmp_path, {})
    resume.save({"epoch": 3, "weights": torch.ones(2)})
    whole = resume.path.read_bytes()
    generator = seeded(0)
    for damaged in (b"", whole[:20], whole[:-1], b"not a state", *(flipped(whole, generator) for _ in range(200))):
        resume.path.write_bytes(damaged)
        assert resume.load(torch.device("cpu")) is None
        assert not resume.path.exists()
        (line,) = capsys.readouterr().err.splitlines()
        assert "damaged and dropped" in line


def test_the_compiled_loops_take_as_many_threads_as_torch() -> None:
    code = ("import torch; torch.set_num_threads(1)\n"
            "from benchmarks.encoders import random_batch\nfrom model.nets import encoders\n"
            "from model.params import TrainParams\nimport numba\n"
            "encoders.make(TrainParams())(random_batch()).mean().backward()\n"
            "assert (torch.get_num_threads(), numba.get_num_threads()) == (1, 1)")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=Path(__file__).parents[3])
