"""Damage: bytes flipped, files cut, emptied, removed or replaced; then each command that reads them.

The right answer is that of the undamaged project. Anything else must be said in a line that names the file, and is
*silent* if it is not. After a share of them, `pipelines repair` and `make repro` must bring back every byte.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import make_project
from tests.faults.answers import MADE, answer, is_named, names, repro, rows
from tests.faults.commands import command, copy, dvc, repaired
from tests.faults.disk import Control
from tests.faults.forks import HUNG, OK, Ended, in_a_fork, spread
from tests.faults.report import Report
from tests.faults.scenes import FEW, contents, dvc_project, must, tiny_model
from tests.faults.settings import Settings

TRIED, SILENT, TRACEBACKS, UNNAMED = "damages tried", "silent", "tracebacks", "errors that name no file"
MENDED, LEFT = "repaired and made again", "not as before"
HOW = ("flipped", "cut in half", "cut by a byte", "emptied", "removed", "a folder")


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
    Kind("training-set", "data/model/training_set.json", ("reproduce", "predict"), 24),
    Kind("learning-curve", "data/model/learning_curve.csv", ("evaluate", "plan")),
    Kind("metrics", "data/results/metrics.json", ("evaluate", "plan", "status"), 6),
    Kind("parity", "data/results/parity.csv", ("evaluate", "plan"), 4),
    Kind("runs", "data/.runs.jsonl", ("status", "split", "plan"), 12, says_nothing=("removed", "emptied")),
    Kind("refresh", "data/.refresh/report.json", ("status", "plan", "split"), 4),
    Kind("training", "data/.training/*.pt", ("train",), 16),
    Kind("published", "data/.published/**/*", (*ALL, "rejects", "status"), 40),
    Kind("published-name", "data/published.json", (*ALL, "status", "plan", "publish", "repro"), 12),
    Kind("cache", ".dvc/cache/files/md5/*/*", ("checkout", "from-cache"), 40),
    Kind("dvc.lock", "dvc.lock", ("plan", "status", "split", "repro"), 12, says_nothing=("removed",)),
    Kind("run-cache", ".dvc/cache/runs/*/*/*", ("repro",), 4),
    Kind("rwlock", ".dvc/tmp/rwlock", ("repro", "plan"), 4),
]


@dataclass(frozen=True)
class Case:
    """One damage and one reader."""

    kind: Kind
    how: str
    reader: str
    number: int
    """Seed of what is flipped, and which of the files."""

    @property
    def mended(self) -> bool:
        """Whether it is repaired afterwards: every fourth, since that takes seconds."""
        return self.number % 4 == 0

    def __str__(self) -> str:
        return f"{self.kind.name}:{self.how}:{self.reader}:{self.number}"


def run(settings: Settings, report: Report) -> None:
    """All kinds, all ways, all readers; of flips one reader each."""
    for name in (TRIED, SILENT, TRACEBACKS, UNNAMED, MENDED, LEFT):
        report.counts[name] = 0
    base = settings.folder / "base"
    project(base, with_model=not settings.sample)
    cases = [case for case in _cases(base) if settings.chosen(str(case))]
    random.Random(settings.seed).shuffle(cases)  # so that a run that is short of time has tried some of each
    if settings.sample:
        cases = _sample(cases, settings.sample["damage"])
    answers: dict[str, Any] = {}
    for reader in sorted({case.reader for case in cases}):
        root = copy(base, settings.folder / "undamaged")
        answers[reader] = answer(root, reader)[1]
    known = {kind.name for kind in KINDS if any(base.glob(kind.pattern))}
    report.notes += [f"{kind.name}: there are no such files" for kind in KINDS if kind.name not in known]
    for result in spread(cases, lambda case: _tried(base, case, answers[case.reader]), settings.jobs,
                         settings.until("damage")):
        report.counts[TRIED] += 1
        report.counts[MENDED] += result["mended"] and result["kind"] in ("", LEFT)
        if result["kind"]:
            report.failed(result["kind"], result["case"], result["why"])
    if report.counts[TRIED] < len(cases):
        report.notes.append(f"there was time for {report.counts[TRIED]:,} damages of {len(cases):,}")


def _sample(cases: list[Case], count: int) -> list[Case]:
    """The first of the cheap ones, and one of a table and one of DVC's cache that are repaired afterwards."""
    mended = [next(case for case in cases if case.mended and case.how == "flipped" and case.kind.name == kind)
              for kind in ("parts", "cache")]
    cheap = [case for case in cases if not case.mended and case.reader not in (
        "evaluate", "train", "tensorize", "plan", "repro", "checkout", "from-cache")]
    return mended + cheap[:count - len(mended)]


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


