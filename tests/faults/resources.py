"""Resources: a full or read-only disk, little memory, few open files, a wrong clock, no network, two of everything.

Each ends as if nothing were missing, or in one line; then, with what was missing, all is as it would have been.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.conftest import set_params
from tests.faults.commands import command, copy, dvc, repaired
from tests.faults.disk import FAIL, Control
from tests.faults.forks import HUNG, OK, Ended, in_a_fork, spread
from tests.faults.report import Report
from tests.faults.scenes import BEFORE, chain, contents, litter, must, tiny_model, toy
from tests.faults.settings import Settings

TRIED, TRACEBACKS, LOST = "shortages tried", "tracebacks", "lost, left over or different"
LAST_RELEASE = Path(__file__).with_name("last_release.tar.gz")
ABORTED = (127, 134)
"""Exit codes with which libraries of C end a process that gets no memory."""
PATIENCE_S = 40.0
"""Longest time for a command that lacks something."""
FEATURES, MODEL = "data/features", "data/model"


@dataclass(frozen=True)
class Work:
    """A command that may lack something."""

    name: str
    arguments: tuple[str, ...]
    places: tuple[str, ...]
    """What it makes."""


def _stage(name: str, table: str) -> Work:
    return Work(name, ("pipelines", name, "--executor", "serial"),
                (f"{FEATURES}/{table}", f"{FEATURES}/rejects/{table}.parquet"))


WORKS = (_stage("ingest", "materials"), _stage("split", "splits"), _stage("tensorize", "structures"),
         Work("train", ("model", "train"), (MODEL,)),
         Work("evaluate", ("model", "evaluate"), (f"{FEATURES}/predictions", "data/results")))
POINTS = {"ingest": 12, "split": 12, "tensorize": 8, "train": 16, "evaluate": 8}
"""Operations from which on a disk is full."""


def run(settings: Settings, report: Report) -> None:
    """All shortages."""
    for name in (TRIED, TRACEBACKS, LOST):
        report.counts[name] = 0
    base = settings.folder / "base"
    cases = [case for case in _cases() if settings.chosen(case)]
    if settings.sample:
        cases = list(SAMPLED)[:settings.sample["resources"]]
    wanted: dict[str, dict[str, str]] = {}
    works = {case.split(":")[1] for case in cases if case.split(":")[0] not in OTHERS}
    if works:
        _project(base)
        wanted = {work.name: _undisturbed(base, work) for work in WORKS if work.name in works}
    random.Random(settings.seed).shuffle(cases)
    for result in spread(cases, lambda case: _tried(settings, base, case, wanted), settings.jobs,
                         settings.until("resources")):
        report.counts[TRIED] += 1
        for kind, why in result["problems"]:
            report.failed(kind, result["case"], why)
    if report.counts[TRIED] < len(cases):
        report.notes.append(f"there was time for {report.counts[TRIED]:,} shortages of {len(cases):,}")


SAMPLED = ("old:store", "network:silent")
"""Those that `make test` tries: they need no model."""


def _cases() -> Iterator[str]:
    """Names of all cases: `what:of what:how`."""
    for work in WORKS:
        yield from (f"full:{work.name}:{number}" for number in range(1, POINTS[work.name] + 1))
        yield f"full:{work.name}:read-only"
        yield from (f"memory:{work.name}:{size}" for size in (16, 64, 256))
        yield from (f"files:{work.name}:{count}" for count in (8, 12, 20, 40))
        yield from (f"clock:{work.name}:{years}" for years in (-40, 8))
    yield from (f"network:{what}" for what in ("none", "silent", "materials-project", "archive", "hub"))
    yield from (f"two:{what}" for what in ("ingest", "split", "train", "repro", "refresh"))
    yield "old:store"


def _project(root: Path) -> None:
    """A project whose every stage has something to do again: an input was added after all had run."""
    from tests.conftest import CRYSTALS

    tiny_model(root)
    for stage in ("train", "evaluate"):
        must(in_a_fork(lambda stage=stage: command(root, "model", stage)), stage)
    set_params(root, train={"learning_rate": 0.002}, split={"seed": 1})
    shutil.copy(CRYSTALS / "mp-30.cif", root / "data" / "input" / "again.cif")
    (root / "data" / "input" / "broken.cif").write_text("data_broken\n_cell_length_a oops\n")


def _undisturbed(base: Path, work: Work) -> dict[str, str]:
    root = copy(base, base.with_name("undisturbed"))
    must(in_a_fork(lambda: command(root, *work.arguments)), work.name)
    return {name: content.hex() for name, content in contents(root, work.places).items()}


def _tried(settings: Settings, base: Path, case: str, wanted: dict[str, Any]) -> dict[str, Any]:
    root = base.with_name(f"case-{os.getpid()}")
    what, *rest = case.split(":")
    if what in ("network", "two", "old"):
        shutil.rmtree(root, ignore_errors=True)
        problems = OTHERS[what](root, rest[0])
    else:
        work = next(work for work in WORKS if work.name == rest[0])
        copy(base, root)
        problems = _lacking(root, what, work, rest[1], wanted[work.name], settings.seed)
    return {"case": case, "problems": problems}


def _lacking(root: Path, what: str, work: Work, how: str, wanted: dict[str, str], seed: int) -> list[tuple[str, str]]:
    """Run a command that lacks something, then again with it."""
    before = contents(root, work.places)
    run: Callable[[], None] = partial(command, root, *work.arguments)
    control = None
    if what in ("full", "clock"):
        control = Control(root.with_name(f"{root.name}.control"), root)
        control.at(0, clock=int(how) * 365 * 86_400 if what == "clock" else 0)
    if what == "full":
        shutil.copytree(root, probe := root.with_name(f"{root.name}.probe"))
        probing = Control(root.with_name(f"{root.name}.probing"), probe)
        probing.at(0)
        in_a_fork(lambda: command(probe, *work.arguments), probing)
        shutil.rmtree(probe)
        assert control is not None
        if how == "read-only":
            control.at(1, FAIL, errno.EROFS)
        else:
            number = int(how)
            total = POINTS[work.name]
            jitter = random.Random(f"{seed} {work.name} {how}").random()
            control.at(max(1, int(probing.count * (number - jitter) / total)), FAIL, errno.ENOSPC)
    if what == "files":
        run = partial(_with_few_files, int(how), run)
    ended = in_a_fork(run, control, patience_s=PATIENCE_S, memory=int(how) << 20 if what == "memory" else None)
    # a library that aborts, as the system ends what takes too much
    killed = what == "memory" and (ended.code < 0 or ended.code in ABORTED)
    problems = [] if killed else _badly_ended(ended)
    if killed and (mended := repaired(root)) is not None and mended.code != OK:
        problems.append((LOST, f"repair: {mended.brief()}"))
    if what == "full" and ended.code != OK and contents(root, work.places) not in (before, _bytes(wanted)):
        problems.append((LOST, f"after the failure: neither what was before nor what was wanted ({ended.brief()})"))
    if left := litter(root):
        states = [name for name in left if ".training" in name and not name.endswith(".tmp")]
        if what not in ("full", "memory", "files") or left != states:  # a state of training is work that is kept
            problems.append((LOST, f"left over: {', '.join(left[:3])}"))
    again = in_a_fork(lambda: command(root, *work.arguments))
    if again.code != OK:
        problems.append((LOST, f"again, with what was missing: {again.brief()}"))
    elif contents(root, work.places) != _bytes(wanted):
        problems.append((LOST, "again, with what was missing, it is another"))
    elif left := litter(root):
        problems.append((LOST, f"left over in the end: {', '.join(left[:3])}"))
    return problems


def _bytes(wanted: dict[str, str]) -> dict[str, bytes]:
    return {name: bytes.fromhex(content) for name, content in wanted.items()}


def _badly_ended(ended: Ended) -> list[tuple[str, str]]:
    if (ended.code == OK and "Traceback" not in ended.err) or ended.one_line:
        return []
    return [(TRACEBACKS, "it hangs" if ended.code == HUNG else f"no single line: {ended.brief()}")]


def _with_few_files(count: int, work: Callable[[], None]) -> None:
    opened = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + count, opened + count))
    work()


# ---- no network ----------------------------------------------------------------------------------------------------


@contextmanager
def _silent() -> Iterator[int]:
    """The port of a server that accepts and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield server.getsockname()[1]


