"""A small fixed sample of `make faults`, in one process that has imported everything once."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import disk

REPO = Path(__file__).parents[2]
WELL = {
    "kills": ("kill points tried", ("repaired by hand",), 20),
    "damage": ("damages tried", ("silent", "tracebacks", "errors that name no file", "not as before"), 16),
    "inputs": ("inputs tried", ("tracebacks", "hangs"), 80),
    "resources": ("shortages tried", ("tracebacks", "lost, left over or different"), 2),
    "readers": ("queries beside writers", ("errors", "mixtures"), 40),
}
"""Part → what it counts, what must be none, and how many it must have tried."""


@pytest.fixture(scope="module")
def said() -> str:
    done = subprocess.run([sys.executable, "-m", "tests.faults", "--sample", "--jobs", "1"], cwd=REPO, text=True,
                          capture_output=True, check=False, timeout=400)
    assert "Traceback" not in done.stderr, done.stderr[-3000:]  # of the harness itself
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("part", WELL)
def test_nothing_is_lost_nor_silently_wrong(said: str, part: str) -> None:
    counted, none_of, at_least = WELL[part]
    (line,) = re.findall(rf"(?m)^{part}: .*\b{counted} .*$", said)
    failed = [found for found in said.splitlines() if found.startswith((f"FAILED python -m tests.faults {part}", "  "))]
    assert {name: int(number) for name, number in re.findall(rf"({'|'.join(none_of)}) (\d+)", line)} == \
        dict.fromkeys(none_of, 0), "\n".join([line, *failed])
    (tried,) = re.findall(rf"{counted} ([\d,]+)", line)
    assert int(tried.replace(",", "")) >= at_least


def test_every_write_is_seen(tmp_path: Path) -> None:
    """The shim counts what Python, pyarrow, a shell and sqlite do below the folder, and nothing beside it."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, sqlite3, subprocess, sys
from pathlib import Path
from tests.faults import disk
disk.start_again_with_the_shim("script", [])
from tests.faults.forks import in_a_fork
root = Path({str(tmp_path)!r}) / "root"
root.mkdir()
control = disk.Control(root.with_name("control"), root)
def beside():
    (root.parent / "beside").write_text("x")
def python():
    (root / "a").write_text("text")       # open, write, its middle
    (root / "a").rename(root / "b")
def shell():
    subprocess.run(["cp", str(root / "b"), str(root / "c")], check=True)
def sqlite():
    with sqlite3.connect(root / "d") as database:
        database.execute("create table t (a)")
def parquet():
    import pyarrow as pa, pyarrow.parquet as pq
    pq.write_table(pa.table({{"a": [1]}}), root / "e")
counts = []
for work in (beside, python, shell, sqlite, parquet):
    control.at(0)
    ended = in_a_fork(work, control)
    counts.append((ended.code, control.count))
control.at(3)
counts.append((in_a_fork(python, control).code, (root / "a").read_text()))
print(disk.preloaded(), counts)
""")
    done = subprocess.run([sys.executable, "-m", "script"], cwd=tmp_path, text=True, capture_output=True, check=True,
                          env={**_environment(), "PYTHONPATH": f"{tmp_path}:{REPO}"}, timeout=120)
    seen, counts = done.stdout.split(" ", 1)
    if seen == "False":
        pytest.skip("there is no C compiler here")
    beside, python, shell, sqlite, parquet, half = ast.literal_eval(counts)
    assert beside == (0, 0)
    assert python == (0, 4)
    assert half == (-9, "te")
    assert shell[0] == sqlite[0] == parquet[0] == 0
    assert min(shell[1], sqlite[1], parquet[1]) >= 2


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items()
            if name not in (disk.READY, disk.PRELOAD, disk.CONTROL)}
