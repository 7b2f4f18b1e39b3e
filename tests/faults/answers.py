"""What the damage harness asks of a project, and how a file that something said is recognized."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.faults.commands import command, dvc, repaired
from tests.faults.forks import OK, SAID, TRACEBACK, Ended, in_a_fork
from tests.faults.scenes import contents

CRYSTAL = "data/input/mp-30.cif"
MADE = ("data/features", "data/model", "data/results", "data/published.json")
WRONG = re.compile(r"^(error|warning): |\b(damaged|missing|lacks|removed|modified|deleted)\b|"
                   r"\b(cannot be read|is not a file|not in cache|no longer in)\b", re.IGNORECASE)
"""A line that says that something is wrong, and not only what was written or read."""
SHELVES = ("data/features", "data/features/rejects", "data/results", "data/.rowstore", "data/.published")
"""Folders of many outputs: they name none."""
REPORTS = ("plan", "validate")
"""Readers whose answer is about files: what they print may say what is damaged."""


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


def _dvc(root: Path, *arguments: str) -> None:
    """DVC, whose failure is a line of ours with its words, so that it is judged as ours are."""
    ended = in_a_fork(lambda: dvc(root, *arguments))
    if ended.code == OK:
        print(ended.err, file=sys.stderr)
        return
    if "Traceback (most recent call last)" in ended.err or ended.code < 0:
        print(ended.err, file=sys.stderr)
        sys.exit(TRACEBACK)
    print(f"error: dvc {arguments[0]}: {' '.join(ended.err.split())}", file=sys.stderr)
    sys.exit(SAID)


def repro(root: Path) -> None:
    """`make repro`, which mends DVC's own files first."""
    ended = repaired(root, "--quick")
    if ended is not None:
        print(ended.err, file=sys.stderr)
        if ended.code != OK:
            sys.exit(ended.code)
    _dvc(root, "repro")


def _from_the_cache(how: Callable[[Path], None]) -> Callable[[Path], None]:
    """What a reader sees of tables that come from DVC's cache, as in a new clone, after `how` has taken them."""
    def work(root: Path) -> None:
        for place in ("data/features", "data/model", "data/.published"):
            shutil.rmtree(root / place, ignore_errors=True)
        how(root)
        _sql(root)
        if (root / "data" / "model").is_dir():
            _predict(root)

    return work


repro.places = ("data/features", "data/model")  # type: ignore[attr-defined]
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
    "reproduce": lambda root: command(root, "model", "evaluate", "--reproduce"),
    "repro": repro,
    "publish": _makes("pipelines", "publish", places=("data/published.json", "data/features/profiles")),
    "checkout": _from_the_cache(lambda root: _dvc(root, "checkout", "--force")),
    "from-cache": _from_the_cache(repro),
}
"""What reads, by name. Of what writes, the files below `places` are the answer; of what prints, the output."""


def answer(root: Path, reader: str) -> tuple[Ended, Any]:
    """How a reader ends, and its answer."""
    work = READERS[reader]
    ended = in_a_fork(lambda: work(root))
    places = getattr(work, "places", None)
    # a status says when and how long
    said = "" if reader == "status" else ended.out.replace(str(root), "")
    return ended, contents(root, places) if places and ended.code == OK else said


def rows(root: Path) -> str:
    """What whoever asks in SQL sees, or how it ends."""
    ended = in_a_fork(lambda: _sql(root))
    return ended.out if ended.code == OK else ended.brief()


def names(root: Path, path: Path) -> frozenset[str]:
    """What a line may call a file, which still is as it was: itself and its other names, by path or by file name.

    Of an object of DVC's cache nobody knows but DVC: the files of the same content are it, and the output they are in.
    """
    within = path.relative_to(root)
    named = {str(within), path.name}
    cached = within.parts[:3] == (".dvc", "cache", "files")
    content, node = path.read_bytes(), path.stat().st_ino
    for other in (root / "data").rglob("*"):
        if other.is_file() and (other.stat().st_ino == node or (cached and other.read_bytes() == content)):
            named |= {str(other.relative_to(root)), other.name}
    if cached:
        digest = path.parent.name + path.name
        outs = [out for stage in yaml.safe_load((root / "dvc.lock").read_text())["stages"].values()
                for out in stage.get("outs", [])]
        named |= {out["path"] for out in outs
                  if out.get("md5") == digest or any(name.startswith(f"{out['path']}/") for name in named)}
    if within.parts[:2] == ("data", ".rowstore"):
        # a store says how many of its segments are damaged
        named |= {str(within.parent), str(Path(*within.parts[:3])), within.parts[2]}
    return frozenset(named)


def is_named(ended: Ended, reader: str, named: frozenset[str]) -> bool:
    """Whether a line says that something is wrong with the file: of standard error, and of what a report prints."""
    lines = ended.err.splitlines()
    if reader in REPORTS:  # which are about outputs, as DVC is
        lines += ended.out.splitlines()
        named |= {str(parent) for name in named for parent in Path(name).parents
                  if len(parent.parts) > 1 and str(parent) not in SHELVES}
    # a bare name at the end of another path is another file
    marks = [re.compile(rf"(?<![\w.{'' if '/' in name else '/'}-]){re.escape(name)}(?![\w-])") for name in named]
    return any(WRONG.search(line) and any(mark.search(line) for mark in marks) for line in lines)
