"""`python -m benchmarks.predict`: how long the first prediction takes, and how many crystals a second follow.

In the project folder, with its trained model. Each time is that of a new process, from its start to the first row of
its CSV: cold, when the files of Python and of its packages have been dropped from the page cache as far as the system
lets us (files that another process has mapped stay), and cached, right after. Then `--crystals` of the table
`materials` are predicted over all cores. Nothing else should be at work on the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.figures import Figure, show
from features.errors import run_cli
from features.processes import available_cores
from features.store import tables


def main() -> None:
    """Print seconds to the first prediction of one and of three CIFs, cold and cached, and crystals per second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--crystals", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rows = tables.read(arguments.root, "materials", ["material_id", "cif"]).to_pylist()
    chosen = [rows[row] for row in np.random.default_rng(arguments.seed).permutation(len(rows))[:arguments.crystals]]
    print(f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [folder / f"{number}.cif" for number in range(3)]
        for file, row in zip(files, chosen, strict=False):
            file.write_text(row["cif"])
        sys.exit(show("predicting with the trained model", figures(arguments, files, chosen, folder / "many.parquet")))


def figures(arguments: argparse.Namespace, files: list[Path], chosen: list[dict[str, Any]],
            table: Path) -> Iterator[Figure]:
    """Times of one and of three files, then of a table with `chosen`."""
    for key, said, several in (("one", "one CIF", files[:1]), ("three", "three CIFs", files)):
        dropped = f"asked to drop {drop() / 2**20:,.0f} MiB of files from the cache"
        first, last = timed(arguments.root, several)
        yield Figure(f"{said}: first prediction, cold", first, "s", key=f"predict.{key}_cold",
                     note=f"the last after {last:.1f} s; {dropped}")
        first, last = min(timed(arguments.root, several) for _ in range(arguments.repeats))
        yield Figure(f"{said}: first prediction, files cached", first, "s", key=f"predict.{key}_cached",
                     note=f"the last after {last:.1f} s; best of {arguments.repeats}")
    pl.DataFrame(chosen).write_parquet(table)
    first, last = timed(arguments.root, [table])
    yield Figure(f"{len(chosen)} crystals: predictions a second", len(chosen) / last, "", key="predict.rate",
                 note=f"after the first {(len(chosen) - 1) / (last - first):.1f}")


def timed(root: Path, given: list[Path]) -> tuple[float, float]:
    """Seconds to the first and to the last row of a new process. Raises `CalledProcessError` if it fails."""
    command = [sys.executable, "-m", "model", "predict", *map(str, given), "--root", str(root), "--csv", "-"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        process.stdout.readline()  # the names of the columns
        process.stdout.readline()
        first = last = time.perf_counter() - started
        while process.stdout.readline():
            last = time.perf_counter() - started
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return first, last


def drop() -> int:
    """Ask the system to forget the files of Python and its packages; their bytes."""
    total = 0
    for kind in ("stdlib", "platstdlib", "purelib", "platlib"):
        for path in Path(sysconfig.get_path(kind)).rglob("*"):
            if path.is_symlink() or not path.is_file():
                continue
            handle = os.open(path, os.O_RDONLY)
            try:
                total += os.fstat(handle).st_size
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)
    return total


if __name__ == "__main__":
    run_cli(main)
