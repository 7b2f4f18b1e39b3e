"""`python -m benchmarks.encoders`: CrystalFormer against its formulas written down naively, forward and backward.

The yardstick (`benchmarks/naive_crystalformer.py`) makes all 125 images × heads × basis functions, one crystal at a
time, so that it needs no padding; ours takes the crystals as one batch. Same crystals of the project's table
`structures`, same weights, float32, in turn. Peak memory is that of a batch of 64 crystals of 30 atoms, in a process of
its own, above what the libraries take.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.naive_crystalformer import forward
from features import tables
from features.structures import TensorizeParams, neighbour_images
from model.data import Crystal, collate_structures
from model.encoders.crystalformer import Crystalformer


def main() -> None:
    """Print the largest difference of tokens and gradients, the ratio of times, and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        memory()
        return
    crystals = read(arguments.root, arguments.crystals)
    torch.manual_seed(0)
    net = Crystalformer()
    torch.nn.init.normal_(net.embedding.weight)
    net.calibrate(collate_structures([crystal for crystal, *_ in crystals]))

    def ours() -> torch.Tensor:
        tokens: torch.Tensor = net(collate_structures([crystal for crystal, *_ in crystals]))
        return tokens

    def naive() -> torch.Tensor:
        return torch.cat([forward(net, torch.from_numpy(crystal.numbers), positions, lattice)
                          for crystal, positions, lattice in crystals])

    timed: dict[str, list[float]] = {"ours": [], "naive": []}
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for _ in range(arguments.rounds + 1):  # the first round warms up
        for name, way in (("naive", naive), ("ours", ours)):
            seconds, tokens, gradient = step(net, way)
            timed[name].append(seconds)
            found[name] = tokens, gradient
    tokens_apart, gradients_apart = (float((a - b).abs().max() / b.abs().max()) for a, b in zip(
        found["ours"], found["naive"], strict=True))
    ratio = float(np.median(timed["naive"][1:]) / np.median(timed["ours"][1:]))
    sizes = [len(crystal.numbers) for crystal, *_ in crystals]
    print(f"crystalformer: {len(sizes)} crystals of {min(sizes)} to {max(sizes)} atoms, {torch.get_num_threads()} "
          f"threads: naive {np.median(timed['naive'][1:]):.2f} s, ours {np.median(timed['ours'][1:]):.3f} s a step")
    print(f"largest difference, relative: tokens {tokens_apart:.1e}, gradients {gradients_apart:.1e}")
    print(f"ratio {'>=' if ratio >= 20 else '<'} 20: {ratio:.1f}")
    subprocess.run([sys.executable, "-m", "benchmarks.encoders", "--memory"], check=True)
    sys.exit(int(ratio < 20))


def step(net: Crystalformer, way: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Seconds of forward and backward, tokens, and all gradients as one vector."""
    net.zero_grad()
    begin = time.perf_counter()
    tokens = way()
    tokens.square().mean().backward()
    seconds = time.perf_counter() - begin
    gradients = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return seconds, tokens.detach(), torch.cat(gradients)


def read(root: Path, count: int) -> list[tuple[Crystal, torch.Tensor, torch.Tensor]]:
    """A random sample with Cartesian positions and lattices in float32."""
    rows: list[dict[str, Any]] = tables.read(root, "structures").to_pylist()
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    found = []
    for row in (rows[index] for index in chosen):
        lattice = np.array(row["lattice"]).reshape(3, 3)
        positions = np.array(row["frac_coords"]).reshape(-1, 3) @ lattice
        crystal = Crystal(np.array(row["atomic_numbers"], np.int64), np.array(row["edge_i"], np.int64),
                          np.array(row["edge_j"], np.int64), np.array(row["edge_distance"], np.float32))
        found.append((crystal, torch.from_numpy(positions).float(), torch.from_numpy(lattice).float()))
    return found


def memory() -> None:
    """Peak memory of one step over 64 random crystals of 30 atoms at 18 Å³ an atom."""
    rng = np.random.default_rng(0)
    edge = (30 * 18.0) ** (1 / 3)
    crystals = []
    for _ in range(64):
        i, j, distance = neighbour_images(np.eye(3) * edge, rng.random((30, 3)), TensorizeParams().reach)
        crystals.append(Crystal(rng.integers(1, 90, 30), i, j, distance.astype(np.float32)))
    net = Crystalformer()
    batch = collate_structures(crystals)
    before = psutil.Process().memory_info().rss
    net(batch).square().mean().backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"memory of a step over 64 crystals of 30 atoms ({len(batch.distance):,} edges): at most "
          f"{(peak - before) / 2**30:.2f} GB")


if __name__ == "__main__":
    main()
