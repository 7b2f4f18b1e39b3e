"""Where the rows of one crystal come from, table by table, and what would compute them again today."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from features import registry
from features.catalog import inputs, lineage
from features.differences import differences
from features.errors import UserError
from features.params import Section, parse_section, read_params
from features.paths import Paths
from features.store import tables
from features.view import TRANSIENT, FeatureView

SHOWN_IDS = 5


@dataclass(frozen=True)
class Answer:
    """What one table has of a crystal."""

    table: str
    rows: list[dict[str, Any]]
    """Its rows and rejects, as in the table `lineage`."""
    absent: str
    """Why there are none, in words; empty if there are."""
    now: list[str]
    """What would compute them again, in words; empty if nothing would."""


def why(root: Path, where: Path, material_id: str, table: str | None = None) -> list[Answer]:
    """Where the rows of a crystal in the tables of a folder come from, and what would compute them again in a project.

    Args:
        root: the project, whose `params.yaml` and row store count.
        where: the folder whose tables are read, the project's published version or a revision.
        table: only this one.

    Raises `UserError` if there is no such crystal, with ids like it, or no such table.
    """
    about = [name for name in tables.names(where) if "material_id" in tables.schema(where, name).names]
    if table is not None and table not in about:
        raise UserError(f"no table '{table}' of crystals; there are: {', '.join(about) or 'none yet'}")
    asked = _with_upstream(table) & {*about} if table else {*about}  # what computes those again may change this one
    order = {view.name: place for place, view in enumerate(registry.all_views())}
    ordered = sorted(asked, key=lambda name: (order.get(name, len(order)), name))
    rows = lineage.of_crystals(where, [material_id], ordered).to_pylist()
    if not rows and not (table and _is_known(where, material_id)):
        raise UserError(_unknown(where, material_id))
    answers: dict[str, Answer] = {}
    for name in ordered:
        mine = [row for row in rows if row["table_name"] == name]
        view = registry.view_named(name)
        absent = "" if mine else _absent(root, where, view, material_id)
        now = list(_now(root, where, view, mine, answers)) if mine else []
        answers[name] = Answer(name, mine, absent, now)
    return [answers[table]] if table else list(answers.values())


def _with_upstream(table: str) -> set[str]:
    """A table, and all that it is made from."""
    view = registry.view_named(table)
    return {table}.union(*(_with_upstream(upstream) for upstream in view.inputs)) if view else {table}


def _unknown(where: Path, material_id: str) -> str:
    near = difflib.get_close_matches(material_id, _ids(where), n=SHOWN_IDS)
    like = f"; like it are: {', '.join(near)}" if near else ""
    return f"no table knows a crystal '{material_id}'{like}"


def _ids(where: Path) -> list[str]:
    """All ids of rows and rejects of `materials`."""
    ids: set[str] = set()
    if tables.exists(where, "materials"):
        ids |= set(tables.read(where, "materials", ["material_id"])["material_id"].to_pylist())
    if (path := Paths(where).rejects("materials")).exists():
        ids |= set(tables.read_parts([path], ["material_id"])["material_id"].to_pylist())
    return sorted(ids)


def _is_known(where: Path, material_id: str) -> bool:
    return material_id in _ids(where)


def _absent(root: Path, where: Path, view: FeatureView[Any] | None, material_id: str) -> str:
    """Why a table has neither a row nor a reject of a crystal."""
    if view is None:
        return "the model says nothing of it"
    for upstream in view.inputs:
        path = Paths(where).rejects(upstream)
        if path.exists():
            rejects = tables.read_parts([path], ["material_id", "error"])
            told = rejects.filter(pc.equal(rejects["material_id"], material_id))["error"].to_pylist()
            if told:
                return f"{upstream} rejects it ({told[0]})"
    try:
        if not view.wanted(params_of(root, view)):
            return f"section {view.stage} of params.yaml asks for no row at all"
    except UserError as error:
        return " ".join(str(error).split())
    return f"{' and '.join(view.inputs) or 'its source'} had none when the table was made"


def params_of(root: Path, view: FeatureView[Any]) -> Section:
    """The parameters that a view gets from `params.yaml` today. Of `ingest`, which also says which crystals there are,
    those that decide a row."""
    content = read_params(root).get(view.stage)
    if view.stage == "ingest" and isinstance(content, dict):
        content = {name: value for name, value in content.items() if name in view.params.model_fields}
    params: Section = parse_section({} if content is None else content, view.stage, view.params)
    return params


def _now(root: Path, where: Path, view: FeatureView[Any] | None, rows: list[dict[str, Any]],
         before: dict[str, Answer]) -> Iterator[str]:
    """What would compute rows again, and what only others can tell."""
    if view is None:
        yield "the model's tables are made as a whole; `python -m pipelines plan` says when"
        return
    changes = list(_changed_header(root, where, view))
    if inputs.known(where, view):
        changes += _changed_inputs(where, view, rows, rows[0]["material_id"])
    yield from changes
    if not changes and any(row["status"] == "row" and row["computed_at"] is None for row in rows):
        yield f"a run of {view.stage} does, since {Paths(root).rowstore(view.name)} does not have it"
    for upstream in view.inputs:
        if upstream in before and before[upstream].now:
            yield f"what computes its row of {upstream} again may change that"
    if transient := [row["error"] for row in rows if row["error"] in TRANSIENT]:
        yield f"the next run tries it again, since its failure ({transient[0]}) may be the machine's"


def remarks(view: FeatureView[Any] | None) -> str:
    """What of a table's origin cannot be told here, in words."""
    if view is not None and not view.inputs:
        return "whether its source says something else by now, `python -m pipelines plan` finds out"
    return ""


def _changed_header(root: Path, where: Path, view: FeatureView[Any]) -> Iterator[str]:
    try:
        params = params_of(root, view)
        if absent := view.absent(params):
            yield f"nobody can tell before a run has fetched {absent}"
            return
        header = view.header(params)
    except UserError as error:
        yield f"nobody can tell: {' '.join(str(error).split())}"
        return
    yield from differences(tables.footer(tables.files(where, view.name)[0]), header, view.stage)


def _changed_inputs(where: Path, view: FeatureView[Any], rows: list[dict[str, Any]], material_id: str) -> Iterator[str]:
    """Whether the upstream rows are those that the rows were made from."""
    made = [row for row in rows if row["status"] == "row"]
    if not made:
        return
    units = inputs.units(where, view, [material_id])
    footer = tables.footer(next(path for path in tables.files(where, view.name) if path.name == made[0]["part"]))
    marks = {mark.hex() for mark in inputs.fingerprints(footer, units)}
    upstream = " and ".join(view.inputs)
    for row in made:
        if row["fingerprint"] is None:
            yield f"rows of {upstream} are others than when its part was made"
            return
        if row["fingerprint"] not in marks:
            yield f"its row of {upstream} is another than it was made from"
            return
