"""What a run would do, and why: which parameter, library, input or file of the code has changed since the last run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import registry
from features.differences import changed_values, differences
from features.params import Section, read_params
from features.paths import Paths
from features.store import dvc_lock, tables
from features.view import FeatureView
from pipelines import commands
from pipelines.engine import stages
from pipelines.engine.work import Mask, Work, store_of, survey
from pipelines.sources import waiting

Headers = Mapping[str, dict[str, Any]]
"""By stage: what decides the values of its table besides their units."""


@dataclass(frozen=True)
class Step:
    """What a run of one stage would do. Counts are None where only the run itself can tell."""

    stage: str
    wanted: int | None
    reused: int | None
    compute: int | None
    reasons: tuple[str, ...]
    """Why it would run; empty if it is up to date."""
    changes: bool = True
    """Whether its table may come out with other bytes: changed code alone runs a stage again and computes nothing."""


def plan(root: Path) -> list[Step]:
    """All stages in their order, from the tables as they are now; nothing is computed, and nothing fetched."""
    read_params(root)
    told = _dvc_status(root)
    steps: list[Step] = []
    for stage in stages.STAGES:
        steps.append(_view_step(root, stage, steps, told))  # it looks at those before it
    if told is not None:
        for stage in stages.MODEL_STAGES:
            changing = [step.stage for step in steps if step.reasons and step.changes]
            steps.append(_model_step(root, stage, changing, told))
    return steps


def _view_step(root: Path, stage: str, before: list[Step], told: dict[str, Any] | None) -> Step:
    view = registry.view_of(stage)
    upstream = [name for name in view.inputs if not tables.exists(root, name)]
    if upstream:
        return Step(stage, None, None, None, (f"after {', '.join(upstream)}",))
    if not stages.is_here(stage, root):
        return Step(stage, None, None, None, ("after it has pulled from the server",))
    if absent := view.absent(stages.params_of(stage, root)):
        return Step(stage, None, None, None, (f"after it has fetched {absent}",))
    _, params, units = stages.prepare(stage, root)
    store = store_of(view, root)
    work = survey(view, params, root, units, store)
    todo = len(work.missing(retry_rejected=False))
    stale = [step.stage for step in before if step.reasons and step.changes
             and registry.view_of(step.stage).name in view.inputs]
    reasons = [f"damaged segments in {store.folder}: {len(store.damaged)}"] if store.damaged else []
    reasons += _table_reasons(view, params, root, work, todo, bool(store.damaged))
    changes = bool(reasons or stale)
    given = {why.split(" ")[0] for why in reasons}  # a table knows the default of what params.yaml does not name
    reasons += [why for why in _dvc_reasons(root, stage, told or {}) if why.split(" ")[0] not in given]
    if stale:
        reasons.append(f"after {', '.join(stale)}, whose changes cannot be known before and are not counted here")
    return Step(stage, len(work), len(work) - todo, todo, tuple(reasons), changes)


def _table_reasons(view: FeatureView[Any], params: Section, root: Path, work: Work, todo: int,
                   damaged: bool) -> Iterator[str]:
    """How the published table differs from what a run would publish. Of damaged segments nobody knows what was in them,
    so that inputs which seem changed may only be lost."""
    if not tables.exists(root, view.name):
        yield "there is no table yet"
        return
    footers = [tables.footer(path) for path in tables.files(root, view.name)]
    other = list(differences(footers[0], view.header(params), view.stage))
    yield from other
    if other:
        return
    again = int((work.reject_of[work.missing(retry_rejected=False)] >= 0).sum())
    if again:
        yield f"{again} timed out or crashed and will be tried again"
    ids = pa.chunked_array([window["material_id"].combine_chunks() for window in work.units], pa.string())
    came = _came_and_went(view, root, ids)
    changed = max(0, todo - again - came["added"])
    made = [footer.get("inputs_digest") for footer in footers]
    if changed and made == list(work.part_digests(work.are_rows | _once_rows(view, root, work, ids))):
        yield f"{changed} finished rows are no longer in data/.rowstore/{view.name}"
        changed = 0
    came["changed"] = 0 if damaged else changed
    shown = [f"{count} {kind}" for kind, count in came.items() if count]
    if shown:
        yield f"inputs: {', '.join(shown)}"
    elif not todo and made != list(work.part_digests(work.are_rows)):
        yield "inputs are those of an earlier run, whose rows are stored"


def _once_rows(view: FeatureView[Any], root: Path, work: Work, ids: pa.ChunkedArray) -> Mask:
    """The units that the store does not have, but for those of rejected crystals: if inputs are what they were, these
    are the rows that were published.
    """
    rejected = pc.is_in(ids, value_set=_rejected(view, root))
    return (work.reject_of < 0) & ~np.asarray(rejected)


def _rejected(view: FeatureView[Any], root: Path) -> pa.ChunkedArray:
    """Ids of the published rejects of a view."""
    path = Paths(root).rejects(view.name)
    return tables.read_parts([path], ["material_id"])["material_id"] if path.exists() else pa.chunked_array(
        [], pa.string())


def _came_and_went(view: FeatureView[Any], root: Path, ids: pa.ChunkedArray) -> dict[str, int]:
    """How many wanted ids are not in the table yet, and how many of its ids are no longer wanted."""
    published = tables.read(root, view.name, ["material_id"])["material_id"]
    wanted = pc.unique(ids)
    present = pc.unique(pa.chunked_array([*published.chunks, *_rejected(view, root).chunks], pa.string()))
    return {"added": _others(wanted, present), "removed": _others(present, wanted)}


def _others(ids: pa.Array, known: pa.Array) -> int:
    return len(ids) - int(pc.sum(pc.is_in(ids, value_set=known)).as_py() or 0)


def headers(root: Path) -> Headers:
    """What would decide the values of each stage's table if it were made now; of the tables that there are. What has
    to be imported for it, such as torch, takes seconds."""
    return {stage: _header(root, stage) for stage in stages.STAGES if tables.exists(root, registry.view_of(stage).name)}


def unseen(root: Path, known: Headers | None = None) -> list[str]:
    """Stages whose tables were made with other libraries, weights or view versions than there are now.

    DVC knows files and parameters, and takes them for up to date. `known`: what `headers` has said of some stages.
    """
    stale = []
    for stage in stages.STAGES:
        name = registry.view_of(stage).name
        if tables.exists(root, name):
            header = (known or {}).get(stage) or _header(root, stage)
            if any(differences(tables.footer(tables.files(root, name)[0]), header, stage)):
                stale.append(stage)
    return stale


def _header(root: Path, stage: str) -> dict[str, Any]:
    view = registry.view_of(stage)
    return view.header(view.resolve(stages.params_of(stage, root)))


def _dvc_status(root: Path) -> dict[str, Any] | None:
    """What DVC has to say of each stage; None outside a DVC project."""
    if not (root / "dvc.yaml").exists() or not (root / ".dvc").is_dir():
        return None
    waiting.check(root)
    return commands.dvc_status(root)


def _dvc_reasons(root: Path, stage: str, told: dict[str, Any]) -> Iterator[str]:
    """What DVC sees and rows do not tell. Changed code runs a stage again, and computes nothing unless the version of
    its view is raised.
    """
    params = Paths(root).params.name
    changed = commands.changed(told, stage, "deps")
    if params in changed:
        yield from _params_reasons(root, stage)
    code = [path for path in changed if not path.startswith("data/") and path != params]
    if code:
        yield f"code: {', '.join(code)}"
    if "changed command" in told.get(stage, []):
        yield "its command in dvc.yaml"
    for path, how in commands.changed(told, stage, "outs").items():
        yield f"{path} is {how} since dvc.lock was written"


def _params_reasons(root: Path, stage: str) -> Iterator[str]:
    """Parameters in the stage's own section that differ from those of the last run, which `dvc.lock` has."""
    old = dvc_lock.read(root).get("stages", {}).get(stage, {}).get("params", {}).get(Paths(root).params.name, {})
    if old:
        yield from changed_values(old.get(stage), read_params(root).get(stage), stage)


def _model_step(root: Path, stage: str, stale: list[str], told: dict[str, Any]) -> Step:
    """A stage of the model runs as a whole, whenever DVC finds a reason."""
    deps = commands.changed(told, stage, "deps")
    after = ["train"] if "train" in stale else stale  # which itself comes after all the others
    reasons = [*(f"input: {path} is {how}" for path, how in deps.items() if path.startswith("data/")),
               *_dvc_reasons(root, stage, told), *([f"after {', '.join(after)}"] if after else [])]
    return Step(stage, None, None, None, tuple(reasons))
