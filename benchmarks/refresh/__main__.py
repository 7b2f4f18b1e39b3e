"""`python -m benchmarks.refresh`: what a user types after 1 % of the crystals have changed, against a rebuild.

Makes a project of git and DVC of `--crystals` real crystals, of `--table FILE` (Parquet with `cif`) or of the embedded
elastic set, again and again with slight strains. Then `python -m pipelines refresh` with nothing new; and after all
lengths of a hundredth of them, chosen by a hash, have changed a little. The tables that it leaves are compared with
those of a rebuild, byte for byte.

Descriptions are the real ones, by the real command. The other tables have rows that cost nothing
(`benchmarks/store/rows.py`), for which the rebuild is quicker than a real one, and the ratio worse.

- measured: both refreshes, whole; of the rebuild `dvc repro` of all stages, with the descriptions of the changing
  hundredth.
- extrapolated: the descriptions of the other crystals, whose rows lie in the row store beforehand: their number times
  the mean core-seconds of `--sample` random ones, by the number of cores. With `--full` they are computed and measured
  (an hour at 20,000 crystals), and the bytes of a second rebuild are not compared.

What `--folder` holds already is not made again. With `--flow` once more with nothing new, as a flow of Prefect with a
server of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.figures import Figure, show
from benchmarks.refresh import crystals, project
from benchmarks.store.bounds import COMPUTE_S
from features.paths import Paths
from features.processes import available_cores
from features.progress import say

AT_SIZE = 20_000
"""Crystals from which on a refresh must take a small share of a rebuild: below, both are mostly starts of programs."""
SHARE = 2.0
NOTHING_S = 5.0
ROUNDS = 3
"""Refreshes with nothing new; the median counts."""
FLOW = "import sys; from pipelines.refresh.flow import refresh; refresh(sys.argv[1])"
Results = dict[str, Any]


def main() -> int:
    """Print all figures; 1 if a bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=400)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="Where everything lies, and stays; a temporary folder by default.")
    parser.add_argument("--full", action="store_true", help="Compute all descriptions of the rebuild.")
    parser.add_argument("--flow", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = (arguments.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        frame = crystals.table(arguments.table, arguments.crystals)
        results = measured(folder, frame, arguments.sample, arguments.full, arguments.flow)
    return show(f"refresh: {arguments.crystals:,} crystals of {arguments.table or 'the elastic set'}",
                figures(results, arguments.crystals, arguments.sample))


def measured(folder: Path, frame: pl.DataFrame, sample: int, full: bool, flow: bool) -> Results:
    """Seconds of all steps; those that `folder` has results of are not taken again."""
    kept = folder / "results.json"
    asked = {"crystals": len(frame), "full": full, "sample": sample}
    stored: Results = json.loads(kept.read_text()) if kept.exists() else {}
    results = stored if {name: stored.get(name) for name in asked} == asked else dict(asked)
    root, again, after = folder / "project", folder / "rebuilt", crystals.changed(frame)

    def refresh_changed() -> Results:
        after.write_parquet(root / project.SOURCE)
        return {"seconds": timed(refresh, root), "stages": stage_seconds(root)}

    steps: dict[str, Callable[[], Any]] = {
        "descriptions": lambda: per_crystal(frame, sample),
        "build": lambda: build(root, frame, full),
        "nothing": lambda: [timed(refresh, root) for _ in range(ROUNDS)],
        "refresh": refresh_changed,
    }
    if not full:
        steps["rebuild"] = lambda: build(again, after, full)
        steps["equal"] = lambda: contents(root) == contents(again)
    if flow:
        steps["flow"] = lambda: timed(run, root, "-c", FLOW, str(root))
    for name, step in steps.items():
        if name not in results:
            say(f"{name} …")
            results[name] = step()
            kept.write_text(json.dumps(results, indent=1))
    return results


def build(root: Path, frame: pl.DataFrame, full: bool) -> float:
    """Seconds of `dvc repro` from nothing."""
    shutil.rmtree(root, ignore_errors=True)
    project.start(root, frame)
    seconds = timed(project.reproduce, root, "ingest")
    if not full:
        run(root, "-c", "from pathlib import Path; from benchmarks.refresh import stage; stage.prime(Path())")
    return seconds + timed(project.reproduce, root)


def refresh(root: Path) -> None:
    """The command of every night, without Prefect."""
    run(root, "-m", "pipelines", "refresh", "--quiet")


def run(root: Path, *arguments: str) -> None:
    """A Python program of its own in a project."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"  # on a busy machine it takes more than 20
    subprocess.run([sys.executable, *arguments], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)


def stage_seconds(root: Path) -> dict[str, float]:
    """What the stages of the last refresh took, without the start of their programs."""
    report = json.loads((Paths(root).refresh / "report.json").read_text())
    return {name: run["seconds"] for name, run in report["stages"].items()}


def per_crystal(frame: pl.DataFrame, sample: int) -> list[float]:
    """Core-seconds of the description of each of some random crystals, computed in this process."""
    from features import registry
    from pipelines.engine.materialize import job_of

    view = registry.view_of("describe")
    units = crystals.units(frame.sample(sample, seed=1))
    params: Any = view.params()
    job = job_of(view, params)
    job.compute(units.slice(0, 1))  # imports, and code that is compiled
    return [cpu(lambda number=number: job.compute(units.slice(number, 1)))  # type: ignore[misc]
            for number in range(len(units))]


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def cpu(function: Callable[[], Any]) -> float:
    """Core-seconds of a call."""
    began = time.process_time()
    function()
    return time.process_time() - began


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of all tables and rejects."""
    folder = Paths(root).features
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def figures(results: Results, count: int, sample: int) -> Iterator[Figure]:
    """Of what the steps said."""
    yield Figure("nothing new: python -m pipelines refresh", statistics.median(results["nothing"]), "s", most=NOTHING_S,
                 note=f"median of {ROUNDS}, measured", key=f"refresh.{count}.nothing")
    if "flow" in results:
        yield Figure("nothing new: the flow, with a server of its own", results["flow"], "s", note="measured",
                     key=f"refresh.{count}.flow")
    seconds, stages, cores = results["refresh"]["seconds"], results["refresh"]["stages"], available_cores()
    shown = ", ".join(f"{name} {value:.1f}" for name, value in stages.items())
    yield Figure("1 % changed: python -m pipelines refresh", seconds, "s", key=f"refresh.{count}.changed",
                 note=f"measured; stages: {shown}; programs' starts, DVC, checks and the comparison "
                      f"{seconds - sum(stages.values()):.1f}")
    rebuild = low = high = results["build"]
    if results["full"]:
        yield Figure("rebuild: dvc repro of all stages", rebuild, "s", note="measured", key=f"refresh.{count}.rebuild")
    else:
        costs, others = results["descriptions"], count - count // 100
        mean, error = statistics.mean(costs), 1.96 * statistics.stdev(costs) / len(costs) ** 0.5
        yield Figure("rebuild: dvc repro with 1 % of the descriptions", rebuild, "s", note="measured")
        yield Figure("a description", 1000 * mean, "ms", note=f"± {1000 * error:.0f} core-ms at 95 %, of {sample} "
                     "random crystals, measured")
        low, high = (rebuild + others * each / cores for each in (mean - error, mean + error))
        rebuild += others * mean / cores
        yield Figure("rebuild with all descriptions", rebuild, "s", key=f"refresh.{count}.rebuild",
                     note=f"extrapolated, {low:,.0f} to {high:,.0f}: {others:,} more on {cores} cores")
    yield Figure("refresh of 1 % to the rebuild", 100 * seconds / rebuild, "%", key=f"refresh.{count}.share",
                 most=SHARE if count >= AT_SIZE else None,
                 note=f"{100 * seconds / high:.2f} to {100 * seconds / low:.2f}")
    real = count * sum(cost for stage, cost in COMPUTE_S.items() if stage != "describe") / cores
    yield Figure("  with real rows in other tables, save vectors", 100 * (seconds + real / 100) / (rebuild + real), "%",
                 note=f"extrapolated: {real:,.0f} s more, at the core-seconds a crystal of docs/scale.md",
                 key=f"refresh.{count}.share_real")
    if "equal" in results:
        yield Figure("tables of refresh and rebuild with equal bytes", float(results["equal"]), "", least=1,
                     key=f"refresh.{count}.equal")


if __name__ == "__main__":
    sys.exit(main())
