"""`python -m benchmarks.store`: the feature store at size, measured, beside pandas and Feast.

Makes `--crystals` crystals with three texts each through the real engine, from rows that cost nothing to compute
(`rows.py`), in a project of git and DVC: `v1`, then `v2`, in which 1 % of the crystals have changed. Then asks of it
what an analyst asks, each step and command in a process of its own, and prints every figure with its bound; exit code 1
if one is not met. What `--folder` holds already, of as many crystals, is not made again.

    python -m benchmarks.store --crystals 200000 --folder DIR
    python -m benchmarks.store --crystals 200000 --folder DIR --feast feast-env/bin/python   # with `pip install feast`
    python -m benchmarks.store --crystals 1000000 --folder DIR --writer    # memory of the process that writes alone
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import show
from benchmarks.store.bounds import figures

MADE = ("build", "publish", "refresh")
"""Steps that are not done again."""
ASKED = ("session", "session_at", "dvc_status", "pandas", "training")
Results = dict[str, Any]


def main() -> int:
    """Print all figures; 1 if a bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="Where everything lies, and stays; a temporary folder by default.")
    parser.add_argument("--feast", type=Path, metavar="PYTHON", help="A Python that has feast.")
    parser.add_argument("--writer", action="store_true", help="Only the memory of the process that writes.")
    parser.add_argument("--no-bounds", action="store_true", help="Print figures, and fail for none of them.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = (arguments.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        results = measured(folder, arguments.crystals, arguments.writer, arguments.feast)
    code = show(f"{arguments.crystals:,} crystals", figures(results))
    return 0 if arguments.no_bounds else code


def measured(folder: Path, crystals: int, writer: bool, feast: Path | None) -> Results:
    """What all steps say, by their names."""
    kept = folder / "results.json"
    stored = json.loads(kept.read_text()) if kept.exists() else {}
    results: Results = stored if stored.get("crystals") == crystals else {"crystals": crystals}
    root = folder / "project"
    for step in ("writer",) if writer else (*MADE, *ASKED):
        if step in MADE and step in results:
            continue
        results[step] = run_step(step, root, crystals)
        kept.write_text(json.dumps(results, indent=1))
    if not writer:
        results["commands"] = {name: command(root, arguments) for name, arguments in commands(folder).items()}
        if feast is not None:
            results["feast"] = run_step("feast", root, crystals, str(feast))
        kept.write_text(json.dumps(results, indent=1))
    return results


def run_step(step: str, root: Path, crystals: int, *more: str) -> Any:
    """What a step says, which runs in a process of its own."""
    print(f"{step} …", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "benchmarks.store.steps", step, str(root), str(crystals), *more],
                          check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"step {step} ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def commands(folder: Path) -> dict[str, list[str]]:
    """What is asked of `python -m features`, by name."""
    from benchmarks.store.queries import JOIN, SIMILAR

    return {
        "list": ["list"],
        "describe": ["describe", "materials"],
        "sql: join": ["sql", JOIN],
        "sql: join --at v1": ["sql", "--at", "v1", JOIN],
        "sql: similar": ["sql", SIMILAR],
        "sql: near": ["sql", "select * from near('mp-1', 10)"],
        "sql: find": ["sql", "select * from find('edge-sharing TiO6 octahedra', 10)"],
        "sql: select *": ["sql", "--format", "csv", "select * from materials"],
        "sql: select * of vectors": ["sql", "--format", "csv", "select * from text_embeddings limit 20000"],
        "profiles": ["profiles", "materials"],
        "diff": ["diff", "v1", "v2"],
        "validate": ["validate"],
        "page": ["page", "--out", str(folder / "page.html")],
        "export to csv": ["export", "--to", "csv", "--tables", "materials,splits", str(folder / "csv")],
        "export to huggingface": ["export", "--to", "huggingface", str(folder / "huggingface")],
        "training-set": ["training-set", "--target", "k_vrh", "--views", "materials.density,structures.n_edges"],
        "gc --dry-run": ["gc", "--dry-run"],
    }


def command(root: Path, arguments: list[str]) -> Results:
    """Seconds and peak memory of a command; its exit code and last words if it fails.

    The peak is that of the process or, if that is more, of the largest one that it has started. This process must stay
    small for it: a child begins with the memory of its parent.
    """
    out = Path(arguments[-1]) if arguments[0] == "export" else None
    if out is not None and out.exists():
        shutil.rmtree(out)
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([sys.executable, "-m", "features", *arguments, "--root", str(root)],
                                 stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        words = said.read().decode(errors="replace").strip().splitlines()[-1:]
    return {"seconds": time.perf_counter() - began, "peak_bytes": usage.ru_maxrss * 1024, "code": child.returncode,
            "words": words[0] if words and child.returncode else ""}


if __name__ == "__main__":
    sys.exit(main())