def _damaged(root: Path, case: Case) -> tuple[Path, frozenset[str]]:
    """Do the damage; the file, and what it may be called."""
    chance = random.Random(f"{case.kind.name} {case.how} {case.number}")
    files = sorted(path for path in root.glob(case.kind.pattern) if path.is_file())
    stage_table = {"ingest": "/materials/", "split": "/splits/", "tensorize": "/structures/"}.get(case.reader, "")
    fitting = [path for path in files if stage_table in str(path)] if case.kind.name == "segments" else []
    path = chance.choice(fitting or files)
    called = names(root, path)
    if case.how == "flipped":
        _flip(path, chance, case.kind.within)
        return path, called
    content, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()
    if case.how == "a folder":
        path.mkdir()
        (path / "something").write_text("in the way")
    elif case.how != "removed":
        path.write_bytes({"cut in half": content[:len(content) // 2], "cut by a byte": content[:-1],
                          "emptied": b""}[case.how])
        path.chmod(mode)  # DVC believes its cache as long as an object is read-only
    return path, called


def _flip(path: Path, chance: random.Random, within: tuple[float, float]) -> None:
    """Flip bits as a disk does: in place, under every name of the file, and its times stay as they were."""
    before = path.stat()
    path.chmod(before.st_mode | stat.S_IWUSR)
    low, high = (int(part * before.st_size) for part in within)
    with path.open("r+b") as file:
        for _ in range(chance.choice((1, 1, 1, 3)) if before.st_size else 0):
            at = chance.randrange(low, max(low + 1, high))
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << chance.randrange(8)]))
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _tried(base: Path, case: Case, right: Any) -> dict[str, Any]:
    root = copy(base, base.with_name(f"case-{os.getpid()}"))
    if case.how == "flipped" and (case.mended or case.reader in ("repro", "checkout", "from-cache")):
        must(in_a_fork(lambda: dvc(root, "status", "--quiet")), "dvc status")  # so that DVC believes times from now on
    path, called = _damaged(root, case)
    ended, given = answer(root, case.reader)
    kind, why = _judged(case, called, ended, given, right)
    if not kind and case.mended:
        kind, why = _mended(base, root)
    return {"case": str(case), "kind": kind, "why": f"{path.relative_to(root)}: {why}", "mended": case.mended}


def _judged(case: Case, called: frozenset[str], ended: Ended, given: Any, right: Any) -> tuple[str, str]:
    """What kind of failure it is, if any, and why."""
    if ended.traceback:
        return TRACEBACKS, "it hangs" if ended.code == HUNG else ended.brief()
    named = is_named(ended, case.reader, called)
    if ended.code != OK:
        if ended.one_line and (named or case.how in ("removed", *case.kind.says_nothing)):
            return "", ""
        return UNNAMED, ended.brief()
    if given == right or named or case.how in case.kind.says_nothing:
        return "", ""
    if isinstance(given, dict):
        different = [name for name in given.keys() | right.keys() if given.get(name) != right.get(name)]
        return SILENT, f"exit code 0 and other files: {', '.join(sorted(different)[:4])}"
    return SILENT, f"exit code 0 and another answer: {_difference(given, right)!r}"


def _difference(given: str, right: str) -> str:
    at = next((at for at, (one, other) in enumerate(zip(given, right, strict=False)) if one != other), 0)
    return given[max(0, at - 40):at + 160]


def _mended(base: Path, root: Path) -> tuple[str, str]:
    """Do what the line asks for: `pipelines repair`, and `make repro`. What is then not as it was before."""
    for what, ended in (("repair", repaired(root)), ("repro", in_a_fork(lambda: repro(root)))):
        if ended is not None and ended.code != OK:
            return LEFT, f"{what}: {ended.brief()}"
    wanted, found = contents(base, MADE), contents(root, MADE)
    different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if different:
        return LEFT, f"after repair and repro, other files: {', '.join(different[:4])}"
    if rows(base) != (seen := rows(root)):
        return LEFT, f"after repair and repro, readers see: {seen[:160]}"
    return "", ""