def _network(root: Path, what: str) -> list[tuple[str, str]]:
    with _silent() as silent:
        root.mkdir(parents=True)
        closed = 9
        port = silent if what == "silent" else closed
        quick = {"timeout_s": 0.5, "attempts": 2, "backoff_s": 0.0}
        sections: dict[str, Any] = {
            "none": {"ingest": {"source": "optimade", "optimade": {"base_url": f"http://127.0.0.1:{port}", **quick}}},
            "silent": {"ingest": {"source": "optimade", "optimade": {"base_url": f"http://127.0.0.1:{port}", **quick}}},
            "materials-project": {"ingest": {"source": "materials_project", "materials_project": {
                "endpoint": f"http://127.0.0.1:{silent}", "database_version": "2025.09.25", **quick}}},
            "archive": {"ingest": {"source": "matminer_archive"}},
            "hub": {"embed": {"encoder": "nobody/nothing"}},
        }
        import yaml

        (root / "params.yaml").write_text(yaml.safe_dump(sections[what]))

        def work() -> None:
            proxy = f"http://127.0.0.1:{closed}"
            os.environ.update({"MP_API_KEY": "x" * 32, "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "https_proxy": proxy,
                               "http_proxy": proxy, "HF_HUB_OFFLINE": "0"})
            if what == "hub":
                from features import registry
                from features.params import load_section

                view = registry.view_of("embed")
                view.resolve(load_section(root, "embed", view.params))
            command(root, "pipelines", "ingest", "--executor", "serial")

        ended = in_a_fork(work, patience_s=90)
    if not ended.one_line:
        return [(TRACEBACKS, "it hangs" if ended.code == HUNG else f"no single line: {ended.brief()}")]
    return [] if not litter(root) else [(LOST, f"left over: {', '.join(litter(root)[:3])}")]


