"""`python -m benchmarks`: run the quick ones, keep their figures in docs/benchmarks.csv, and quote these in the pages.

Each runs in a process of its own, one after the other, and wants the machine for itself. Those that take more than
minutes, or files that do not come with the project, are run alone: with BENCHMARKS_TABLE=docs/benchmarks.csv their
figures join the others'.

    python -m benchmarks                 # the quick ones; exit code 1 if one misses its bound
    python -m benchmarks embed predict   # these
    python -m benchmarks --quote         # only write into the pages what the table says
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import figures, quotes
from features.errors import run_cli

QUICK: dict[str, list[str]] = {
    "cif": [], "rowstore": [], "describe": ["--crystals", "60"], "paraphrase": [], "embed": [], "encoders": [],
    "loader": [], "predict": [], "refresh": [], "cluster": [], "gpu": []}
"""Options of each. Some need the trained default project."""


def main() -> None:
    """Run them, or only quote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUICK)}")
    parser.add_argument("--quote", action="store_true", help="Run nothing.")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in QUICK]:
        parser.error(f"{', '.join(unknown)}: none of {', '.join(QUICK)}")
    if arguments.quote and arguments.names:
        parser.error("--quote runs nothing, so it takes no names")
    failed = []
    if not arguments.quote:
        environment = {figures.TABLE: str(quotes.SHEET), **os.environ}
        for name in arguments.names or QUICK:
            print(f"\n== {name}", flush=True)
            command = [sys.executable, "-m", f"benchmarks.{name}", *QUICK[name]]
            if subprocess.run(command, env=environment, check=False).returncode:
                failed.append(name)
    if failed:
        print(f"not as they should be: {', '.join(failed)}")
    for page in quotes.quote(Path()):
        print(f"{page} quotes other figures now")
    sys.exit(int(bool(failed)))


if __name__ == "__main__":
    run_cli(main)
