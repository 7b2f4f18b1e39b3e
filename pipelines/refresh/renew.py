"""Bringing everything up to date, or leaving everything as it was. The flow `refresh` is thin around `renew`."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from features import catalog
from features.catalog import validate
from features.catalog.diff import Changes, compare
from features.errors import UserError
from features.params import load_section, read_params
from features.paths import Paths
from features.progress import say
from features.store import documents, git, versions
from features.store.files import write_text
from pipelines import commands
from pipelines.engine import runs
from pipelines.engine.plan import Headers, headers, unseen
from pipelines.params import IngestParams
from pipelines.publishing import STAGE as PUBLISH
from pipelines.refresh import guards
from pipelines.refresh.guards import Metrics
from pipelines.refresh.last_good import LastGood
from pipelines.repair import repair

METRICS = "metrics.json"
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
    accept: bool = False
    """Publish a version that the guards would stop."""


@dataclass(frozen=True)
class Renewal:
    """What a refresh did."""

    database: tuple[str | None, str | None]
    """Pinned version of the Materials Project's database, before and after; None for other sources."""
    stages: dict[str, dict[str, Any]]
    """Counts of each stage that ran; not of those whose outputs DVC took from its cache, having run them before."""
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
    with concurrent.futures.ThreadPoolExecutor(1) as beside:  # its imports take as long as all that DVC says of no news
        now = beside.submit(headers, root)
        commands.run([sys.executable, "-m", "model", "check"], root, say)  # a wrong parameter of a late stage, too
        return _renew(root, options or Options(), step, now)


def _renew(root: Path, options: Options, step: Callable[..., Any], now: concurrent.futures.Future[Headers]) -> Renewal:
    good = LastGood(root)
    limits = guards.params_of(root)
    with good.locked(), runs.recorded(root, "refresh") as record:
        began = time.monotonic()
        for line in repair(root, quick=True, by="refresh"):
            say(line)
        _can_publish(root, options)
        copy = step("keep the last good version", _keep, root, good)
        try:
            database = step("look for a new database version", _move, root, good)
            stages = step("dvc repro", _reproduce, root, now.result if database[0] == database[1] else dict)
            step("validate", validate.check, root)
            nothing_new = good.same_lock()
            changes, metrics = (Changes([], []), {}) if nothing_new else step("compare", _compare, root, good)
            if not options.accept:
                guards.check(limits, changes.tables, metrics)
            step("publish the version", _publish_version, root)
        except BaseException as error:
            _put_back_after(error, root, good)
            raise
        good.drop()
        if copy is not None:
            copy.unlink(missing_ok=True)
        result = Renewal(database, stages, changes, metrics, nothing_new, time.monotonic() - began)
        record.note = result.headline()
        write_text(Paths(root).refresh / "report.json", json.dumps(asdict(result), indent=1) + "\n")
        step("publish", publish, root, options, result)
    return result


def put_back(root: Path) -> None:
    """Put back what a killed refresh has left. Raises `UserError` if there is nothing, or if DVC is at work."""
    read_params(root)
    good = LastGood(root)
    with good.locked():
        if not good.exists():
            raise UserError("no refresh has left anything to put back")
        for line in repair(root, quick=True, by="refresh"):
            say(line)
        if _finished_by_hand(root, good):
            save_lock(root, good, Paths(good.files).lock)
            good.drop()
            raise UserError("what the killed refresh began has been finished and committed; nothing is put back")
        if not good.same_lock():
            save_lock(root, good, Paths(root).lock)
        _put_back(root, good)


def _put_back(root: Path, good: LastGood) -> None:
    if good.put_back():
        catalog.refresh(root)
        say("the last good version is back in its place")
    else:
        say("this was the first version, so that there is none to put back; nothing is removed")


def _put_back_after(error: BaseException, root: Path, good: LastGood) -> None:
    """Put back, and never let what goes wrong with it hide why it was needed."""
    try:
        _put_back(root, good)
    except (UserError, OSError) as second:
        why = " ".join(str(error).split()) or type(error).__name__
        say(f"the refresh failed ({why}), and the last good version is safe, but not yet back in its place ({second}): "
            "python -m pipelines put-back")


def _keep(root: Path, good: LastGood) -> Path | None:
    """Keep what stands here, unless it is the unchecked work of a refresh that was killed.

    Returns the copy of a `dvc.lock` that somebody made after the kill: nobody needs it if this refresh is good.
    """
    if not good.exists():
        good.keep()
        return None
    if _finished_by_hand(root, good):
        save_lock(root, good, Paths(good.files).lock)
        good.keep()
        return None
    say("a refresh was killed here; it goes on, and goes back to the version before it if it fails")
    return None if good.same_lock() else save_lock(root, good, Paths(root).lock)


def save_lock(root: Path, good: LastGood, lock: Path) -> Path | None:
    """Copy a `dvc.lock` that is about to go, unless git has it, and say where."""
    if not lock.exists():
        return None
    with contextlib.suppress(UserError):  # no repository, or git does not have it
        _git(root, "cat-file", "-e", _git(root, "hash-object", str(lock.resolve())))
        return None
    copy, is_new = good.save_lock(lock)
    say(f"dvc.lock as it was is copied to {copy}; to go back to it, copy it to dvc.lock and run: dvc checkout --force")
    return copy if is_new else None  # an earlier refresh has promised the other one


