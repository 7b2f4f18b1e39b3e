"""`python -m tests.faults [PART…]`: kill, damage, poison and starve the project, and count what it does not survive.

Ends with exit code 1 if anything is not as it should be. docs/faults.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import disk
from tests.faults.settings import PARTS, Settings

SAMPLE = {"store-later": 17, "dvc-later": 4, "damage": 16, "cif": 40, "poscar": 4, "extxyz": 4, "json": 4, "csv": 4,
          "jsonl": 4, "parquet": 4, "properties": 4, "params": 20, "resources": 2, "queries": 42}
"""What `make test` tries."""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument("--minutes", type=float, default=25.0, help="for all parts together, on two cores")
    parser.add_argument("--jobs", type=int, default=2, help="cases at once")
    parser.add_argument("--case", default="", help="one case alone, as a failure names it")
    parser.add_argument("--sample", action="store_true", help="the few cases that `make test` tries")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    disk.start_again_with_the_shim("tests.faults", sys.argv[1:])
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=disk.roomy()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and its folder goes
    try:
        return _run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if disk.preloaded():
            shutil.rmtree(Path(os.environ[disk.PRELOAD]).parent, ignore_errors=True)


def _run(options: argparse.Namespace, folder: Path) -> int:
    from tests.faults.commands import warm
    from tests.faults.report import Report, show

    warm(with_model=not options.sample)
    reports = []
    for part in options.parts or PARTS:
        began, of_cpu = time.monotonic(), _cpu()
        settings = Settings(folder / part, options.seed, options.minutes, options.jobs, options.case,
                            SAMPLE if options.sample else {})
        settings.folder.mkdir()
        report = Report(part)
        importlib.import_module(f"tests.faults.{part}").run(settings, report)
        report.seconds, report.cpu = time.monotonic() - began, _cpu() - of_cpu
        print(report.line(), file=sys.stderr, flush=True)
        shutil.rmtree(settings.folder, ignore_errors=True)
        reports.append(report)
    return show(reports)


def _cpu() -> float:
    """Seconds of CPU that this process and all that have ended below it have taken."""
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, (resource.RUSAGE_SELF,
                                                                              resource.RUSAGE_CHILDREN)))


if __name__ == "__main__":
    sys.exit(main())