# ---- two at once -----------------------------------------------------------------------------------------------------


def _two(root: Path, what: str) -> list[tuple[str, str]]:
    """Both end well, or one says that the other is at work; and then all is as after one alone."""
    if what == "train":
        tiny_model(root)
    else:
        chain(root)
    works: dict[str, Callable[[Path], None]] = {
        "repro": lambda where: dvc(where, "repro"),
        "refresh": lambda where: command(where, "pipelines", "refresh"),
        "train": lambda where: command(where, "model", "train"),
    }
    work = works.get(what, lambda where: command(where, "pipelines", what, "--executor", "serial"))
    places = (MODEL,) if what == "train" else (FEATURES,)
    if what == "split":
        must(in_a_fork(lambda: command(root, "pipelines", "ingest", "--executor", "serial")), "ingest")
    clean = copy(root, root.with_name(f"{root.name}.clean"))
    must(in_a_fork(lambda: work(clean)), what)
    wanted = contents(clean, places)
    both = [Ended(**told) for told in spread([0, 1], lambda _: vars(in_a_fork(lambda: work(root))), 2)]
    problems: list[tuple[str, str]] = []
    if all(ended.code != OK for ended in both):
        problems.append((LOST, f"neither ends well: {'; '.join(ended.brief() for ended in both)}"))
    for ended in both:
        said = ended.code != OK and ("ERROR: " in ended.err or ended.one_line) and "Traceback" not in ended.err
        if ended.code != OK and not said:
            problems.append((TRACEBACKS, ended.brief()))
    if contents(root, places) != wanted:
        problems.append((LOST, "it is not as after one alone"))
    if left := litter(root):
        problems.append((LOST, f"left over: {', '.join(left[:3])}"))
    return problems


# ---- the store of the last version ----------------------------------------------------------------------------------


def _old(root: Path, _what: str) -> list[tuple[str, str]]:
    """A store and tables of the last released version are read, their rows reused, and published as equal rows."""
    root.mkdir(parents=True)
    with tarfile.open(LAST_RELEASE) as archive:
        archive.extractall(root, filter="data")
    project = root / "project"
    problems: list[tuple[str, str]] = []
    queries = {name: f"select * from {name} order by all" for name in ("materials", "splits", "rejects")}
    before = _told(project, queries)
    if before.code != OK or "mp-149" not in before.out:
        return [(TRACEBACKS if before.traceback else LOST, f"it is not read: {before.brief()}")]
    if (ended := repaired(project)) is not None and ended.code != OK:
        problems.append((LOST, f"repair: {ended.brief()}"))
    for name in ("ingest", "split"):
        ended = in_a_fork(lambda name=name: command(project, "pipelines", name, "--executor", "serial"))
        if ended.code != OK:
            problems.append((LOST, f"{name}: {ended.brief()}"))
    again = in_a_fork(lambda: toy(project, BEFORE))
    if again.code != OK:
        problems.append((LOST, f"the toy view: {again.brief()}"))
    if (after := _told(project, queries)).out != before.out:
        problems.append((LOST, f"its rows are others: {after.brief()}"))
    told = in_a_fork(lambda: print(_reused(project)))
    if told.out.strip() != "12 stored, 0 tried":
        problems.append((LOST, f"of the toy view: {told.out.strip() or told.brief()}"))
    return problems


def _told(root: Path, queries: dict[str, str]) -> Ended:
    def ask() -> None:
        from features import catalog

        for query in queries.values():
            print(catalog.query(root, query).to_pylist())

    return in_a_fork(ask)


def _reused(root: Path) -> str:
    from pipelines.engine.materialize import materialize
    from pipelines.executors import Serial
    from tests.faults.scenes import small_segments
    from tests.pipelines.toy import ToyParams, toy_view

    small_segments()
    report = materialize(toy_view(), ToyParams(copies=2), root, BEFORE, Serial())
    return f"{report.reused + report.rejected} stored, {report.tried} tried"


OTHERS: dict[str, Callable[[Path, str], list[tuple[str, str]]]] = {"network": _network, "two": _two, "old": _old}
