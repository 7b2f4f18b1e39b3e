"""`python -m benchmarks.loader`: does the loader feed a training run, and in how much memory?

Repeats the project's crystals under new ids until there are `--crystals` of them, and streams one shuffled epoch from
the part files in a process of its own, which says its peak memory. Beside it, each encoder trains on the same batches.
Prints how many times faster the loader is than the encoder that consumes fastest.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from benchmarks.figures import Figure, show
from benchmarks.memory import peak
from features.paths import Paths
from features.store import placement, tables
from model.input import loader
from model.input.loader import Dataset
from model.nets import encoders
from model.params import LoaderParams, TrainParams

NAMES = ("crystalformer", "comformer", "cgcnn")
BATCH = 64
WINDOW = LoaderParams().window
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
        sys.exit(show(f"feeding a training run of {arguments.crystals:,} crystals", figures(project)))


def figures(project: Path) -> Iterator[Figure]:
    """Of each encoder the loader's speed to its own, and the loader's memory."""
    for name in NAMES:
        said = subprocess.run([sys.executable, "-m", "benchmarks.loader", "--root", str(project), "--stream", name],
                              check=True, capture_output=True, text=True).stdout
        fed, eaten = json.loads(said), consume(project, name)
        yield Figure(f"loader, to {name} that learns", fed["rate"] / eaten, "times", least=5,
                     note=f"{fed['rate']:,.0f} and {eaten:,.0f} crystals a second, one epoch of {fed['crystals']:,}",
                     key=f"loader.{name}.ratio")
        yield Figure(f"memory of the loader for {name}", fed["gigabytes"], "GB", most=LIMIT,
                     key=f"loader.{name}.memory")


def dataset(root: Path, name: str, window: int) -> Dataset:
    """The training crystals with what an encoder reads, in windows smaller than the table."""
    reads = encoders.reads(TrainParams.model_validate({"encoder": name}))
    return loader.load(root, "k_vrh", "none", reads, LoaderParams(window=window),
                       with_text=tables.exists(root, "text_embeddings"))["train"]


def stream(root: Path, name: str, window: int = WINDOW) -> None:
    """One epoch, in this process; prints what it took."""
    before = peak()
    training = dataset(root, name, window)
    begun = time.perf_counter()
    count = sum(len(batch.row) for batch in training.batches(training.plan(BATCH, (0, 0))))
    seconds = time.perf_counter() - begun
    print(json.dumps({"crystals": count, "rate": count / seconds, "gigabytes": (peak() - before) / 2**30}))


def consume(root: Path, name: str, batches: int = 30) -> float:
    """Crystals a second in forward and backward of the encoder alone."""
    torch.manual_seed(0)
    net = encoders.make(TrainParams.model_validate({"encoder": name}))
    training = dataset(root, name, WINDOW)
    ready = [batch.structure for batch in training.batches(training.plan(BATCH, (0, 0))[:batches])]
    net.calibrate(ready[0])  # type: ignore[operator]
    for structure in ready[:2]:
        net(structure).square().mean().backward()
    begun = time.perf_counter()
    for structure in ready:
        net(structure).square().mean().backward()
    return BATCH * batches / (time.perf_counter() - begun)


def repeat(source: Path, target: Path, crystals: int) -> None:
    """The tables that the loader reads, for so many crystals, each a copy of a real one with its texts."""
    ids = tables.read(source, "structures", ["material_id"])["material_id"].to_pylist()
    copies = [(f"{ids[index % len(ids)]}-{index // len(ids)}", ids[index % len(ids)]) for index in range(crystals)]
    where = placement.positions([copy for copy, _ in copies])
    parts = placement.number_of_parts(crystals)
    members = [[copies[index] for index in np.flatnonzero((where >= low) & (where < high))]
               for low, high in (placement.part_range(part, parts) for part in range(parts))]
    split = {copies[0][0]: "validation", copies[1][0]: "test"}  # which must not be empty

    def copied(name: str) -> Iterator[pa.Table]:
        table = tables.read(source, name)
        rows = collections.defaultdict(list)
        for row, material_id in enumerate(table["material_id"].to_pylist()):
            rows[material_id].append(row)
        for part in members:
            taken = table.take(pa.array([row for _, original in part for row in rows[original]], pa.int64()))
            names = pa.array([copy for copy, original in part for _ in rows[original]], pa.string())
            yield taken.set_column(0, taken.schema.field(0), names)

    def publish(name: str, key: list[str], tables_of: Iterator[pa.Table], schema: pa.Schema) -> None:
        tables.publish(Paths(target).table(name), schema.remove_metadata(), key, tables_of, iter([{}] * parts))

    for name, key in (("structures", ["material_id"]), ("text_embeddings", ["material_id", "variant"])):
        if tables.exists(source, name):
            publish(name, key, copied(name), tables.schema(source, name))
    for name, column, values in (("materials", "k_vrh", lambda _id: 1.0),
                                 ("splits", "split", lambda copy: split.get(copy, "train"))):
        made = [pa.table({"material_id": pa.array([copy for copy, _ in part], pa.string()),
                          column: [values(copy) for copy, _ in part]}) for part in members]
        publish(name, ["material_id"], iter(made), made[0].schema)


if __name__ == "__main__":
    main()
