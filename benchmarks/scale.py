"""`python -m benchmarks.scale`: what one more crystal costs each stage, and what 200,000 and five million would.

Runs the stages on few and on many crystals, each as its own process with one thread, and takes the difference: seconds
of a core and bytes a crystal, besides what a start costs. `--table FILE` takes other crystals than the embedded set
(a Parquet file with `material_id`, `cif` and properties).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import polars as pl
import yaml

from benchmarks.refresh.crystals import as_cif
from features import registry
from features.paths import Paths
from pipelines.params import IngestParams
from pipelines.sources import matminer_archive

STAGES = ("ingest", "describe", "paraphrase", "embed", "tensorize", "split", "train")
SIZES = (200_000, 5_000_000)
TRAIN = {"epochs": 3, "patience": 3, "target": "k_vrh"}


class Cost(NamedTuple):
    """Of one process."""

    seconds: float
    """Of one core."""
    gigabytes: float
    """Peak memory."""
    bytes: int
    """On disk, of the table it made."""


def main() -> None:
    """Print a row for each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--many", type=int, default=600)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--target", default=TRAIN["target"])
    arguments = parser.parse_args()
    frame = crystals(arguments.table)
    if len(frame) < arguments.many:
        sys.exit(f"there are only {len(frame)} crystals; take --many {len(frame)}")
    with tempfile.TemporaryDirectory() as folder:
        few, many = (run(Path(folder) / str(count), frame.head(count), arguments.target)
                     for count in (arguments.few, arguments.many))
    more = arguments.many - arguments.few
    print(f"{'stage':<11}{'start s':>9}{'core s a crystal':>18}{'bytes a crystal':>17}{'peak GB':>9}"
          + "".join(f"{f'core h, {size:,}':>22}" for size in SIZES))
    for stage in STAGES:
        each = max(0.0, (many[stage].seconds - few[stage].seconds) / more)  # the cheapest drowns in noise
        size = (many[stage].bytes - few[stage].bytes) / more
        hours = "".join(f"{each * count / 3600:>22,.1f}" for count in SIZES)
        print(f"{stage:<11}{few[stage].seconds - each * arguments.few:>9.1f}{each:>18.4f}{size:>17,.0f}"
              f"{many[stage].gigabytes:>9.2f}{hours}")
    print(f"train: {TRAIN['epochs']} epochs on the training split; its core hours are of as many epochs")


def crystals(table: Path | None) -> pl.DataFrame:
    """The crystals in an order that mixes them."""
    if table is None:
        frame = pl.DataFrame([{"material_id": entry.material_id, "cif": as_cif(entry.structure),
                               **{name: value for name, value in entry.properties.items() if name == "k_vrh"}}
                              for entry in matminer_archive.read(IngestParams(), Path())])
    else:
        frame = pl.read_parquet(table)
    return frame.sample(fraction=1.0, shuffle=True, seed=0)


def run(root: Path, frame: pl.DataFrame, target: str) -> dict[str, Cost]:
    """Cost of each stage."""
    root.mkdir()
    frame.write_parquet(root / "crystals.parquet")
    (root / "params.yaml").write_text(yaml.safe_dump({
        "ingest": {"source": "table", "path": "crystals.parquet"},
        "train": TRAIN | {"target": target, "transform": "log10" if target == "k_vrh" else "none"}}))
    return {stage: cost(root, stage) for stage in STAGES}


def cost(root: Path, stage: str) -> Cost:
    """Run a stage in one process with one thread."""
    where = ["--executor", "serial"] if stage in registry.MODULES else []
    one = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen([sys.executable, "-m", "pipelines", stage, "--root", str(root), *where],
                               env={**os.environ, **one}, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"stage {stage} failed")
    made = Paths(root).table(registry.view_of(stage).name) if stage in registry.MODULES else Paths(root).model
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20,
                sum(path.stat().st_size for path in made.rglob("*") if path.is_file()))


if __name__ == "__main__":
    main()
