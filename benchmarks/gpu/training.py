"""Training a network of structure and text: where the time of a step goes, and what sorting crystals by size saves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.gpu.report import Report
from benchmarks.gpu.structure import as_on_a_gpu
from benchmarks.gpu.timing import wait
from features.params import load_section
from model.forward import load_splits
from model.input.loader import Batch, Dataset
from model.nets.network import MultimodalNet, draw_hidden, joint_loss
from model.params import Members, TrainParams
from model.training.fit import _Run, statistics

BUCKET = 16
"""Batches that are sorted together."""
UNCOUNTED = 2
"""Steps before those that are timed."""
PARTS = ("loading", "hiding", "transfer", "forward", "backward", "optimiser")


def prepared(root: Path, name: str | None, device: torch.device, size: int, bucket: int = 1,
             precision: str = "float32") -> _Run:
    """A run of the project's section `train`, of one network that reads both; None is the project's encoder."""
    params = load_section(root, "train", TrainParams)
    params = params.model_copy(update={
        "encoder": name or params.encoder, "members": Members(), "batch_size": size, "precision": precision,
        "loader": params.loader.model_copy(update={"bucket": bucket})})
    splits = load_splits(root, params)
    training = splits["train"]
    torch.manual_seed(0)
    net = MultimodalNet(params, training.text_dim)
    net.encoder.calibrate(next(stream(training, size)).structure)  # type: ignore[operator]
    net.to(device).train()
    return _Run(net, params, splits, *statistics(training), device, quiet=True)


def stream(training: Dataset, size: int) -> Iterator[Batch]:
    """Batches of one epoch after the other."""
    for epoch in itertools.count():
        yield from training.batches(training.plan(size, (0, epoch)))


def split(report: Report, root: Path, name: str, device: torch.device, size: int, count: int) -> None:
    """Milliseconds of each part of a step when the host waits after each, and crystals a second when it does not."""
    run = prepared(root, name, device, size)
    with as_on_a_gpu():
        coming = stream(run.training, size)
        taken = [_timed(run, coming) for _ in range(UNCOUNTED + count)][UNCOUNTED:]
        for part, spent in zip(PARTS, np.median(taken, axis=0), strict=True):
            report.add(f"{name}, step of {size}", part, 1000 * float(spent), "ms")
        for precision in ("float32", "bfloat16"):
            rate = _rate(prepared(root, name, device, size, precision=precision), size, count)
            report.add(f"{name}, step of {size}", f"{precision}, all of it without waiting", rate, "crystals/s")


def _timed(run: _Run, coming: Iterator[Batch]) -> list[float]:
    """Seconds of each of `PARTS`, of one step as `_Run` makes it."""
    clock = [time.perf_counter()]

    def lap() -> None:
        wait(run.device)
        clock.append(time.perf_counter())

    batch = next(coming)
    lap()
    hidden = draw_hidden(batch.structure, batch.text, batch.row, run.params.masking, (run.params.seed, 0))
    lap()
    hidden, structure, text = hidden.to(run.device), batch.structure.to(run.device), batch.text.to(run.device)
    goal, weight = ((batch.target - run.means) / run.stds).to(run.device), batch.weight.to(run.device)
    lap()
    run.optimizer.zero_grad(set_to_none=True)
    loss = joint_loss(run.net(structure, text, hidden), goal, text.mask.any(dim=1), run.params.loss, weight,
                      batch.labelled, batch.with_text, batch.crystals, run.net.without_text is None)
    lap()
    loss.backward()
    lap()
    for parameters in run.net.clipped_together():
        nn.utils.clip_grad_norm_(parameters, run.params.gradient_norm)
    run.optimizer.step()
    run.schedule.step()
    if run.averaged is not None:
        run.averaged.update_parameters(run.net)
    lap()
    return list(np.diff(clock))


def _rate(run: _Run, size: int, count: int) -> float:
    """Crystals a second of whole steps, loading among them."""
    coming, crystals = stream(run.training, size), 0
    for _ in range(UNCOUNTED):
        run._step([next(coming)])
    wait(run.device)
    begun = time.perf_counter()
    for batch in itertools.islice(coming, count):
        run._step([batch])
        crystals += len(batch.row)
    wait(run.device)
    return crystals / (time.perf_counter() - begun)


def bucketing(report: Report, root: Path, device: torch.device, size: int, count: int) -> None:
    """How much of the atoms' and sentences' places in a batch is padding, and crystals a second, without and with."""
    for bucket in (1, BUCKET):
        run = prepared(root, None, device, size, bucket)
        there, places = np.zeros(2), np.zeros(2)
        for batch in run.training.batches(run.training.plan(size, (0, 0))):
            atoms, mask = batch.structure.n_atoms, batch.text.mask
            there += [int(atoms.sum()), int(mask.sum())]
            places += [len(atoms) * int(atoms.max()), mask.numel()]
        for what, share in zip(("atoms", "sentences"), 1 - there / places, strict=True):
            report.add(f"loader.bucket {bucket}", f"padding of {what}", 100 * float(share), "%")
        with as_on_a_gpu():
            report.add(f"loader.bucket {bucket}", "whole steps", _rate(run, size, count), "crystals/s")
