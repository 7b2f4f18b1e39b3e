"""Whether the tables are what their views and contracts say they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import contract, profiles, registry
from features.catalog import references
from features.catalog.problem import Problem, counted, of_parts, parts_promised
from features.contract import Contract
from features.errors import UserError
from features.paths import Paths
from features.rules import Mask, shown
from features.store import damage, placement, revisions, sums, tables, versions
from features.store.sums import Damaged
from features.view import FeatureView


def check(root: Path) -> int:
    """Check what a publish cannot know of a table: whole files, schema, version, keys, no row without its upstream row.
    Values were checked before each table was published.

    Returns how many tables there are. Raises `UserError` with all that is wrong.
    """
    problems = list(_damages(root))
    if problems:
        raise UserError("; ".join(map(str, problems)))  # nothing else can be said of what cannot be read
    views = [view for view in registry.all_views() if tables.exists(root, view.name)]
    if not views:
        raise UserError(f"there are no tables under {Paths(root).features} yet; run `dvc repro` to make them")
    for view in views:
        problems += _of_columns(root, view.name, view)
    fits = [view for view in views if not any(problem.table == view.name for problem in problems)]
    for view in fits:
        keys = tables.read(root, view.name, view.key)
        if len(np.unique(references.numbered(keys))) != len(keys):
            problems.append(Problem(view.name, "a key occurs twice"))
        problems += references.orphans(root, view)
    for name in tables.names(root):
        if not registry.view_named(name):
            problems += references.strangers(root, name)
    if problems:
        raise UserError("; ".join(map(str, problems)))
    return len(views)


def problems(root: Path, only: Sequence[str] | None = None,
             outputs: Mapping[str, str] | None = None) -> Iterator[Problem]:
    """Everything that is wrong on disk: files, columns, footers, each row's place, order and values, rows without
    their upstream rows, rejects, the model's files. Every file is read whole.

    Args:
        only: these tables, and not the model's files.
        outputs: digest of each output by its path, as `data/published.json` has them, where the folder is of that
            version.

    Raises `UserError` if there is no table.
    """
    told = set()
    for problem in _problems(root, only, outputs):
        if problem not in told:  # a damaged file is in the way of several checks
            told.add(problem)
            yield problem


def _problems(root: Path, only: Sequence[str] | None, outputs: Mapping[str, str] | None) -> Iterator[Problem]:
    names = tables.names(root)
    if not names:
        raise UserError(f"there are no tables under {Paths(root).features} yet; run `dvc repro` to make them")
    damaged = list(_damages(root))
    if revisions.is_one(root):
        damaged += _unlike_commit(root, {problem.table for problem in damaged})
    yield from (problem for problem in damaged if not only or problem.table in only)
    unreadable = {problem.table for problem in damaged}
    unlike = {name: found for name in names if name not in unreadable
              and (found := list(_as_read(name, _of_columns(root, name, registry.view_named(name)))))}
    sound = [name for name in names if name not in unreadable and (not only or name in only)]
    for name in sound:
        if sums.listed(Paths(root).table(name)) is None:
            yield Problem(name, "it has no sums, so that damage may stay unseen; what makes it again writes them",
                          sums.SUMS, is_error=False)
        view, promised = registry.view_named(name), contract.of(name)
        yield from unlike.get(name, ())
        yield from _as_read(name, _of_footers(root, name, view))
        if promised and name not in unlike:
            yield from _as_read(name, _of_rows(root, name, promised))
    unreadable |= unlike.keys()
    for name in sound:
        yield from _as_read(name, _of_others(root, name, unreadable))
    yield from _of_version(root, only, outputs or {}, {problem.table for problem in damaged})
    if not only:
        yield from _of_other_files(root)


def _as_read(name: str, found: Iterator[Problem]) -> Iterator[Problem]:
    """Problems as they are found, the last of them that a file is damaged and keeps the rest from being looked for."""
    try:
        yield from found
    except Damaged as damaged:
        yield _damage(name, damaged)


def _damage(name: str, damaged: Damaged) -> Problem:
    table = damaged.path.parent.name if damaged.path.name.startswith("part-") else name
    return Problem(table, str(damaged), damaged.path.name)


def _of_others(root: Path, name: str, unfit: Set[str]) -> Iterator[Problem]:
    """What rows of a table are not, given other tables; none of those whose files or columns are wrong is asked."""
    view = registry.view_named(name)
    if view and unfit.isdisjoint((name, *view.inputs)) and references.has(root, name, view.key):
        if orphans := list(references.orphans(root, view)):
            yield from orphans
        else:  # an orphan has no unit that a digest could be made of
            yield from references.made_from_others(root, view)
        if name == "structures":
            yield from references.volumes(root)
    if view:
        yield from references.rejects(root, view)
    elif name == profiles.NAME:
        yield from references.of_profiles(root)
    elif name not in unfit:
        yield from references.strangers(root, name, unfit)


def _of_version(root: Path, only: Sequence[str] | None, outputs: Mapping[str, str],
                known: Collection[str]) -> Iterator[Problem]:
    """Outputs of a version that are not what was published, though their own sums say so."""
    for path, expected in outputs.items():
        name = Path(path).name
        table = name if path == Paths(Path()).table(name).as_posix() else ""
        if table in known or (only and table not in only):
            continue
        if not (root / path).exists():
            yield Problem(table or path, f"the version has {path}, and it is missing; `python -m pipelines repair` "
                          "mends it")
        elif versions.digest(root / path) != expected:
            yield Problem(table or path, f"{path} is not what was published, by its digest in data/published.json; "
                          "`python -m pipelines repair` mends it")


def _damages(root: Path) -> Iterator[Problem]:
    for name in tables.names(root):
        for found in tables.damages(root, name):
            yield Problem(name, str(found), found.path.name)


def _unlike_commit(root: Path, known: Collection[str]) -> Iterator[Problem]:
    """What of a revision has no sums, or is missing, and is not what its commit's `dvc.lock` names."""
    for path in revisions.damages(root):
        is_table = path.is_relative_to(Paths(root).features) and path.parent != Paths(root).rejects("").parent
        name = path.relative_to(Paths(root).features).parts[0] if is_table else path.stem
        if name not in known:
            yield Problem(name, f"{path} is not what the commit has, or missing; `python -m pipelines repair` mends it")