def _finished_by_hand(root: Path, good: LastGood) -> bool:
    """Whether somebody has finished what a killed refresh began: all outputs are those of a `dvc.lock` in git."""
    if good.same_lock():
        return False
    lock = Paths(root).lock.name
    try:
        committed = _git(root, "rev-parse", f"HEAD:./{lock}") == _git(root, "hash-object", lock)
    except UserError:  # no repository, no commit, no such file: nobody has
        return False
    if not committed:
        return False
    told = commands.dvc_status(root)
    return not any(commands.changed(told, stage, "outs") for stage in told)


def _move(root: Path, good: LastGood) -> tuple[str | None, str | None]:
    """Pinned version before the refresh, and now."""
    if load_section(root, "ingest", IngestParams).source != "materials_project":
        return None, None
    from pipelines.sources.materials_project.move import move

    return good.database_version(), move(root).new


def _reproduce(root: Path, now: Callable[[], Headers]) -> dict[str, dict[str, Any]]:
    """Run what is stale; counts of the stages that ran. `now` gives `headers`, or some of them."""
    before = {run.id for run in runs.history(root)}
    stages = [name for name in _stages(root) if name != PUBLISH]
    _repro(root, *stages)
    if stale := unseen(root, now()):
        for stage in stale:
            _repro(root, "--force", "--single-item", stage)
        _repro(root, *stages)
    return {run.stage: {**run.counts, "seconds": run.seconds} for run in runs.history(root)
            if run.id not in before and run.stage != "refresh"}


def _stages(root: Path) -> list[str]:
    """Names of the stages of `dvc.yaml`."""
    content = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    return list(content["stages"])


def _repro(root: Path, *arguments: str) -> None:
    commands.run([commands.program("dvc"), "repro", *arguments], root, say)


def _publish_version(root: Path) -> None:
    """From here on readers read it."""
    if PUBLISH in _stages(root):
        # alone: whatever has changed since is not what was checked
        _repro(root, "--single-item", PUBLISH)
    else:
        versions.publish(root)
    catalog.refresh(root)


def _compare(root: Path, good: LastGood) -> tuple[Changes, Metrics]:
    """Differences of the tables, and metrics before and after where they measure the same."""
    old, new = (documents.read(Paths(where).results / METRICS) or {} for where in (good.files, root))
    same = all(old.get(name) == new.get(name) for name in ("target", "transform", "unit"))
    before, now = _numbers(old) if same else {}, _numbers(new)
    return compare(good.files, root), {name: (before.get(name), now.get(name)) for name in sorted({*before, *now})}


def _numbers(content: dict[str, Any]) -> dict[str, float]:
    """All numbers of JSON data, by their path in it."""
    numbers: dict[str, float] = {}

    def visit(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(inner, f"{name}.{key}" if name else key)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[name] = value

    visit(content, "")
    return numbers


def _can_publish(root: Path, options: Options) -> None:
    """Whether what is asked for at the end can be done, before anything long begins."""
    if options.commit or options.tag:
        _git(root, "rev-parse", "--git-dir")
        _git(root, "var", "GIT_COMMITTER_IDENT")
    if options.push:
        remotes = subprocess.run([commands.program("dvc"), "remote", "list"], cwd=root, env=commands.environment(),
                                 capture_output=True, text=True, check=False)
        if not remotes.stdout.strip():
            raise UserError("push: there is no DVC remote; add one with: dvc remote add --default NAME ADDRESS")


def publish(root: Path, options: Options, result: Renewal) -> None:
    """Commit, tag and push, as far as it is asked for. What is done already is not done again."""
    if options.commit or options.tag:
        _commit(root, result)
    if options.tag:
        _tag(root, result)
    if options.push:
        commands.run([commands.program("dvc"), "push"], root, say)


def _commit(root: Path, result: Renewal) -> None:
    files = [Paths(root).lock.name, Paths(root).params.name]
    if not _git(root, "status", "--porcelain", "--", *files):
        return
    if stale := commands.dvc_status(root):
        raise UserError(f"commit: parameters or code were changed while the refresh ran ({', '.join(sorted(stale))} "
                        "would run again); nothing is committed, run it again")
    _git(root, "add", "--", *files)
    did = "what an earlier one made" if result.nothing_new else result.headline()
    _git(root, "commit", "--quiet", "-m", f"Refresh: {did}", "--", *files)


def _tag(root: Path, result: Renewal) -> None:
    """`data-<version>`, with a number behind it if there is one already, on the commit that last changed `dvc.lock`."""
    commit = _git(root, "log", "-1", "--format=%H", "--", Paths(root).lock.name)
    if not commit or _git(root, "tag", "--points-at", commit, "--list", "data-*"):
        return
    tags = _git(root, "tag", "--list", "data-*").split()
    name = f"data-{result.database[1] or time.strftime('%Y-%m-%d', time.gmtime())}"
    names = (name, *(f"{name}.{number}" for number in range(2, len(tags) + 3)))
    _git(root, "tag", next(tag for tag in names if tag not in tags), commit)


def _git(root: Path, *arguments: str) -> str:
    """What a git command prints."""
    done = subprocess.run([commands.program("git"), *arguments], cwd=root, capture_output=True, text=True, check=False,
                          env=git.environment())
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout.strip()
