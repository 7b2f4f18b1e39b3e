"""`python -m benchmarks.loader`: does the loader feed a training run, and in how much memory?

Repeats the project's crystals under new ids until there are `--crystals` of them, and streams one shuffled epoch from
the part files in a process of its own, which says its peak memory. Beside it, each encoder trains on the same batches.
Prints how many times faster the loader is than the encoder that consumes fastest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from benchmarks.memory import peak
from features.paths import Paths
from features.store import placement, tables
from model.input import loader
from model.input.loader import Dataset
from model.nets import encoders
from model.params import LoaderParams, TrainParams

NAMES = ("crystalformer", "comformer", "cgcnn")
BATCH = 64
LIMIT = 3.0  # GB, whatever the number of crystals


def main() -> None:
    """Print crystals a second of loader and encoders, their ratio, and the loader's memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=200_000)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--stream", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stream:
        stream(arguments.root, arguments.stream)
        return
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        repeat(arguments.root, project, arguments.crystals)
        slowest, most = float("inf"), 0.0
        for name in NAMES:
            said = subprocess.run([sys.executable, "-m", "benchmarks.loader", "--root", folder, "--stream", name],
                                  check=True, capture_output=True, text=True).stdout
            fed = json.loads(said)
            eaten = consume(project, name)
            print(f"{name}: loader {fed['rate']:,.0f} crystals a second over {fed['crystals']:,} crystals, at most "
                  f"{fed['gigabytes']:.2f} GB; training {eaten:,.0f} a second; ratio {fed['rate'] / eaten:.1f}")
            slowest, most = min(slowest, fed["rate"] / eaten), max(most, fed["gigabytes"])
    print(f"ratio {'>=' if slowest >= 5 else '<'} 5: {slowest:.1f}; memory {'<=' if most <= LIMIT else '>'} {LIMIT} GB")
    sys.exit(int(slowest < 5 or most > LIMIT))


def dataset(root: Path, name: str) -> Dataset:
    """The training crystals with what an encoder reads, in windows smaller than the table."""
    reads = encoders.reads(TrainParams.model_validate({"encoder": name}))
    return loader.load(root, "k_vrh", "none", reads, LoaderParams(), with_text=False)["train"]


def stream(root: Path, name: str) -> None:
    """One epoch, in this process; prints what it took."""
    before = peak()
    training = dataset(root, name)
    begun = time.perf_counter()
    count = sum(len(batch.row) for batch in training.batches(training.plan(BATCH, (0, 0))))
    seconds = time.perf_counter() - begun
    print(json.dumps({"crystals": count, "rate": count / seconds, "gigabytes": (peak() - before) / 2**30}))


def consume(root: Path, name: str, batches: int = 30) -> float:
    """Crystals a second in forward and backward of the encoder alone."""
    torch.manual_seed(0)
    net = encoders.make(TrainParams.model_validate({"encoder": name}))
    training = dataset(root, name)
    ready = [batch.structure for batch in training.batches(training.plan(BATCH, (0, 0))[:batches])]
    net.calibrate(ready[0])  # type: ignore[operator]
    for structure in ready[:2]:
        net(structure).square().mean().backward()
    begun = time.perf_counter()
    for structure in ready:
        net(structure).square().mean().backward()
    return BATCH * batches / (time.perf_counter() - begun)


def repeat(source: Path, target: Path, crystals: int) -> None:
    """Tables `structures`, `materials` and `splits` of so many crystals, each a copy of a real one."""
    structures = tables.read(source, "structures")
    times = -(-crystals // len(structures))
    ids = [f"{material_id}-{copy}" for copy in range(times) for material_id in structures["material_id"].to_pylist()]
    ids = ids[:crystals]
    where = placement.positions(ids)
    parts = placement.number_of_parts(crystals)
    some: dict[str, Any] = {
        "materials": lambda rows, names: {"material_id": names, "k_vrh": pa.array([1.0] * len(rows))},
        "splits": lambda rows, names: {"material_id": names, "split": pa.array(["train"] * len(rows))},
    }

    def tables_of(make: Any) -> Iterator[pa.Table]:
        for part in range(parts):
            low, high = placement.part_range(part, parts)
            mine = [index for index in range(crystals) if low <= where[index] < high]
            names = pa.array([ids[index] for index in mine])
            yield make(pa.array([index % len(structures) for index in mine], pa.int64()), names)

    def renamed(rows: pa.Array, names: pa.Array) -> pa.Table:
        taken = structures.take(rows)
        return taken.set_column(0, taken.schema.field(0), names.cast(pa.string()))

    tables.publish(Paths(target).table("structures"), structures.schema.remove_metadata(), ["material_id"],
                   tables_of(renamed), iter([{}] * parts))
    for name, columns in some.items():
        made = [pa.table(columns(rows, names)) for rows, names in
                ((t["material_id"], t["material_id"].combine_chunks()) for t in
                 tables_of(lambda _rows, names: pa.table({"material_id": names})))]
        if name == "splits":  # a few crystals for the two other splits, which must not be empty
            column = made[0]["split"].to_pylist()
            column[:2] = ["validation", "test"]
            made[0] = made[0].set_column(1, "split", pa.array(column))
        tables.publish(Paths(target).table(name), made[0].schema, ["material_id"], iter(made), iter([{}] * parts))
    assert pc.count(tables.read(target, "structures", ["material_id"])["material_id"]).as_py() == crystals


if __name__ == "__main__":
    main()
