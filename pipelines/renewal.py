"""Bringing everything up to date, or leaving everything as it was. The flow `refresh` is thin around `renew`."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from features import catalog, validate
from features.changes import Changes, compare
from features.errors import UserError
from features.files import write_text
from features.params import load_section, read_params
from features.paths import Paths
from features.progress import say
from pipelines import commands, runs
from pipelines.last_good import LastGood
from pipelines.params import IngestParams

METRICS = "metrics.json"
Metrics = dict[str, tuple[float | None, float | None]]
"""Every number of the metrics, before and after."""
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What is done with a good version."""

    commit: bool = False
    """Commit `dvc.lock` and `params.yaml` with git."""
    tag: bool = False
    """Also tag the commit, `data-<database version or date>`."""
    push: bool = False
    """Push the data to the DVC remote."""


@dataclass(frozen=True)
class Renewal:
    """What a refresh did."""

    database: tuple[str | None, str | None]
    """Pinned version of the Materials Project's database, before and after; None for other sources."""
    stages: dict[str, dict[str, Any]]
    """Counts of each stage that ran."""
    """Not those whose outputs DVC took from its cache, since it had run them with the same inputs before."""
    changes: Changes
    metrics: Metrics
    nothing_new: bool
    """Whether `dvc.lock` is as it was."""
    seconds: float

    def headline(self) -> str:
        """One line."""
        old, new = self.database
        version = f"database {new}" if old == new else f"database {old} → {new}"
        if self.nothing_new:
            return f"nothing new{f': {version}' if new else ''}"
        crystals = next((change for change in self.changes.tables if change.table == "materials"), None)
        moved = [f"{len(getattr(crystals, kind))} {kind}" for kind in ("added", "changed", "removed")
                 if crystals is not None and getattr(crystals, kind)]
        rejected = len(self.changes.newly_rejected)
        return "; ".join([*([version] if new else []), f"crystals: {', '.join(moved) or 'the same'}",
                          *([f"{rejected} newly rejected"] if rejected else []),
                          f"{len(self.stages)} stage{'' if len(self.stages) == 1 else 's'} ran"])


def _call(_name: str, function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)


def renew(root: Path, options: Options | None = None, step: Callable[..., Any] = _call) -> Renewal:
    """Move to the server's database version, run `dvc repro`, check and compare the result, publish it.

    If anything of this fails before publishing, tables, model, `dvc.lock` and the pinned version are put back as they
    were; finished rows stay in the row store. A refresh that was killed is finished or put back by the next one.
    `step(name, function, *arguments)` runs each part: a flow makes a task of it. Raises `UserError` if another refresh
    is at work.
    """
    read_params(root)
    options = options or Options()
    good = LastGood(root)
    with good.locked(), runs.recorded(root, "refresh") as record:
        began = time.monotonic()
        step("keep the last good version", _keep, root, good)
        try:
            database = step("look for a new database version", _move, root, good)
            stages = step("dvc repro", _reproduce, root)
            step("validate", validate.check, root)
            nothing_new = good.same_lock()
            changes, metrics = (Changes([], []), {}) if nothing_new else step("compare", _compare, root, good)
        except BaseException as error:
            _put_back(root, good)
            say(f"the last good version is back in its place ({type(error).__name__})")
            raise
        good.drop()
        result = Renewal(database, stages, changes, metrics, nothing_new, time.monotonic() - began)
        record.note = result.headline()
        write_text(Paths(root).refresh / "report.json", json.dumps(asdict(result), indent=1) + "\n")
        step("publish", publish, root, options, result)
    return result


def put_back(root: Path) -> None:
    """Put back what a killed refresh has left. Raises `UserError` if there is nothing."""
    good = LastGood(root)
    with good.locked():
        if not good.exists():
            raise UserError("no refresh has left anything to put back")
        _put_back(root, good)


def _put_back(root: Path, good: LastGood) -> None:
    good.put_back()
    if Paths(root).features.exists():
        catalog.refresh(root)


def _keep(root: Path, good: LastGood) -> None:
    """Keep what stands here, unless it is the half-finished work of a refresh that was killed."""
    if good.exists() and not _is_up_to_date(root):
        say("a refresh was killed here; it goes on, and goes back to the version before it if it fails")
        return
    good.keep()


def _is_up_to_date(root: Path) -> bool:
    return subprocess.run([commands.program("dvc"), "status", "--quiet"], cwd=root, env=commands.environment(),
                          check=False).returncode == 0


def _move(root: Path, good: LastGood) -> tuple[str | None, str | None]:
    """Pinned version before the refresh, and now."""
    if load_section(root, "ingest", IngestParams).source != "materials_project":
        return None, None
    from pipelines.sources.materials_project.move import move

    return good.database_version(), move(root).new


def _reproduce(root: Path) -> dict[str, dict[str, Any]]:
    """Run what is stale; counts of the stages that ran."""
    before = {run.id for run in runs.history(root)}
    commands.run([commands.program("dvc"), "repro"], root, say)
    return {run.stage: {**run.counts, "seconds": run.seconds} for run in runs.history(root)
            if run.id not in before and run.stage != "refresh"}


def _compare(root: Path, good: LastGood) -> tuple[Changes, Metrics]:
    old, new = (_numbers(Paths(where).results / METRICS) for where in (good.files, root))
    return compare(good.files, root), {name: (old.get(name), new.get(name)) for name in sorted({*old, *new})}


def _numbers(path: Path) -> dict[str, float]:
    """All numbers of a JSON file, by their path in it."""
    found: dict[str, float] = {}

    def visit(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(inner, f"{name}.{key}" if name else key)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value

    visit(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}, "")
    return found


def publish(root: Path, options: Options, result: Renewal) -> None:
    """Commit, tag and push, as far as it is asked for. What is done already is not done again."""
    if options.commit or options.tag:
        _commit(root, options, result)
    if options.push:
        commands.run([commands.program("dvc"), "push"], root, say)


def _commit(root: Path, options: Options, result: Renewal) -> None:
    git = commands.program("git")
    files = [str(path.relative_to(root)) for path in (Paths(root).lock, Paths(root).params)]
    changed = subprocess.run([git, "status", "--porcelain", "--", *files], cwd=root, capture_output=True, text=True,
                             check=False)
    if changed.returncode:
        raise UserError(f"commit: {changed.stderr.strip() or 'git status failed'}")
    if not changed.stdout.strip():
        return
    commands.run([git, "add", "--", *files], root, say)
    commands.run([git, "commit", "--quiet", "-m", f"Refresh: {result.headline()}", "--", *files], root, say)
    if options.tag:
        commands.run([git, "tag", _free_tag(root, git, result)], root, say)


def _free_tag(root: Path, git: str, result: Renewal) -> str:
    """`data-<version>`, with a number behind it if there is one already."""
    known = subprocess.run([git, "tag", "--list", "data-*"], cwd=root, capture_output=True, text=True,
                           check=True).stdout.split()
    name = f"data-{result.database[1] or time.strftime('%Y-%m-%d', time.gmtime())}"
    return next(tag for tag in (name, *(f"{name}.{number}" for number in range(2, len(known) + 3))) if tag not in known)
