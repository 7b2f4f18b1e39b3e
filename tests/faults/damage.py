"""Damage: bytes flipped, files cut, emptied, removed or replaced; then each command that reads them.

The right answer is that of the undamaged project. Anything else must be said in a line that names the file, and is
*silent* if it is not.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import make_project
from tests.faults.commands import command, copy, dvc
from tests.faults.disk import Control
from tests.faults.forks import HUNG, OK, Ended, in_a_fork, spread
from tests.faults.report import Report
from tests.faults.scenes import FEW, contents, dvc_project, must, tiny_model
from tests.faults.settings import Settings

TRIED, SILENT, TRACEBACKS, UNNAMED = "damages tried", "silent", "tracebacks", "errors that name no file"
HOW = ("flipped", "cut in half", "cut by a byte", "emptied", "removed", "a folder")
CRYSTAL = "data/input/mp-30.cif"


@dataclass(frozen=True)
class Kind:
    """Files that we write, and the commands that read them."""

    name: str
    pattern: str
    readers: tuple[str, ...]
    flips: int = 12
    within: tuple[float, float] = (0.0, 1.0)
    """Part of the file in which bytes are flipped."""
    says_nothing: tuple[str, ...] = ()
    """Damages after which another answer without a word is right, since the file may be missing or is for people."""


ALL = ("list", "describe", "validate", "sql")
KINDS = [
    Kind("segments", "data/.rowstore/*/v*/rows-*.parquet", ("ingest", "split", "tensorize", "plan"), 120),
    Kind("rejects-segments", "data/.rowstore/*/v*/rejects-*.parquet", ("ingest", "plan")),
    Kind("parts", "data/features/materials/part-*.parquet", (*ALL, "split", "tensorize", "plan"), 120),
    Kind("splits", "data/features/splits/part-*.parquet", (*ALL, "evaluate", "plan"), 24),
    Kind("structures", "data/features/structures/part-*.parquet", (*ALL, "train", "plan"), 24),
    Kind("predictions", "data/features/predictions/part-*.parquet", ALL, 16),
    Kind("rejects", "data/features/rejects/materials.parquet", ("rejects", "validate", "sql-rejects", "ingest"), 24),
    Kind("sums", "data/features/*/sums.json", (*ALL, "split"), 24),
    Kind("catalog", "data/catalog.duckdb", ("sql", "list", "split"), 8),
    Kind("model", "data/model/model.safetensors", ("predict", "evaluate", "plan"), 24),
    Kind("model-header", "data/model/model.safetensors", ("predict",), 24, (0.0, 0.02)),
    Kind("model-sums", "data/model/sums.json", ("predict", "evaluate")),
    Kind("model-crystals", "data/model/crystals.parquet", ("predict", "evaluate")),
    Kind("learning-curve", "data/model/learning_curve.csv", ("evaluate", "plan")),
    Kind("metrics", "data/results/metrics.json", ("evaluate", "plan", "status"), 6),
    Kind("parity", "data/results/parity.csv", ("evaluate", "plan"), 4),
    Kind("runs", "data/.runs.jsonl", ("status", "split", "plan"), 12, says_nothing=("removed",)),
    Kind("refresh", "data/.refresh/report.json", ("status", "plan", "split"), 4),
    Kind("training", "data/.training/*.pt", ("train",), 16),
    Kind("published", "data/.published/**/*", (*ALL, "rejects", "status"), 40),
    Kind("dvc.lock", "dvc.lock", ("plan", "status", "split", "repro"), 12, says_nothing=("removed",)),
    Kind("run-cache", ".dvc/cache/runs/*/*/*", ("repro",), 4),
    Kind("rwlock", ".dvc/tmp/rwlock", ("repro", "plan"), 4),
]


def _sql(root: Path) -> None:
    from features import catalog

    for name in ("materials", "splits", "structures", "predictions"):
        if not (root / "data" / "features" / name).is_dir():
            continue
        print(name, catalog.query(root, f"select * from {name} order by all").to_pylist())


def _predict(root: Path) -> None:
    from model import checkpoint
    from tests.model.small import predicted

    for one in predicted(checkpoint.load(root), [root / CRYSTAL]):
        print(one)


def _makes(*arguments: str, places: tuple[str, ...] = ("data/features", "data/model")) -> Callable[[Path], None]:
    def work(root: Path) -> None:
        command(root, *arguments)

    work.places = places  # type: ignore[attr-defined]
    return work


def _repro(root: Path) -> None:
    dvc(root, "repro")


_repro.places = ("data/features", "data/model")  # type: ignore[attr-defined]
READERS: dict[str, Callable[[Path], None]] = {
    "list": lambda root: command(root, "features", "list", "--format", "json"),
    "describe": lambda root: command(root, "features", "describe", "materials", "--format", "json"),
    "validate": lambda root: command(root, "features", "validate"),
    "rejects": lambda root: command(root, "features", "rejects", "--format", "json"),
    "sql": _sql,
    "sql-rejects": lambda root: command(root, "features", "sql", "select * from rejects order by all"),
    "plan": lambda root: command(root, "pipelines", "plan"),
    "status": lambda root: command(root, "pipelines", "status"),
    "ingest": _makes("pipelines", "ingest", "--executor", "serial",
                     places=("data/features/materials", "data/features/rejects")),
    "split": _makes("pipelines", "split", "--executor", "serial", places=("data/features/splits",)),
    "tensorize": _makes("pipelines", "tensorize", "--executor", "serial", places=("data/features/structures",)),
    "train": _makes("model", "train", places=("data/model",)),
    "evaluate": _makes("model", "evaluate", places=("data/features/predictions", "data/results")),
    "predict": _predict,
    "repro": _repro,
}
"""What reads, by name. Of what writes, the files below `places` are the answer; of what prints, the output."""


@dataclass(frozen=True)
class Case:
    """One damage and one reader."""

    kind: Kind
    how: str
    reader: str
    number: int
    """Seed of what is flipped, and which of the files."""

    def __str__(self) -> str:
        return f"{self.kind.name}:{self.how}:{self.reader}:{self.number}"


def run(settings: Settings, report: Report) -> None:
    """All kinds, all ways, all readers; of flips one reader each."""
    for name in (TRIED, SILENT, TRACEBACKS, UNNAMED):
        report.counts[name] = 0
    base = settings.folder / "base"
    project(base, with_model=not settings.sample)
    cases = [case for case in _cases(base) if settings.chosen(str(case))]
    random.Random(settings.seed).shuffle(cases)  # so that a run that is short of time has tried some of each
    if settings.sample:
        cheap = [case for case in cases if case.reader not in ("evaluate", "train", "tensorize", "plan", "repro")]
        cases = cheap[:settings.sample["damage"]]
    answers: dict[str, Any] = {}
    for reader in sorted({case.reader for case in cases}):
        root = copy(base, settings.folder / "undamaged")
        answers[reader] = _answer(root, reader)[1]
    known = {kind.name for kind in KINDS if any(base.glob(kind.pattern))}
    report.notes += [f"{kind.name}: there are no such files" for kind in KINDS if kind.name not in known]
    for result in spread(cases, lambda case: _tried(base, case, answers[case.reader]), settings.jobs,
                         settings.until("damage")):
        report.counts[TRIED] += 1
        if result["kind"]:
            report.failed(result["kind"], result["case"], result["why"])
    if report.counts[TRIED] < len(cases):
        report.notes.append(f"there was time for {report.counts[TRIED]:,} damages of {len(cases):,}")


def project(root: Path, with_model: bool) -> None:
    """A project that has run up to its evaluation and a refresh, with a reject and a state of training."""
    if with_model:
        tiny_model(root)
    else:
        make_project(root, only=FEW, split={})
    (root / "data" / "input" / "broken.cif").write_text("data_broken\n_cell_length_a oops\n")
    dvc_project(root, "ingest", *(("tensorize", "split", "train", "evaluate") if with_model else ("split",)))
    must(in_a_fork(lambda: dvc(root, "repro")), "the project")
    if with_model:
        must(in_a_fork(lambda: command(root, "pipelines", "refresh")), "its refresh")
        _leave_a_state(root)


def _leave_a_state(root: Path) -> None:
    """A state of training, as a kill in the middle of `train` leaves one."""
    other = root.with_name("to-be-killed")
    copy(root, other)
    control = Control(root.with_name("control"), other)
    control.at(0)
    must(in_a_fork(lambda: command(other, "model", "train"), control), "train")
    for at in range(control.count * 2 // 3, control.count):
        copy(root, other)
        control.at(at)
        in_a_fork(lambda: command(other, "model", "train"), control)
        states = list((other / "data" / ".training").glob("*.pt"))
        if states:
            shutil.copytree(other / "data" / ".training", root / "data" / ".training", dirs_exist_ok=True)
            break
    shutil.rmtree(other)


def _cases(base: Path) -> Iterator[Case]:
    for kind in KINDS:
        if not any(path.is_file() for path in base.glob(kind.pattern)):
            continue
        for number in range(kind.flips):
            yield Case(kind, "flipped", kind.readers[number % len(kind.readers)], number)
        for how in HOW[1:]:
            for number, reader in enumerate(kind.readers):
                yield Case(kind, how, reader, number)


def _damaged(root: Path, case: Case) -> Path:
    """Do the damage; the file."""
    chance = random.Random(f"{case.kind.name} {case.how} {case.number}")
    files = sorted(path for path in root.glob(case.kind.pattern) if path.is_file())
    stage_table = {"ingest": "/materials/", "split": "/splits/", "tensorize": "/structures/"}.get(case.reader, "")
    fitting = [path for path in files if stage_table in str(path)] if case.kind.name == "segments" else []
    path = chance.choice(fitting or files)
    content = path.read_bytes()
    path.unlink()
    if case.how == "flipped":
        damaged = bytearray(content)
        low, high = (int(part * len(content)) for part in case.kind.within)
        for _ in range(chance.choice((1, 1, 1, 3))):
            if damaged:
                damaged[chance.randrange(low, max(low + 1, high))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
    elif case.how == "cut in half":
        path.write_bytes(content[:len(content) // 2])
    elif case.how == "cut by a byte":
        path.write_bytes(content[:-1])
    elif case.how == "emptied":
        path.write_bytes(b"")
    elif case.how == "a folder":
        path.mkdir()
        (path / "something").write_text("in the way")
    return path


def _answer(root: Path, reader: str) -> tuple[Ended, Any]:
    """How a reader ends, and its answer."""
    work = READERS[reader]
    ended = in_a_fork(lambda: work(root))
    places = getattr(work, "places", None)
    # a status says when and how long
    said = "" if reader == "status" else ended.out.replace(str(root), "")
    return ended, contents(root, places) if places and ended.code == OK else said


def _tried(base: Path, case: Case, right: Any) -> dict[str, Any]:
    root = copy(base, base.with_name(f"case-{os.getpid()}"))
    path = _damaged(root, case)
    ended, answer = _answer(root, case.reader)
    kind, why = _judged(root, path, case, ended, answer, right)
    return {"case": str(case), "kind": kind, "why": f"{path.relative_to(root)}: {why}"}


def _judged(root: Path, path: Path, case: Case, ended: Ended, answer: Any, right: Any) -> tuple[str, str]:
    """What kind of failure it is, if any, and why."""
    if ended.traceback:
        return TRACEBACKS, "it hangs" if ended.code == HUNG else ended.brief()
    names = [path.name, str(path.relative_to(root)), str(path.parent.relative_to(root)), path.parent.name]
    named = any(name in ended.err or (name in ended.out and ended.out != right) for name in names)
    if ended.code != OK:
        if ended.one_line and (named or case.how == "removed"):
            return "", ""
        return UNNAMED, ended.brief()
    if answer == right or named or case.how in case.kind.says_nothing:
        return "", ""
    if isinstance(answer, dict):
        different = [name for name in answer.keys() | right.keys() if answer.get(name) != right.get(name)]
        return SILENT, f"exit code 0 and other files: {', '.join(sorted(different)[:4])}"
    return SILENT, f"exit code 0 and another answer: {str(answer)[:120]!r}"
