"""The one engine: it makes the table of any feature view, computing only the rows that nobody has computed yet."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features import contract
from features.errors import UserError
from features.params import Section
from features.paths import Paths
from features.progress import Progress, say
from features.store import placement, swap, tables
from features.store.rowstore import Lost, RowStore
from features.view import TRANSIENT, Batch, FeatureView, Reject, Rowwise
from pipelines.executors import Executor, Job

ROUNDS = 3
"""How often a run computes what it finds damaged, before it takes the disk for broken."""
SEGMENT_ROWS = 256
SEGMENT_S = 10.0
"""Finished rows are stored when there are this many or this much time has passed: what a kill can cost."""


@dataclass(frozen=True)
class Report:
    """What a run did, in units of work: wanted = computed + reused + rejected, always."""

    view: str
    wanted: int
    reused: int
    """Those whose rows were there already."""
    computed: int
    """Those whose rows this run has computed."""
    rejected: int
    """Those without rows, whichever run has found out why."""
    seconds: float
    digest: str
    tried: int
    """Those that this run has worked on: the computed ones, and those that it has rejected."""

    def __post_init__(self) -> None:
        if self.wanted != self.computed + self.reused + self.rejected:
            raise AssertionError(f"the summary does not balance: {self}")

    def __str__(self) -> str:
        return (f"{self.view}: {self.wanted} wanted = {self.computed} computed + {self.reused} reused + "
                f"{self.rejected} rejected, in {self.seconds:.1f} s")


@dataclass(frozen=True)
class Work:
    """The units of a view, sorted by position, with fingerprints, and what the row store has of them."""

    units: pa.Table
    positions: np.ndarray[Any, np.dtype[np.int64]]
    fingerprints: list[bytes]
    rows: set[bytes]
    rejects: dict[bytes, Reject]

    def missing(self, retry_rejected: bool) -> list[int]:
        """Indices of the units to compute; equal units only once."""
        seen: set[bytes] = set()
        result = []
        for index, mark in enumerate(self.fingerprints):
            if mark in self.rows or mark in seen:
                continue
            earlier = self.rejects.get(mark)
            if earlier is not None and earlier.error not in TRANSIENT and not retry_rejected:
                continue
            seen.add(mark)
            result.append(index)
        return result

    def renewed(self, store: RowStore) -> Work:
        """The same with what the row store has now."""
        rows, rejects = store.finished()
        return dataclasses.replace(self, rows=rows, rejects=rejects)

    def lost(self) -> list[int]:
        """Indices of the units that are neither rows nor rejects; equal units only once."""
        first = {mark: index for index, mark in reversed(list(enumerate(self.fingerprints)))}
        return sorted(index for mark, index in first.items() if mark not in self.rows and mark not in self.rejects)


def read_units(view: FeatureView[Any], root: Path) -> pa.Table:
    """Upstream tables joined into the units of a view, only the columns it reads."""
    return view.units({name: tables.read(root, name, columns) for name, columns in view.inputs.items()})


def store_of(view: FeatureView[Any], root: Path) -> RowStore:
    """The row store of a view."""
    return RowStore(Paths(root).rowstore(view.name), view.schema, view.version)


def survey(view: FeatureView[Any], params: Section, root: Path, units: pa.Table, store: RowStore | None = None) -> Work:
    """Fingerprint every unit and look up which of them are finished. Rows that lie damaged in the store are not."""
    positions = placement.positions(units["material_id"].to_pylist())
    order = np.argsort(positions, kind="stable")
    units = units.take(pa.array(order))
    rows, rejects = (store or store_of(view, root)).finished()
    return Work(units, positions[order], view.fingerprints(units, params), rows, rejects)


def materialize(view: FeatureView[Any], params: Section, root: Path, units: pa.Table, executor: Executor,
                retry_rejected: bool = False) -> Report:
    """Make the table and the rejects of a view.

    Fingerprint every wanted unit, subtract what the row store has, compute the rest, append what is finished to the
    row store, write the table whole and sorted, and the rejects with it. Raises `UserError` if another run holds the
    view or if not a single row could be computed. Whatever it raises, the published table and rejects stay as they are.
    """
    started = time.monotonic()
    store = store_of(view, root)
    with store.locked():
        swap.restore(Paths(root).table(view.name))
        params = view.resolve(params)
        work = survey(view, params, root, units, store)
        todo = work.missing(retry_rejected)
        tried: set[int] = set()
        for _ in range(ROUNDS):
            _tell_damage(view, store, len(todo))
            tried.update(todo)
            _compute(view, params, store, work, todo, executor)
            with contextlib.suppress(Lost):
                store.compact()
                work, digest = _finish(view, params, Paths(root), store, work)
                _tell_damage(view, store, 0)
                return _report(view, work, tried, time.monotonic() - started, digest)
            work = work.renewed(store)
            todo = work.lost()
    raise UserError(f"{view.name}: stored rows were damaged again and again while this run read them, so that nothing "
                    f"is published; check the disk of {store.top}")


def _finish(view: FeatureView[Any], params: Section, paths: Paths, store: RowStore, work: Work) -> tuple[Work, str]:
    """Publish what the store has, once it has all. Returns the work with all of it, and the digest of the table."""
    work = work.renewed(store)
    lost = work.lost()
    if lost and store.damaged:
        raise Lost(f"{len(lost)} units")
    if lost:
        raise AssertionError(f"{view.name}: {len(lost)} of {len(work.units)} units are neither rows nor rejects")
    rejected = [work.rejects[mark] for mark in work.fingerprints if mark not in work.rows]
    if rejected and len(rejected) == len(work.units):
        raise UserError(f"{view.name}: nothing is published, since {_all_rejected(rejected)}")
    return work, _publish(view, params, paths, store, work, work.rows, rejected)


def _report(view: FeatureView[Any], work: Work, tried: set[int], seconds: float, digest: str) -> Report:
    are_rows = [mark in work.rows for mark in work.fingerprints]
    computed = sum(are_rows[index] for index in tried)
    return Report(view.name, len(are_rows), sum(are_rows) - computed, computed, are_rows.count(False), seconds, digest,
                  len(tried))


def _tell_damage(view: FeatureView[Any], store: RowStore, todo: int) -> None:
    """One line on the segments that were found damaged since the last one."""
    if store.damaged:
        what = "1 damaged segment is" if len(store.damaged) == 1 else f"{len(store.damaged)} damaged segments are"
        say(f"{view.name}: {what} dropped from {store.top}; the wanted rows that lay there are among the {todo} to "
            "compute")
        store.damaged.clear()


def _all_rejected(rejects: list[Reject]) -> str:
    kinds = Counter(reject.error for reject in rejects).most_common()
    return (f"all {len(rejects)} rows were rejected ({', '.join(f'{count} × {kind}' for kind, count in kinds)}), the "
            f"first, {rejects[0].material_id}, for: {rejects[0].message}")


def _compute(view: FeatureView[Any], params: Section, store: RowStore, work: Work, todo: list[int],
             executor: Executor) -> None:
    if not todo:
        return
    groups = [todo[first:first + view.batch_size] for first in range(0, len(todo), view.batch_size)]
    batches = (work.units.take(pa.array(group)) for group in groups)
    pending: list[tuple[list[int], Batch]] = []
    stored = time.monotonic()
    with Progress(view.stage, len(todo)) as progress:
        try:
            for index, result in executor.map(job_of(view, params), batches):
                pending.append((groups[index], result))
                progress.advance(len(groups[index]))
                if sum(len(group) for group, _ in pending) >= SEGMENT_ROWS or time.monotonic() - stored > SEGMENT_S:
                    _store(store, work, pending)
                    pending, stored = [], time.monotonic()
        finally:
            _store(store, work, pending)  # also on Ctrl-C: finished rows are kept


def job_of(view: FeatureView[Any], params: Section) -> Job:
    """What executors need to know of a view."""
    return Job(compute=functools.partial(_call, view.compute, params), timeout_s=view.timeout_s(params),
               memory_bytes=view.memory_bytes(params),
               one_by_one=view.parallel(params) and not isinstance(view.compute, Rowwise),
               preload=view.preload, gpu=view.gpu(params), libraries=view.versions(), digest=view.digest(params),
               find_digest=functools.partial(view.digest, params))


def _call(compute: Any, params: Section, batch: pa.Table) -> Batch:
    result: Batch = compute(batch, params)
    return result


def _store(store: RowStore, work: Work, pending: list[tuple[list[int], Batch]]) -> None:
    """Append finished batches to the row store, each row under its unit's fingerprint."""
    with_rows = [(group, result) for group, result in pending if len(result.rows)]
    if with_rows:
        marks = [work.fingerprints[group[owner]] for group, result in with_rows for owner in result.owners]
        store.append_rows(pa.concat_tables([result.rows for _, result in with_rows]), marks)
    rejects = {work.fingerprints[group[index]]: reject
               for group, result in pending for index, reject in result.rejects.items()}
    store.append_rejects(list(rejects.values()), list(rejects))


