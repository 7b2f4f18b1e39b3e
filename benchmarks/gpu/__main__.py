"""`python -m benchmarks.gpu`: all that is to be known of the path over a GPU, in one command of under ten minutes.

Of each structure encoder: tokens and gradients beside the CPU's, in float32 and under bfloat16, crystals a second in
both, with `torch.compile` and without, and the memory of a step. Of the text encoder: vectors beside the CPU's and
texts a second in float32 and bfloat16. Of the training of a network of both: where the time of a step goes, and what
`train.loader.bucket` saves. Sums are in a fixed order, as in training. The project's tables are read; chgnet is
measured where there are its vectors.

A line is printed for each figure as soon as it is known. A part that fails is named, and the others go on. The exit
code is 1 if any failed or differs by more than its bound, and 0 where there is no GPU. `--device cpu` runs the same
code on a CPU, with the operations that a GPU gets; there `torch.compile` takes minutes, since it calls a C++ compiler,
so `--no-compile` leaves it out. With BENCHMARKS_TABLE=FILE.csv all figures are kept there.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import torch

from benchmarks.gpu import structure, text, training
from benchmarks.gpu.report import Report
from features.errors import UserError, run_cli
from features.store import tables
from model.training.fit import deterministic

SECONDS = 540
"""After which no further part begins."""


def main(given: list[str] | None = None) -> int:
    """Print and keep all figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--batch", type=int, default=128, help="crystals of a batch")
    parser.add_argument("--batches", type=int, default=6, help="batches that are timed")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args(given)
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print("no GPU here: torch sees none, so nothing was measured; --device cpu runs the same code")
        return 0
    if not re.fullmatch(r"cpu|cuda(:\d+)?", arguments.device):
        raise UserError(f"--device {arguments.device} is none of cuda, cuda:1 and the like, and cpu")
    if min(arguments.batch, arguments.batches, arguments.texts) < 1:
        raise UserError("--batch, --batches and --texts are at least 1")
    if not tables.exists(arguments.root, "structures"):
        raise UserError(f"there is no table of structures below {arguments.root}; run `dvc repro` there")
    device = torch.device(arguments.device)
    deterministic()  # as training is
    report = Report(device, time.monotonic() + SECONDS)
    root, size, count = arguments.root, arguments.batch, arguments.batches
    names = [name for name in structure.NAMES if name != "chgnet" or structure.ids_of(root, name)]
    for name in names:
        report.part(f"{name}: parity", structure.parity, root, name, device)
        report.part(f"{name}: speed", structure.speed, root, name, device, size, count)
    report.part("text encoder", text.measure, root, arguments.device, arguments.texts)
    for name in names:
        report.part(f"{name}: step", training.split, root, name, device, size, count)
    report.part("bucketing", training.bucketing, root, device, size, count)
    for name in names if not arguments.no_compile else ():
        report.part(f"{name}: torch.compile", structure.compiled, root, name, device, size, count)
    return report.conclude()


if __name__ == "__main__":
    run_cli(lambda: sys.exit(main()))