def _of_columns(root: Path, name: str, view: FeatureView[Any] | None) -> Iterator[Problem]:
    """Other columns or another version than the view's, or parts that differ in them. New columns that may be missing
    are none."""
    files = tables.files(root, name)
    wrong: dict[str, list[str]] = {}
    if view:
        for path in files:
            version = tables.footer(path).get("version")
            changes = contract.breaking(tables.schema_of(path), view.schema, contract.required(view))
            if version != view.version:
                what = f"version {version} on disk, {view.version} in the code"
            elif changes:
                what = f"columns differ from the view's ({'; '.join(changes)})"
            else:
                continue
            wrong.setdefault(what, []).append(path.name)
        yield from of_parts(name, wrong, f"; rerun `python -m pipelines {view.stage}`")
    if wrong:
        return
    first = tables.schema_of(files[0])
    for path in files:
        schema = tables.schema_of(path)
        if others := sorted({name for name, _ in _typed(first) ^ _typed(schema)}):
            wrong.setdefault(f"its columns are others than those of {files[0].name}: {', '.join(others)}",
                             []).append(path.name)
    yield from of_parts(name, wrong)


def _typed(schema: pa.Schema) -> set[tuple[str, pa.DataType]]:
    return {(column.name, column.type) for column in schema}


def _of_footers(root: Path, name: str, view: FeatureView[Any] | None) -> Iterator[Problem]:
    """What the parts say of themselves and of each other."""
    files = tables.files(root, name)
    footers = [tables.footer(path) for path in files]
    promised = parts_promised(files, footers)
    there, wanted = {path.name for path in files}, {f"part-{number:05d}.parquet" for number in range(promised)}
    for part in sorted(wanted - there):
        yield Problem(name, f"it is missing: the footers count {counted(promised, 'part', 'parts')}", part)
    for part in sorted(there - wanted):
        yield Problem(name, f"it is one too many: the footers count {counted(promised, 'part', 'parts')}", part)
    wrong: dict[str, list[str]] = {}
    for path, footer in zip(files, footers, strict=True):
        if footer.get("view") != name:
            wrong.setdefault(f"its footer calls it a part of {footer.get('view', 'nothing')}", []).append(path.name)
        if footer.get("parts") != promised:
            wrong.setdefault(f"its footer counts {footer.get('parts', 'no')} parts, and there are {promised}",
                             []).append(path.name)
        if view and not isinstance(footer.get("inputs_digest"), str):
            wrong.setdefault("its footer has no digest of its inputs", []).append(path.name)
        if other := sorted(key for key in {*footer, *footers[0]} - {"view", "parts", "inputs_digest"}
                           if footer.get(key) != footers[0].get(key)):
            wrong.setdefault(f"its footer is another than that of {files[0].name}: {', '.join(other)}",
                             []).append(path.name)
    yield from of_parts(name, wrong)


def _of_rows(root: Path, name: str, promised: Contract) -> Iterator[Problem]:
    """Rows that break the contract, lie in the wrong part or out of order."""
    files = tables.files(root, name)
    checker = contract.Checker(name, promised)
    parts = parts_promised(files, [tables.footer(path) for path in files])
    for path in files:
        try:
            rows = tables.read_parts([path])
        except Damaged as damaged:  # the other parts can be read
            yield _damage(name, damaged)
            continue
        checker.see(rows, path.name)
        key = tuple(column for column in promised.key if column in rows.column_names)
        number = int(path.stem.removeprefix("part-"))
        if "material_id" in rows.column_names and 1 < parts > number:
            ids = rows["material_id"]
            wrong = placement.part_of(ids.to_pylist(), parts) != number
            wrong &= ids.is_valid().to_numpy()
            yield from _at(name, rows, wrong, key, path.name, "belong into another part: the hash of an id decides")
        order = pc.sort_indices(rows, [(column, "ascending") for column in key])
        moved = np.zeros(len(rows), bool)
        for column in key:
            values = rows[column].combine_chunks()
            same = pc.equal(values, values.take(order)).fill_null(True)
            moved |= ~same.to_numpy(zero_copy_only=False)
        yield from _at(name, rows, moved, key, path.name, f"are not in the order of {' and '.join(key)}")
    for found in checker.violations():
        yield Problem(name, found.what, found.part, found.row, found.ids, found.hard)


def _at(table: str, rows: pa.Table, wrong: Mask, key: tuple[str, ...], part: str, what: str) -> Iterator[Problem]:
    """One problem for all rows that have it."""
    places = np.flatnonzero(wrong)
    if len(places):
        ids = tuple(shown([rows[name][int(place)].as_py() for name in key]) for place in places[:contract.SAMPLES])
        yield Problem(table, f"rows that {what}: {len(places):,}", part, int(places[0]), ids)


def _of_other_files(root: Path) -> Iterator[Problem]:
    """Damaged files of the model and of its results."""
    paths = Paths(root)
    if paths.model.is_dir():
        for found in sums.damages(paths.model):
            yield Problem("model", str(found), found.path.name)
    for place in sorted(paths.results.glob("*.json")):
        for path in damage.damages(place):
            yield Problem("results", f"{path} is damaged; `python -m pipelines repair` mends it", path.name)
