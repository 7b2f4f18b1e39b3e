"""Kills: at every change of the disk, then what a user does, and all must be as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.faults import disk
from tests.faults.commands import DVC_CACHE, beside, copy, repaired
from tests.faults.disk import Control
from tests.faults.forks import KILLED, OK, in_a_fork, spread
from tests.faults.report import Report
from tests.faults.scenes import SCENES, TRAIN, Scene, contents, dvc_project, litter, mended, must, read
from tests.faults.settings import Settings

TRIED, EQUAL, BY_HAND = "kill points tried", "byte-equal", "repaired by hand"


def run(settings: Settings, report: Report) -> None:
    """All scenes, then kills at random."""
    for name in (TRIED, EQUAL, BY_HAND):
        report.counts[name] = 0
    scenes = [scene for scene in SCENES if settings.wants(scene.name)]
    if settings.sample:
        scenes = [scene for scene in scenes if scene.name in settings.sample]
    elif settings.wants("random"):
        _at_random(settings, report)
    weights = [scene.weight for scene in scenes]
    for number, scene in enumerate(scenes):
        _points(scene, settings, report, settings.until("kills", weights[number] / sum(weights[number:])))


def _points(scene: Scene, settings: Settings, report: Report, until: float) -> None:
    base = settings.folder / scene.name / "base"
    base.parent.mkdir(parents=True)
    scene.prepare(base)
    root = copy(base, base.with_name("clean"))
    control = Control(root.with_name("control"), root)
    control.at(0)
    must(in_a_fork(lambda: scene.work(root), control), scene.name)
    wanted, total = contents(root, scene.counts), control.count
    seen = (read(base), read(root)) if scene.reads else ()
    if not wanted or not total:
        raise RuntimeError(f"{scene.name}: nothing was made, or no change of the disk was seen")
    chosen = settings.case(scene.name)
    points = [chosen] if chosen else _evenly(total + total // 20, settings.sampled(scene.name), settings.seed)
    tried = 0
    for result in spread(points, lambda point: _killed(scene, base, point, wanted, seen), settings.jobs, until):
        tried += 1
        report.counts[TRIED] += 1
        if result["why"]:
            report.failed(BY_HAND, f"{scene.name}:{result['point']}", f"{result['what']}: {result['why']}")
        else:
            report.counts[EQUAL] += 1
    report.notes.append(f"{scene.name}: {tried:,} kill points of {total:,} changes of the disk")
    shutil.rmtree(base.parent, ignore_errors=True)


def _evenly(total: int, most: int | None, seed: int) -> list[int]:
    """All points in an order whose every beginning is spread over them; or so many of them."""
    points = list(range(1, total + 1))
    random.Random(seed).shuffle(points)
    return points[:most]


def _killed(scene: Scene, base: Path, point: int, wanted: dict[str, bytes],
            seen: tuple[str, ...]) -> dict[str, Any] | None:
    """Killed at one point. None if the work is done before it."""
    root = copy(base, base.with_name(f"case-{os.getpid()}"))
    control = Control(root.with_name(f"{root.name}.control"), root)
    control.at(point)
    ended = in_a_fork(lambda: scene.work(root), control)
    if not control.happened:
        return None
    problems = [] if ended.code == KILLED else [f"it went on after the kill: {ended.brief()}"]
    if seen and (told := read(root)) not in seen:
        problems.append(f"readers see neither the old version nor the new one: {told[:200]}")
    problems += mended(scene, root)
    if not problems:
        found = contents(root, scene.counts)
        different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        problems += [f"not as it was: {', '.join(different[:4])}"] if different else []
        problems += [f"left over: {', '.join(left[:4])}"] if (left := litter(root)) else []
    return {"point": point, "what": control.what.replace(str(root), ""), "why": "; ".join(problems)}


KILLS = 50
IN_A_ROW = 5


def _at_random(settings: Settings, report: Report) -> None:
    """50 kills of a real `dvc repro`, five in a row each time before it may end."""
    base = settings.folder / "random" / "base"
    base.parent.mkdir(parents=True)
    _real_project(base)
    root = copy(base, base.with_name("clean"))
    began = time.monotonic()
    done = _dvc(root, settings.patience_s)
    took = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"dvc repro, undisturbed: {done.stdout[-3000:]}")
    wanted = contents(root, ("data/features", "data/model", "dvc.lock"))
    chosen = settings.case("random")
    rows = [chosen] if chosen else list(range(1, KILLS // IN_A_ROW + 1))
    for result in spread(rows, lambda row: _row(base, row, settings, took, wanted), settings.jobs):
        report.counts[TRIED] += result["kills"]
        if result["why"]:
            report.failed(BY_HAND, f"random:{result['row']}", result["why"])
        else:
            report.counts[EQUAL] += result["kills"]
    report.notes.append(f"random: {KILLS} kills of dvc repro, which takes {took:.0f} s")


def _row(base: Path, row: int, settings: Settings, took: float, wanted: dict[str, bytes]) -> dict[str, Any]:
    chance = random.Random(settings.seed * 1000 + row)
    root = copy(base, base.with_name(f"row-{row}"))
    problems: list[str] = []
    for _ in range(IN_A_ROW):
        pause = chance.uniform(0.2, took * 0.6)
        process = _start(root)
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        ended = repaired(root)
        if ended is not None and ended.code != OK:
            problems.append(f"repair after {pause:.2f} s: {ended.brief()}")
    done = _dvc(root, settings.patience_s)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line or "error:" in line]
        problems.append(f"dvc repro ends with {done.returncode}: {(lines or [''])[0][:300]}")
    else:
        found = contents(root, ("data/features", "data/model", "dvc.lock"))
        different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        problems += [f"not as it was: {', '.join(different[:4])}"] if different else []
        problems += [f"left over: {', '.join(left[:4])}"] if (left := litter(root)) else []
    shutil.rmtree(root, ignore_errors=True)
    return {"row": row, "kills": IN_A_ROW, "why": "; ".join(problems)}


def _real_project(root: Path) -> None:
    from tests.conftest import CRYSTALS, make_project

    names = sorted(path.stem for path in CRYSTALS.glob("*.cif"))[:16]
    make_project(root, only=names, train=TRAIN, tensorize={}, split={"test": 0.25, "validation": 0.25})
    dvc_project(root, "ingest", "tensorize", "split", "train")


def _start(root: Path) -> subprocess.Popen[str]:
    from pipelines.commands import program

    environment = {name: value for name, value in os.environ.items()
                   if name not in (disk.PRELOAD, disk.CONTROL, disk.READY)}
    environment |= {DVC_CACHE: str(beside(root)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.Popen([program("dvc"), "repro"], cwd=root, env=environment, text=True, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _dvc(root: Path, patience_s: float) -> subprocess.CompletedProcess[str]:
    process = _start(root)
    try:
        said, _ = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return subprocess.CompletedProcess([], 124, f"ERROR: it hangs\n{said}")
    return subprocess.CompletedProcess([], process.returncode, said)


