"""Structure encoders: the device's numbers beside the CPU's, and their speed."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gpu.report import Report
from benchmarks.gpu.timing import apart, seconds, wait
from features.store import tables
from model.input import loader
from model.input.batch import StructureBatch
from model.nets import encoders
from model.nets.encoders import crystalformer
from model.nets.encoders.periodic_attention import prepare
from model.params import TrainParams

NAMES = tuple(encoders.ENCODERS)
COMPARED = 48
"""Crystals of the comparison with the CPU."""
MOST = {"float32": {"tokens": 1e-5, "gradients": 1e-4}, "bfloat16": {"tokens": 0.02, "gradients": 0.06}}
"""Difference from the CPU in float32, as a share. Gradients are compared as one vector; on CPUs bfloat16 gives 0.002 to
0.005, and 0.004 to 0.02."""


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """On a CPU, too, the attention as torch operations and not in compiled code."""
    def images_of(batch: StructureBatch) -> object:
        return prepare(batch, crystalformer.N_BASIS, crystalformer.BASIS_WIDTH, compiled=False)

    with mock.patch.object(crystalformer, "images_of", images_of):
        yield


def ids_of(root: Path, name: str) -> list[str]:
    """The crystals for which there is what an encoder reads."""
    table = "chgnet_atoms" if name == "chgnet" else "structures"
    ids: list[str] = tables.read(root, table, ["material_id"])["material_id"].to_pylist() \
        if tables.exists(root, table) else []
    return ids


def batches(root: Path, name: str, size: int, count: int) -> list[StructureBatch]:
    """Random crystals of the project's table, the same ones again where there are too few."""
    ids = ids_of(root, name)
    chosen = np.resize(np.random.default_rng(0).permutation(len(ids)), size * count)
    reads = encoders.reads(TrainParams.model_validate({"encoder": name}))
    return [loader.read_crystals(root, [ids[row] for row in rows], reads).batch()
            for rows in chosen.reshape(count, size)]


def network(name: str, batch: StructureBatch) -> nn.Module:
    """An encoder of the default size, as it is in the middle of a training."""
    torch.manual_seed(0)
    net = encoders.make(TrainParams.model_validate({"encoder": name}))
    if name != "chgnet":
        nn.init.normal_(net.embedding.weight)  # type: ignore[arg-type, union-attr]
    net.calibrate(batch)  # type: ignore[operator]
    with torch.no_grad():
        net.train()(batch)  # running statistics, where there are any
    return net


def step(net: nn.Module, batch: StructureBatch, half: bool = False) -> tuple[Tensor, Tensor]:
    """Forward and backward: tokens, and all gradients as one vector."""
    net.zero_grad()
    with torch.autocast(batch.numbers.device.type, torch.bfloat16, half):
        tokens = net(batch)
    tokens.float().square().mean().backward()
    return tokens.detach(), torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def parity(report: Report, root: Path, name: str, device: torch.device) -> None:
    """Tokens and gradients of the device beside those of the CPU in float32; same weights, same crystals."""
    (batch,) = batches(root, name, COMPARED, 1)
    net = network(name, batch).eval()
    expected = step(net, batch)
    theirs, there = copy.deepcopy(net).to(device), batch.to(device)
    with as_on_a_gpu():
        for precision, most in MOST.items():
            measured = step(theirs, there, precision == "bfloat16")
            for (what, bound), one, other in zip(most.items(), measured, expected, strict=True):
                report.add(name, f"{precision} {what}, relative difference from the CPU", apart(one, other),
                           most=bound)


def speed(report: Report, root: Path, name: str, device: torch.device, size: int, count: int) -> None:
    """Crystals a second in forward and backward, and the memory of a step."""
    several = [batch.to(device) for batch in batches(root, name, size, count)]
    net = network(name, several[0].to(torch.device("cpu"))).to(device)
    with as_on_a_gpu():
        for precision in MOST:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            taken = seconds(device, [partial(step, net, batch, precision == "bfloat16") for batch in several])
            report.add(name, f"{precision}, forward and backward", size * count / taken, "crystals/s")
            if device.type == "cuda":
                report.add(name, f"{precision}, memory", torch.cuda.max_memory_allocated(device) / 2**30, "GB")


def compiled(report: Report, root: Path, name: str, device: torch.device, size: int, count: int) -> None:
    """`torch.compile` in its default mode, for batches of any shape, beside the same without it."""
    several = [batch.to(device) for batch in batches(root, name, size, count)]
    net = network(name, several[0].to(torch.device("cpu"))).to(device).eval()
    fast: nn.Module = torch.compile(net, dynamic=True)  # type: ignore[assignment]
    with as_on_a_gpu():
        expected = step(net, several[0])
        begun = time.perf_counter()
        measured = step(fast, several[0])
        wait(device)
        report.add(name, "torch.compile, first step", time.perf_counter() - begun, "s")
        for (what, most), one, other in zip(MOST["float32"].items(), measured, expected, strict=True):
            report.add(name, f"torch.compile, {what}, relative difference", apart(one, other), most=most)
        plain, quick = (seconds(device, [partial(step, way, batch) for batch in several]) for way in (net, fast))
        report.add(name, "torch.compile, forward and backward", size * count / quick, "crystals/s")
        report.add(name, "torch.compile, times as fast as without", plain / quick)
