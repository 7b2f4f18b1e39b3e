"""The one engine: it makes the table of any feature view, computing only the rows that nobody has computed yet."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import Counter
from collections.abc import Iterator
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
from features.view import Batch, FeatureView, Reject, Rowwise
from pipelines.engine.units import Units
from pipelines.engine.work import Indices, Work, check_unchanged, store_of, survey
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


def materialize(view: FeatureView[Any], params: Section, root: Path, units: Units | pa.Table,
                executor: Executor, retry_rejected: bool = False) -> Report:
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
        tried = todo[:0]
        for _ in range(ROUNDS):
            _tell_damage(view, store, len(todo))
            tried = np.union1d(tried, todo)
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
    lost = len(work.lost())
    if lost and store.damaged:
        raise Lost(f"{lost} units")
    if lost:
        raise AssertionError(f"{view.name}: {lost} of {len(work)} units are neither rows nor rejects")
    rejected = list(work.rejected())
    if rejected and len(rejected) == len(work):
        raise UserError(f"{view.name}: nothing is published, since {_all_rejected(rejected)}")
    return work, _publish(view, params, paths, store, work, rejected)


def _report(view: FeatureView[Any], work: Work, tried: Indices, seconds: float, digest: str) -> Report:
    rows, computed = int(work.are_rows.sum()), int(work.are_rows[tried].sum())
    return Report(view.name, len(work), rows - computed, computed, len(work) - rows, seconds, digest, len(tried))


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


def _compute(view: FeatureView[Any], params: Section, store: RowStore, work: Work, todo: Indices,
             executor: Executor) -> None:
    if not len(todo):
        return
    groups: list[Indices] = []
    pending: list[tuple[Indices, Batch]] = []
    stored = time.monotonic()

    def batches() -> Iterator[pa.Table]:
        for group, units in work.batches(todo, view.batch_size):
            check_unchanged(view, params, work, group, units)
            groups.append(group)
            yield units

    with Progress(view.stage, len(todo)) as progress:
        try:
            for index, result in executor.map(job_of(view, params), batches()):
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


def _store(store: RowStore, work: Work, pending: list[tuple[Indices, Batch]]) -> None:
    """Append finished batches to the row store, each row under its unit's fingerprint."""
    with_rows = [(group, result) for group, result in pending if len(result.rows)]
    if with_rows:
        owners = np.concatenate([group[result.owners] for group, result in with_rows])
        store.append_rows(pa.concat_tables([result.rows for _, result in with_rows]),
                          work.fingerprints.take(pa.array(owners)))
    rejects = {int(group[index]): reject for group, result in pending for index, reject in result.rejects.items()}
    store.append_rejects(list(rejects.values()), work.fingerprints.take(pa.array(list(rejects), pa.int64())))


def _publish(view: FeatureView[Any], params: Section, paths: Paths, store: RowStore, work: Work,
             rejects: list[Reject]) -> str:
    parts = placement.number_of_parts(int(work.are_rows.sum()))
    rows = (store.read(marks, *placement.part_range(part, parts))
            for part, marks in enumerate(work.marks_by_part(work.are_rows)))
    common = {**view.header(params), **view.notes(params)}
    footers = ({**common, "parts": parts, "inputs_digest": digest} for digest in work.part_digests(work.are_rows))
    contract.compatible(view, paths.root)
    checked = contract.checked(view.name, contract.of_view(view), rows)
    return tables.publish(paths.table(view.name), view.schema, view.key, checked, footers,
                          tables.Rejects(paths.rejects(view.name), view.name, rejects))
