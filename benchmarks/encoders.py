"""`python -m benchmarks.encoders`: every structure encoder against its formulas written down naively.

CrystalFormer's yardstick (`benchmarks/naive_crystalformer.py`) makes all 125 images × heads × basis functions, one
crystal at a time, so that it needs no padding. That of the graph networks (`benchmarks/naive_graphs.py`) goes atom by
atom over the same neighbours, all crystals as one batch, as their published codes do. Ours take the crystals as one
batch and compute once what symmetry makes equal. Same crystals of the project's table `structures`, same weights,
float32, forward and backward, in turn. CHGNet's vectors are frozen: nothing is computed in a step that could differ.
Peak memory is that of a batch of 64 crystals of 30 atoms, in a process of its own, above what the libraries take.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from benchmarks import naive_crystalformer, naive_graphs
from benchmarks.figures import Figure, show
from benchmarks.memory import peak
from features.store import tables
from features.views.structures import TensorizeParams, lists
from model.input.batch import IMAGES, NEIGHBOURS, Crystals, StructureBatch
from model.nets import encoders
from model.params import TrainParams

NAMES = ("crystalformer", "comformer", "cgcnn")
Geometry = tuple[Tensor, Tensor, Tensor]
"""Numbers `[n]`, positions `[n, 3]` and lattice `[3, 3]` of a crystal, Å."""

FASTER = {"crystalformer": 20.0, "comformer": 1.5, "cgcnn": 1.5}
"""How many times as fast as its formulas each must be."""
MEMORY = {"crystalformer": 0.5, "comformer": 2.4, "cgcnn": 0.5}
"""What a step may take at the most, GB."""


def main() -> None:
    """Print the largest difference of tokens and gradients, the ratio of times, and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print(memory(arguments.memory))
        return
    crystals, geometries = read(arguments.root, arguments.crystals)
    sizes = [len(numbers) for numbers, _, _ in geometries]
    title = f"{len(sizes)} crystals of {min(sizes)} to {max(sizes)} atoms, {torch.get_num_threads()} threads"
    sys.exit(show(title, (figure for name in NAMES for figure in (
        *compare(name, crystals, geometries, arguments.rounds), peak_of(name)))))


def peak_of(name: str) -> Figure:
    """Peak memory of one encoder's step, in a process of its own."""
    said = subprocess.run([sys.executable, "-m", "benchmarks.encoders", "--memory", name], check=True,
                          capture_output=True, text=True).stdout
    return Figure(f"{name}: memory of a step over 64 crystals of 30 atoms", float(said), "GB",
                  most=MEMORY[name], key=f"encoders.{name}.memory")


def compare(name: str, crystals: Crystals, geometries: list[Geometry], rounds: int) -> Iterator[Figure]:
    """Parity and times of one encoder."""
    torch.manual_seed(0)
    net = encoders.make(TrainParams.model_validate({"encoder": name}))
    batch = crystals.batch()
    torch.nn.init.normal_(net.embedding.weight)  # type: ignore[arg-type, union-attr]
    net.calibrate(batch)  # type: ignore[operator]
    net.train()(batch)  # running statistics, where there are any
    net.eval()
    exact, timed = yardstick(name, net, geometries)
    measured, expected = step(net, lambda: net(crystals.batch())), step(net, exact)
    tokens, gradients = (float((a - b).abs().max() / b.abs().max()) for a, b in zip(
        measured[1:], expected[1:], strict=True))
    ours, naive = [], []
    for _ in range(rounds):
        naive.append(step(net, timed)[0])
        ours.append(step(net, lambda: net(crystals.batch()))[0])
    ratio = float(np.median(naive) / np.median(ours))
    yield Figure(f"{name}: tokens, largest difference from its formulas", tokens, "", most=1e-4, note="relative",
                 key=f"encoders.{name}.tokens")
    yield Figure(f"{name}: gradients, largest difference", gradients, "", most=1e-3, note="relative",
                 key=f"encoders.{name}.gradients")
    yield Figure(f"{name}: a step, to its formulas written down naively", ratio, "times", least=FASTER[name],
                 note=f"{np.median(ours):.3f} and {np.median(naive):.3f} s", key=f"encoders.{name}.ratio")


def yardstick(name: str, net: Any, geometries: list[Geometry]) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The exact way, and the one that is timed."""
    if name == "crystalformer":
        def naive(far: int = 2) -> Tensor:
            return torch.cat([naive_crystalformer.forward(net, *geometry, far=far) for geometry in geometries])

        # what is timed has 125 images, as the published code; in the smallest cells that is too few to compare with
        return lambda: naive(far=3), naive
    graph = naive_graphs.graph(geometries, net.neighbours, TensorizeParams().reach ** 0.5)
    if name == "cgcnn":
        return (lambda: naive_graphs.cgcnn(net, graph),) * 2
    # what is timed takes one choice of lattice vectors, as the published code does
    return lambda: naive_graphs.comformer(net, graph), lambda: naive_graphs.comformer(net, graph, choices=1)


def step(net: torch.nn.Module, way: Callable[[], Tensor]) -> tuple[float, Tensor, Tensor]:
    """Seconds of forward and backward, tokens, and all gradients as one vector."""
    net.zero_grad()
    begin = time.perf_counter()
    tokens = way()
    tokens.square().mean().backward()
    seconds = time.perf_counter() - begin
    gradients = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return seconds, tokens.detach(), torch.cat(gradients)


def read(root: Path, count: int) -> tuple[Crystals, list[Geometry]]:
    """A random sample, as the encoders get it and as geometries in float32."""
    table = tables.read(root, "structures")
    table = table.take(np.random.default_rng(0).permutation(len(table))[:count])
    geometries = []
    for row in table.select(["lattice", "frac_coords", "atomic_numbers"]).to_pylist():
        lattice = np.array(row["lattice"]).reshape(3, 3)
        positions = np.array(row["frac_coords"]).reshape(-1, 3) @ lattice
        geometries.append((torch.tensor(row["atomic_numbers"]), torch.from_numpy(positions).float(),
                           torch.from_numpy(lattice).float()))
    return Crystals.from_table(table.select(["atomic_numbers", "orbit", *IMAGES, *NEIGHBOURS])), geometries


def memory(name: str) -> float:
    """Peak memory, GB, of one step over 64 random crystals of 30 atoms at 18 Å³ an atom, no two alike."""
    batch = random_batch()
    net = encoders.make(TrainParams.model_validate({"encoder": name}))
    before = psutil.Process().memory_info().rss
    net(batch).square().mean().backward()
    return (peak() - before) / 2**30


def random_batch() -> StructureBatch:
    """64 crystals without symmetry: the largest number of edges that so many atoms can have."""
    rng = np.random.default_rng(0)
    lattice = np.eye(3) * (30 * 18.0) ** (1 / 3)
    batch = Crystals.of([{"atomic_numbers": rng.integers(1, 90, 30),
                          **lists(lattice, rng.random((30, 3)), np.arange(30), lattice, TensorizeParams())}
                         for _ in range(64)]).batch()
    return batch.apply(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)


if __name__ == "__main__":
    main()
