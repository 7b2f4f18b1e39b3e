"""What is measured, one step a process: `python -m benchmarks.store.steps STEP FOLDER CRYSTALS` prints JSON."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import memory
from benchmarks.store.queries import JOIN, SIMILAR

CHANGED = 0.01
TIMES = 5
Result = dict[str, Any]


def build(root: Path, crystals: int) -> Result:
    """All tables from nothing, published as version `v1`."""
    from benchmarks.store import project

    shutil.rmtree(root, ignore_errors=True)
    project.start(root)
    project.track(root)
    made = _timed(lambda: project.materialize_all(root, crystals))
    writer = memory.peak()
    published = _timed(lambda: project.publish(root))
    return {"rebuild_s": made, "publish_s": published, "writer_bytes": writer, "publisher_bytes": memory.peak(),
            "commit_s": _timed(lambda: project.commit(root, "v1"))}


def refresh(root: Path, crystals: int) -> Result:
    """The same after 1 % of the crystals changed, published as `v2`. The revision before is `v1`."""
    from benchmarks.store import project

    reports: list[Any] = []
    made = _timed(lambda: reports.extend(project.materialize_all(root, crystals, CHANGED)))
    writer = memory.peak()
    return {"refresh_s": made, "publish_s": _timed(lambda: project.publish(root)), "writer_bytes": writer,
            "computed": sum(report.computed for report in reports), "wanted": sum(report.wanted for report in reports),
            "commit_s": _timed(lambda: project.commit(root, "v2"))}


def publish(root: Path, _crystals: int) -> Result:
    """`tables.publish` of all that was made. Reading the old parts is part of it, as reading the row store is, and so
    is checking the contract of each view."""
    from benchmarks.store import rows
    from features import contract
    from features.store import tables

    copy = root.with_name(f"{root.name}.copy")
    sizes: Result = {}
    for stage in rows.STAGES:
        view = rows.view_of(stage)
        parts = tables.files(root, view.name)
        read = 0

        def each(parts: list[Path] = parts) -> Iterator[Any]:
            nonlocal read
            for part in parts:
                table = tables.read_parts([part])
                read += table.nbytes
                yield table

        began = time.perf_counter()
        checked = contract.checked(view.name, contract.of_view(view), each())
        tables.publish(copy / view.name, view.schema, view.key, checked, (tables.footer(part) for part in parts))
        sizes[view.name] = {"seconds": time.perf_counter() - began, "bytes": read,
                            "file_bytes": sum(path.stat().st_size for path in (copy / view.name).iterdir())}
    shutil.rmtree(copy)
    return {"tables": sizes, "peak_bytes": memory.peak()}


def session(root: Path, _crystals: int, at: str | None = None) -> Result:
    """Queries of one session: the first of each kind, and the median of the following."""
    import duckdb  # noqa: F401 (loading libraries is no part of opening a catalog)
    import pandas  # noqa: F401 (Arrow loads it)
    import polars  # noqa: F401

    import features
    import features.opened

    laid_out = _timed(lambda: features.open(root, at=at))  # a revision, when it is first asked for
    opened = time.perf_counter()
    store = features.open(root, at=at)
    store.sql("select 1")
    result: Result = {"laid_out_s": laid_out, "open_s": time.perf_counter() - opened}
    for name, query in (("join", JOIN), ("similar", SIMILAR)):
        result[f"{name}_first_s"] = _timed(lambda query=query: store.sql(query))  # type: ignore[misc]
        result[f"{name}_s"] = statistics.median(_timed(lambda query=query: store.sql(query)) for _ in range(TIMES))  # type: ignore[misc]
    return {**result, "peak_bytes": memory.peak()}


def session_at(root: Path, crystals: int) -> Result:
    """The same of the revision before."""
    return session(root, crystals, "v1")


def pandas(root: Path, _crystals: int) -> Result:
    """The same questions asked of the same files with pandas, which reads the columns that it needs each time."""
    import numpy as np
    import pandas as pd

    def read(name: str, columns: list[str]) -> Any:
        parts = sorted((root / "data" / "features" / name).glob("part-*.parquet"))
        return pd.read_parquet(parts, columns=columns)

    def join() -> Any:
        few = read("materials", ["material_id", "crystal_system", "k_vrh", "band_gap", "nsites"])
        few = few[(few["band_gap"] > 1) & (few["nsites"] <= 10)]
        both = few.merge(read("descriptions", ["material_id", "n_words"]), on="material_id").merge(
            read("structures", ["material_id", "n_edges"]), on="material_id")
        return both.groupby("crystal_system").agg({"material_id": "size", "k_vrh": "mean", "n_words": "mean",
                                                   "n_edges": "mean"})

    def similar() -> Any:
        vectors = read("text_embeddings", ["material_id", "variant", "pooled"])
        vectors = vectors[vectors["variant"] == 0]
        matrix = np.stack(vectors["pooled"].to_numpy()).astype(np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        own = matrix[(vectors["material_id"] == "mp-1").to_numpy()][0]
        return vectors["material_id"].to_numpy()[np.argsort(-(matrix @ own))[1:11]]

    return {"join_s": statistics.median(_timed(join) for _ in range(3)),
            "similar_s": statistics.median(_timed(similar) for _ in range(2)), "peak_bytes": memory.peak()}


def training(root: Path, _crystals: int) -> Result:
    """A training set of columns of three tables and its rows joined."""
    import features

    views = ["materials.density", "materials.volume", "descriptions.n_words", "descriptions.dimensionality",
             "structures.n_edges"]
    began = time.perf_counter()
    chosen = features.training_set("k_vrh", views, root=root)
    named = time.perf_counter() - began
    rows = len(chosen.table())
    return {"rows": rows, "named_s": named, "total_s": time.perf_counter() - began, "name": chosen.name,
            "peak_bytes": memory.peak()}


def dvc_status(root: Path, _crystals: int) -> Result:
    """`dvc status` of a project in which nothing has changed."""
    from pipelines.commands import program

    return {"seconds": statistics.median(_timed(lambda: subprocess.run(
        [program("dvc"), "status", "-q"], cwd=root, check=True)) for _ in range(2))}


def feast(root: Path, _crystals: int, python: str) -> Result:
    """The same rows as those of `training`, retrieved by Feast from files of its own."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks.store.feast_retrieval import VIEWS
    from features.store import tables

    folder = root.with_name(f"{root.name}.feast")
    folder.mkdir(exist_ok=True)
    moment = pd.Timestamp("2020-01-01", tz="UTC")
    for name, columns in {**VIEWS, "entities": {"k_vrh": float}}.items():
        table = tables.read(root, "materials" if name == "entities" else name, ["material_id", *columns])
        when = pa.array([moment] * len(table), pa.timestamp("us", "UTC"))
        pq.write_table(table.append_column("event_timestamp", when), folder / f"{name}.parquet")
    done = subprocess.run([python, str(Path(__file__).with_name("feast_retrieval.py")), str(folder)], check=True,
                          stdout=subprocess.PIPE, text=True)
    result: Result = json.loads(done.stdout.splitlines()[-1])
    words = int(pa.compute.sum(tables.read(root, "descriptions", ["n_words"])["n_words"]).as_py())
    if result["missing"] or result["sum"] != words:
        raise AssertionError(f"Feast gave other rows: {result}")
    shutil.rmtree(folder)
    return result


def writer(root: Path, crystals: int) -> Result:
    """Peak memory of the process that makes all tables: of this many crystals, and before that of few."""
    from benchmarks.store import project, rows
    from features.store import tables

    small = crystals // 20
    peaks = []
    for count in (small, crystals):
        shutil.rmtree(root, ignore_errors=True)
        project.start(root)
        began = time.perf_counter()
        project.materialize_all(root, count)
        seconds = time.perf_counter() - began
        peaks.append(memory.peak())
    largest = max(sum(map(tables.rows, tables.files(root, rows.view_of(stage).name))) for stage in rows.STAGES)
    return {"seconds": seconds, "rows": largest, "peak_bytes": peaks[1], "small_bytes": peaks[0],
            "small_crystals": small}


def _timed(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


STEPS = (build, publish, refresh, session, session_at, dvc_status, pandas, training, feast, writer)

if __name__ == "__main__":
    step, folder, count, *more = sys.argv[1:]
    by_name: dict[str, Callable[..., Result]] = {function.__name__: function for function in STEPS}
    print(json.dumps(by_name[step](Path(folder), int(count), *more)))
