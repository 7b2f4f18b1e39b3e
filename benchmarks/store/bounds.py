"""The figures, and what each must be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.figures import Figure

COMPUTE_S = {"ingest": 0.051, "describe": 0.11, "paraphrase": 0.034, "tensorize": 0.012}
"""Core-seconds that a real crystal costs (docs/scale.md), without its vectors, which at this size come from a GPU."""
CORES = 2
MB, GB = 1e6, 1e9


def figures(results: dict[str, Any]) -> list[Figure]:
    """Of what the steps said."""
    if "writer" in results:
        return list(_writer(results["writer"], results["crystals"]))
    return [*_making(results), *_asking(results), *_memory(results), *_others(results)]


def _writer(writer: dict[str, Any], crystals: int) -> Iterator[Figure]:
    yield Figure("seconds to make the tables", writer["seconds"], "s")
    yield Figure("rows of the largest table", writer["rows"], "")
    yield Figure("peak memory of the writer", writer["peak_bytes"] / GB, "GB", most=4)
    each = (writer["peak_bytes"] - writer["small_bytes"]) / (crystals - writer["small_crystals"])
    yield Figure(f"more of it than at {writer['small_crystals']:,} crystals, per crystal", each, "B")
    yield Figure("peak memory of the writer at 5 million crystals", (
        writer["peak_bytes"] + (5_000_000 - crystals) * each) / GB, "GB", most=4, note="extrapolated")


def _making(results: dict[str, Any]) -> Iterator[Figure]:
    tables = results["publish"]["tables"]
    seconds = sum(table["seconds"] for table in tables.values())
    total = sum(table["bytes"] for table in tables.values()) / MB
    yield Figure("publish, all tables", total / seconds, "MB/s", least=50, note="of Arrow's bytes", key="store.publish")
    for name, table in tables.items():
        yield Figure(f"  {name}", table["bytes"] / MB / table["seconds"], "MB/s",
                     note=f"{table['bytes'] / MB:,.0f} MB, {table['file_bytes'] / MB:,.0f} MB in files")
    build, refresh = results["build"], results["refresh"]
    made, again = build["rebuild_s"] + build["publish_s"], refresh["refresh_s"] + refresh["publish_s"]
    compute = results["crystals"] * sum(COMPUTE_S.values()) / CORES
    yield Figure("rebuild with rows that cost nothing", made, "s",
                 note=f"{build['publish_s']:.0f} s of it to check and publish the version")
    yield Figure("refresh of 1 % with rows that cost nothing", again, "s", note=f"{again / made:.0%} of that; "
                 f"{refresh['publish_s']:.0f} s of it to check and publish the version")
    share = refresh["computed"] / refresh["wanted"]
    yield Figure("refresh of 1 % of a rebuild, of real crystals", 100 * (again + share * compute) / (made + compute),
                 "%", most=5, note=f"with {sum(COMPUTE_S.values()):.2f} core-seconds a crystal: {compute:,.0f} s on "
                 f"{CORES} cores", key="store.refresh")
    yield Figure("dvc commit of a version", build["commit_s"], "s")
    yield Figure("dvc status", results["dvc_status"]["seconds"], "s", most=10, key="store.dvc_status")


def _asking(results: dict[str, Any]) -> Iterator[Figure]:
    here, before, commands = results["session"], results["session_at"], results["commands"]
    yield Figure("session opens (features.open, select 1)", here["open_s"], "s", most=0.3, key="store.open")
    yield Figure("filter + join + aggregate, in a session", here["join_s"], "s", most=0.3,
                 key="store.join",
                 note=f"the first {here['join_first_s']:.2f} s, as a command {commands['sql: join']['seconds']:.1f} s")
    yield Figure("similar, the first of a session", here["similar_first_s"], "s", most=0.5,
                 key="store.similar_first", note=f"as a command {commands['sql: similar']['seconds']:.1f} s")
    yield Figure("similar, the following", here["similar_s"], "s", most=0.1, key="store.similar")
    for what, key in (("filter + join + aggregate", "join_s"), ("similar", "similar_s"), ("session opens", "open_s")):
        yield Figure(f"{what} --at v1, to the work tree", before[key] / here[key], "times", most=2,
                     key=f"store.at.{key.removesuffix('_s')}",
                     note=f"laid out once, in {before['laid_out_s']:.1f} s" if key == "open_s" else "")


def _memory(results: dict[str, Any]) -> Iterator[Figure]:
    peaks = {"writer": results["build"]["writer_bytes"], "publish": results["build"]["publisher_bytes"],
             "refresh": results["refresh"]["writer_bytes"], "session": results["session"]["peak_bytes"],
             "features.training_set": results["training"]["peak_bytes"]}
    for name, peak in peaks.items():
        yield Figure(f"memory: {name}", peak / GB, "GB", most=2)
    for name, said in results["commands"].items():
        failed = f"exit code {said['code']}: {said['words']}" if said["code"] else ""
        yield Figure(f"memory: {name}", said["peak_bytes"] / GB, "GB", most=-1 if failed else 2,
                     note=failed or f"{said['seconds']:.1f} s")


def _others(results: dict[str, Any]) -> Iterator[Figure]:
    here, theirs = results["session"], results["pandas"]
    yield Figure("pandas: filter + join + aggregate, to ours", theirs["join_s"] / here["join_s"], "times",
                 key="store.pandas.join",
                 note=f"{theirs['join_s']:.2f} s")
    yield Figure("pandas: similar, to ours, the first of a session", theirs["similar_s"] / here["similar_first_s"],
                 "times", key="store.pandas.similar_first", note=f"{theirs['similar_s']:.2f} s")
    yield Figure("pandas: similar, to ours, the following", theirs["similar_s"] / here["similar_s"], "times",
                 key="store.pandas.similar")
    training = results["training"]
    yield Figure("training set: named, checked and joined", training["total_s"], "s",
                 note=f"{training['rows']:,} rows, {training['named_s']:.1f} s of it to name and check")
    if "feast" in results:
        feast = results["feast"]
        joined = training["total_s"] - training["named_s"]
        yield Figure("Feast: the same rows, to ours joined", feast["seconds"] / joined, "times",
                     key="store.feast.joined",
                     note=f"{feast['seconds']:.1f} s, {feast['peak_bytes'] / GB:.1f} GB, feast {feast['version']}")
        yield Figure("Feast: the same rows, to ours named, checked and joined", feast["seconds"] / training["total_s"],
                     "times", key="store.feast.whole", note="Feast neither names nor checks them")