def _marks_by_part(work: Work, finished: set[bytes]) -> list[list[bytes]]:
    """Fingerprints of the rows of each part file."""
    wanted = [mark in finished for mark in work.fingerprints]
    parts = placement.number_of_parts(sum(wanted))
    bounds = [placement.part_range(part, parts) for part in range(parts)]
    return [[mark for mark, is_row in zip(work.fingerprints[first:last], wanted[first:last], strict=True) if is_row]
            for first, last in (np.searchsorted(work.positions, bound) for bound in bounds)]


def part_digests(work: Work, finished: set[bytes]) -> list[str]:
    """What the footer of each part file says of its inputs."""
    return [hashlib.sha256(b"".join(sorted(marks))).hexdigest() for marks in _marks_by_part(work, finished)]


def _publish(view: FeatureView[Any], params: Section, paths: Paths, store: RowStore, work: Work,
             finished: set[bytes], rejects: list[Reject]) -> str:
    marks = _marks_by_part(work, finished)
    rows = (store.read(part_marks, *placement.part_range(part, len(marks))) for part, part_marks in enumerate(marks))
    common = {**view.header(params), **view.notes(params)}
    footers = ({**common, "parts": len(marks), "inputs_digest": digest} for digest in part_digests(work, finished))
    contract.compatible(view, paths.root)
    checked = contract.checked(view.name, contract.of_view(view), rows)
    return tables.publish(paths.table(view.name), view.schema, view.key, checked, footers,
                          tables.Rejects(paths.rejects(view.name), view.name, rejects))
