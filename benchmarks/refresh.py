"""`python -m benchmarks.refresh`: a refresh after 1 % of the crystals changed, against a rebuild from nothing.

Both make the tables `materials` and `structures` of the embedded elastic set, in turn, and their bytes are compared.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import polars as pl
import yaml

from features.paths import Paths
from pipelines.engine import stages
from pipelines.params import IngestParams
from pipelines.sources import matminer_archive


def main() -> None:
    """Print the seconds of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crystals", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rebuilds, refreshes, equal = measure(Path(folder), arguments.crystals, arguments.rounds)
    ratio = statistics.median(a / b for a, b in zip(rebuilds, refreshes, strict=True))
    print(f"refresh: {arguments.crystals} crystals, 1 % changed: rebuild {statistics.median(rebuilds):.2f} s, refresh "
          f"{statistics.median(refreshes):.2f} s, ratio {ratio:.1f}, {'equal' if equal else 'DIFFERENT'} bytes")


def measure(folder: Path, crystals: int, rounds: int) -> tuple[list[float], list[float], bool]:
    """Seconds of rebuilds and refreshes, and whether all bytes were equal."""
    frame = pl.DataFrame([{"material_id": entry.material_id, "cif": as_cif(entry.structure), "k_vrh": 1.0}
                          for entry in list(matminer_archive.read(IngestParams(), folder))[:crystals]])
    rebuilds, refreshes, equal = [], [], True
    for number in range(rounds):
        changed = frame.with_columns(k_vrh=pl.when(pl.int_range(pl.len()) % 100 == number).then(2.0).otherwise(1.0))
        refreshed, rebuilt = folder / "refreshed", folder / "rebuilt"
        if not refreshed.exists():
            run(refreshed, frame)
        shutil.rmtree(rebuilt, ignore_errors=True)
        refreshes.append(run(refreshed, changed))
        rebuilds.append(run(rebuilt, changed))
        equal &= contents(refreshed) == contents(rebuilt)
    return rebuilds, refreshes, equal


def run(root: Path, frame: pl.DataFrame) -> float:
    """Seconds for both tables."""
    root.mkdir(exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump({"ingest": {"source": "table", "path": "crystals.parquet"}}))
    frame.write_parquet(root / "crystals.parquet")
    started = time.perf_counter()
    stages.run("ingest", root)
    stages.run("tensorize", root)
    return time.perf_counter() - started


def contents(root: Path) -> dict[str, bytes]:
    """All table bytes."""
    folder = Paths(root).features
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def as_cif(poscar: str) -> str:
    """A POSCAR's text as CIF."""
    from pymatgen.io.cif import CifWriter
    from pymatgen.io.vasp.inputs import Poscar

    return str(CifWriter(Poscar.from_str(poscar).structure))


if __name__ == "__main__":
    main()
