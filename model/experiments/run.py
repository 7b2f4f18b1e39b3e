"""Running what is missing, on several processes, until it is done or the time is up."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import filelock

from features.errors import UserError
from features.paths import Paths
from features.progress import say
from features.store.files import remove_drafts
from features.text_encoder.weights import pick_device
from model.experiments import cell as cells
from model.experiments.cell import Bench
from model.experiments.fingerprints import Fingerprint
from model.experiments.matrix import Cell, Matrix
from model.experiments.matrix import cells as cells_of
from model.experiments.results import Finished, Results

REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a call of `run` has done."""

    finished: int
    failed: int
    left: int


def bench(root: Path, matrix: Matrix) -> Bench:
    """A bench with the commit of this code."""
    return Bench(root.absolute(), matrix, cells.commit_of(REPO))


def pending(on: Bench, only: Sequence[str] = ()) -> dict[Cell, str]:
    """The cells that no stored result has today's fingerprint of, with it, in the order in which they are to be run.

    Those of a data set that has no tables here are left out, and it is said. Raises `UserError` if no other is asked
    for.
    """
    there = {one.cell: one.fingerprint for one in Results(on.root).all()}
    asked = cells_of(on.matrix, only)
    missing: dict[str, UserError] = {}
    for dataset in dict.fromkeys(cell.dataset for cell in asked):
        try:
            on.project(dataset)
        except UserError as error:
            missing[dataset] = error
    for said in dict.fromkeys(str(error) for error in missing.values()):  # several data sets may share tables
        say(f"experiments: {said}")
    if missing and len(missing) == len({cell.dataset for cell in asked}):
        raise next(iter(missing.values()))
    now = {cell: on.fingerprint(cell) for cell in asked if cell.dataset not in missing}
    return {cell: fingerprint for cell, fingerprint in now.items() if there.get(cell) != fingerprint}


def run(on: Bench, workers: int = 1, minutes: float | None = None, only: Sequence[str] = ()) -> Outcome:
    """Run pending cells, each in a process of one thread; with one worker in this process.

    A finished cell is stored at once. A cell that cannot be run (training diverges, say) is reported and left out; a
    killed run loses the cells that it was at. After `minutes` no further cell is begun.
    """
    begun = time.monotonic()
    results = Results(on.root)
    with alone(on.root):
        todo = pending(on, only)
        for dataset, target in dict.fromkeys((cell.dataset, cell.target) for cell in todo):
            results.keep(dataset, target, on.population(dataset, target))
        if results.folder.exists():
            remove_drafts(results.folder)
        say(f"experiments: {len(todo)} cells to run")
        finished, failed = 0, 0
        waiting = iter(todo.items())

        def more() -> Iterator[tuple[Cell, str]]:
            for one in waiting:
                if minutes is not None and time.monotonic() - begun >= minutes * 60:
                    return
                yield one

        for cell, result in _results(on, workers, more()):
            if isinstance(result, Finished):
                results.add(result)
                finished += 1
                say(f"experiments: {cell} in {result.seconds:.0f} s ({finished + failed} of {len(todo)})")
            else:
                failed += 1
                say(f"experiments: {cell} failed: {result}")
    return Outcome(finished, failed, len(todo) - finished)


def _results(on: Bench, workers: int,
             todo: Iterator[tuple[Cell, str]]) -> Iterator[tuple[Cell, Finished | UserError]]:
    """Each cell with what came of it, as it ends."""
    if workers == 1:
        for cell, fingerprint in todo:
            yield cell, _attempt(on, cell, fingerprint)
        return
    os.environ.update(cells.THREADS)  # of the processes to come; libraries read it when they are loaded
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[Finished | UserError], Cell] = {}
        try:
            while True:
                for cell, fingerprint in itertools.islice(todo, workers - len(running)):
                    running[pool.submit(_attempt, on, cell, fingerprint)] = cell
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise UserError("a process that ran a cell was killed, by the system for want of memory perhaps; finished "
                            "cells are stored, run again with fewer --workers") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _attempt(on: Bench, cell: Cell, fingerprint: str) -> Finished | UserError:
    try:
        return run_one(on, cell, fingerprint)
    except UserError as error:
        return error


def run_one(on: Bench, cell: Cell, fingerprint: str | None = None) -> Finished:
    """Run one cell, with the texts of its arm. Raises what `cell.run` does."""
    return cells.run(replace(on, matrix=on.matrix.seen_by(cell.arm)), cell, fingerprint)


def accept(on: Bench, only: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Take stale cells over as they are, where one of them, run again, gives the same bytes.

    Cells of an arm and control of a data set that were made by other code or from tables with other footers, for the
    same crystals and parameters, are one question: a cell trains on, stops by or tests all crystals of its data set, so
    one that comes out the same to the last bit says that nothing that it reads or runs has changed its values. Returns
    how many cells were taken over, and in words what differs.
    """
    results, taken, differing = Results(on.root), 0, []
    with alone(on.root):
        todo = pending(on, only)
        questions: dict[tuple[str, ...], list[Finished]] = {}
        for one in results.all():
            if one.cell in todo and one.crystals == on.population(one.cell.dataset, one.cell.target).digest \
                    and Fingerprint.parse(one.fingerprint).asked == Fingerprint.parse(todo[one.cell]).asked:
                questions.setdefault(_question(on, one, todo[one.cell]), []).append(one)
        here = {cells.arithmetic(device) for device in ("cpu", pick_device("auto"))}
        for mine in questions.values():
            first, *others = sorted(mine, key=lambda one: one.arithmetic not in here)  # bytes depend on the processor
            say(f"experiments: running {first.cell} again")
            again = run_one(on, first.cell)
            if again.digest != first.digest:
                worst = max(float(abs(again.predicted - first.predicted).max()),
                            float(abs(again.validated - first.validated).max()))
                differing.append(f"{first.cell} comes out otherwise, by up to {worst:.2g}"
                                 + ("" if again.arithmetic == first.arithmetic else
                                    f", on {again.arithmetic} instead of {first.arithmetic}"))
                continue
            alike = {one.cell for one in (first, *others)}
            for path in sorted({results.path(cell) for cell in alike}):
                results.write(path, [replace(one, fingerprint=todo[one.cell]) if one.cell in alike else one
                                     for one in results.read(path)])
            taken += len(alike)
    return taken, differing


def _question(on: Bench, stored: Finished, now: str) -> tuple[str, ...]:
    """What a stale cell shares with those that one rerun answers for.

    The digest of tables holds the targets too, so that of other tables than today's only cells of one target are known
    to have been made from the same ones. Where the tables are today's, targets that are transformed alike are one
    question: they run the same code on the same tables.
    """
    cell, made = stored.cell, Fingerprint.parse(stored.fingerprint)
    shared = (cell.dataset, cell.arm, cell.control, on.matrix.targets[cell.target].transform, made.code)
    return shared if made.tables == Fingerprint.parse(now).tables else (*shared, cell.target, made.tables)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """No other process writes results of this project meanwhile."""
    path = Paths(root).experiments_lock
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=0):
            yield
    except filelock.Timeout:
        raise UserError("experiments are being run here already; --workers gives one run more processes") from None
