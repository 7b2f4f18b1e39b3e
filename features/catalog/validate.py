"""Whether the tables are what their views and contracts say they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import contract, profiles, registry
from features.catalog import inputs
from features.contract import Contract
from features.errors import UserError
from features.paths import Paths
from features.rules import Mask, shown
from features.store import damage, placement, revisions, sums, tables, versions
from features.store.sums import Damaged
from features.terminal import printable
from features.view import FeatureView, only_input

SAME_VOLUME = 1e-3
"""Relative; far more than the digits of `materials` leave open."""


@dataclass(frozen=True)
class Problem:
    """Something on disk that is not as it should be."""

    table: str
    what: str
    """In words."""
    part: str = ""
    """The file."""
    row: int | None = None
    """The first row of it, counted from 0; None where it is no row's."""
    ids: tuple[str, ...] = ()
    """Keys of the first rows."""
    is_error: bool = True
    """Whether it must not be; else it is odd, and may be what a source says."""

    def __str__(self) -> str:
        where = ", ".join([*([self.part] if self.part else []), *([] if self.row is None else [f"row {self.row}"]),
                           *self.ids])
        return printable(f"{'' if self.is_error else 'warning: '}{self.table}: {self.what}"
                         f"{f' ({where})' if where else ''}")


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
        if keys.group_by(list(view.key)).aggregate([]).num_rows != len(keys):
            problems.append(Problem(view.name, "a key occurs twice"))
        problems += _orphans(root, view)
    for name in tables.names(root):
        if not registry.view_named(name):
            problems += _strangers(root, name)
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
    if view and unfit.isdisjoint((name, *view.inputs)) and _has(root, name, view.key):
        if orphans := list(_orphans(root, view)):
            yield from orphans
        else:  # an orphan has no unit that a digest could be made of
            yield from _made_from_others(root, view)
        if name == "structures":
            yield from _volumes(root)
    if view:
        yield from _rejects(root, view)
    elif name == profiles.NAME:
        yield from _profiles(root)
    elif name not in unfit:
        yield from _strangers(root, name, unfit)


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
            wrong.setdefault(f"{what}; rerun `python -m pipelines {view.stage}`", []).append(path.name)
    first = tables.schema_of(files[0])
    for path in files if not wrong else ():
        schema = tables.schema_of(path)
        if others := sorted({name for name, _ in _typed(first) ^ _typed(schema)}):
            wrong.setdefault(f"its columns are others than those of {files[0].name}: {', '.join(others)}",
                             []).append(path.name)
    yield from _of_parts(name, wrong)


def _typed(schema: pa.Schema) -> set[tuple[str, pa.DataType]]:
    return {(column.name, column.type) for column in schema}


def _of_footers(root: Path, name: str, view: FeatureView[Any] | None) -> Iterator[Problem]:
    """What the parts say of themselves and of each other."""
    files = tables.files(root, name)
    footers = [tables.footer(path) for path in files]
    promised = _promised(files, footers)
    there, wanted = {path.name for path in files}, {f"part-{number:05d}.parquet" for number in range(promised)}
    for part in sorted(wanted - there):
        yield Problem(name, f"it is missing: the footers count {_count(promised, 'part', 'parts')}", part)
    for part in sorted(there - wanted):
        yield Problem(name, f"it is one too many: the footers count {_count(promised, 'part', 'parts')}", part)
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
    yield from _of_parts(name, wrong)


def _promised(files: Sequence[Path], footers: Sequence[Mapping[str, Any]]) -> int:
    """How many parts there should be: as most footers say, where they make sense."""
    counts = Counter(count for footer in footers if isinstance(count := footer.get("parts"), int)
                     and 0 < count <= placement.MAX_PARTS)
    return counts.most_common(1)[0][0] if counts else len(files)


def _of_parts(name: str, wrong: Mapping[str, list[str]]) -> Iterator[Problem]:
    """One problem for all parts that have it."""
    for what, parts in wrong.items():
        others = f", and so with {_count(len(parts) - 1, 'more part', 'more parts')}" if len(parts) > 1 else ""
        yield Problem(name, f"{what}{others}", parts[0])


def _count(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def _of_rows(root: Path, name: str, promised: Contract) -> Iterator[Problem]:
    """Rows that break the contract, lie in the wrong part or out of order."""
    files = tables.files(root, name)
    checker = contract.Checker(name, promised)
    parts = _promised(files, [tables.footer(path) for path in files])
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
            wrong = placement.part_of(ids.fill_null("").to_pylist(), parts) != number
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
        breaks = "1 row breaks" if found.count == 1 else f"{found.count:,} rows break"
        yield Problem(name, f"{breaks} the rule that {found.rule}", found.part, found.row, found.ids, found.hard)


def _at(table: str, rows: pa.Table, wrong: Mask, key: tuple[str, ...], part: str, what: str) -> Iterator[Problem]:
    """One problem for all rows that have it."""
    places = np.flatnonzero(wrong)
    if len(places):
        ids = tuple(shown([rows[name][int(place)].as_py() for name in key]) for place in places[:contract.SAMPLES])
        yield Problem(table, f"rows that {what}: {len(places):,}", part, int(places[0]), ids)


def _has(root: Path, name: str, columns: tuple[str, ...]) -> bool:
    return set(columns) <= set(tables.schema(root, name).names)


def _strangers(root: Path, name: str, unreadable: Collection[str] = ()) -> Iterator[Problem]:
    """Rows of a table that is no view, such as predictions, that were made from other crystals than there are."""
    key, rules = ((), ()) if (promised := contract.of(name)) is None else (promised.key, promised.rules)
    for rule in rules:
        upstream = rule.refers
        if upstream and upstream not in unreadable and tables.exists(root, upstream) and _has(
                root, name, (*rule.needs, *key)):
            yield from _without(root, name, tables.read(root, upstream, rule.needs), rule.needs, key, upstream)


def _orphans(root: Path, view: FeatureView[Any]) -> Iterator[Problem]:
    """Rows that belong to no unit. A unit has those columns of the key that its rows share."""
    if not view.inputs or not all(tables.exists(root, upstream) for upstream in view.inputs):
        return
    # units that are the rows of one table have its columns, so the key is enough: crystals and texts stay on disk
    units = view.units({upstream: tables.read(root, upstream, [name for name in columns
                                                               if view.units is not only_input or name in view.key])
                        for upstream, columns in view.inputs.items()})
    shared = tuple(name for name in view.key if name in units.column_names)
    yield from _without(root, view.name, units, shared, view.key, " or ".join(view.inputs))


def _without(root: Path, name: str, there: pa.Table, shared: tuple[str, ...], key: tuple[str, ...],
             upstream: str) -> Iterator[Problem]:
    """Rows of a table whose columns `shared` are those of no row of another one."""
    keys = tables.read(root, name, list(dict.fromkeys((*key, *shared))))
    numbered = keys.select(list(shared)).append_column("_row", pa.array(np.arange(len(keys))))
    lost = numbered.join(there.select(list(shared)), keys=list(shared), join_type="left anti")["_row"]
    if not len(lost):
        return
    places = np.sort(lost.to_numpy())
    counts = [tables.rows(path) for path in tables.files(root, name)]
    part = int(np.searchsorted(np.cumsum(counts), places[0], side="right"))
    ids = tuple(shown([keys[column][int(place)].as_py() for column in key]) for place in places[:contract.SAMPLES])
    yield Problem(name, f"{_count(len(places), 'row is', 'rows are')} not in {upstream}; run `dvc repro`",
                  tables.files(root, name)[part].name, int(places[0]) - sum(counts[:part]), ids)


def _volumes(root: Path) -> Iterator[Problem]:
    """Lattices that span another volume than `materials` says."""
    volumes = tables.read(root, "materials", ["material_id", "volume"])
    said = dict(zip(volumes["material_id"].to_pylist(), volumes["volume"].to_pylist(), strict=True))
    for path in tables.files(root, "structures"):
        rows = tables.read_parts([path], ["material_id", "lattice"]).to_pylist()
        whole = [(place, row) for place, row in enumerate(rows) if row["lattice"] is not None
                 and len(row["lattice"]) == 9 and None not in row["lattice"] and said.get(row["material_id"])]
        lattices = np.array([row["lattice"] for _, row in whole], float).reshape(-1, 3, 3)
        expected = np.array([said[row["material_id"]] for _, row in whole], float)
        wrong = np.abs(np.abs(np.linalg.det(lattices)) - expected) > SAME_VOLUME * expected
        if wrong.any():
            others = [whole[number] for number in np.flatnonzero(wrong)]
            yield Problem("structures", f"{_count(len(others), 'lattice spans', 'lattices span')} another volume (Å³) "
                          "than materials has", path.name, others[0][0],
                          tuple(shown([row["material_id"]]) for _, row in others[:contract.SAMPLES]))


def _made_from_others(root: Path, view: FeatureView[Any]) -> Iterator[Problem]:
    """Parts that were made from other upstream rows than there are, by the digests of their fingerprints."""
    if not all(tables.exists(root, upstream) for upstream in view.inputs):
        return
    others = [path.name for path, is_so in inputs.digests(root, view) if not is_so]
    yield from _of_parts(view.name, {f"it was made from other rows of {' and '.join(view.inputs)} than there are; run "
                                     "`dvc repro`": others} if others else {})


def _rejects(root: Path, view: FeatureView[Any]) -> Iterator[Problem]:
    """Rejects of crystals that are rows too, where a crystal is one or the other."""
    path = Paths(root).rejects(view.name)
    if not path.exists():
        return
    try:
        rejects = tables.read_parts([path]).to_pylist()
    except Damaged as damaged:
        yield Problem(view.name, str(damaged), f"rejects/{path.name}")
        return
    kinds = Counter(row["view"] for row in rejects if row["view"] != view.name)
    for kind, count in kinds.items():
        called = _count(count, "of its rejects is called one", "of its rejects are called those")
        yield Problem(view.name, f"{called} of {kind}", f"rejects/{path.name}")
    if view.units is not only_input:  # a text of a crystal may be a reject while another is a row
        return
    # of entries with one id the first is the row, and the others are rejects
    ids = {row["material_id"]: place for place, row in enumerate(rejects) if row["error"] != "duplicate"}
    rows = tables.read(root, view.name, ["material_id"])["material_id"]
    both = sorted(ids.keys() & set(rows.to_pylist()))
    if both:
        yield Problem(view.name, _count(len(both), "reject is a row too", "rejects are rows too"),
                      f"rejects/{path.name}", ids[both[0]], tuple(both[:contract.SAMPLES]))


def _profiles(root: Path) -> Iterator[Problem]:
    """Profiles that were made of other tables than there are."""
    part, *more = tables.files(root, profiles.NAME)
    for other in more:
        yield Problem(profiles.NAME, "profiles have one part, and this is one too many", other.name)
    told, there = tables.footer(part).get("tables", {}), profiles.digests(root)
    if others := sorted(name for name in {*told, *there} if told.get(name) != there.get(name)):
        yield Problem(profiles.NAME, f"it is of other tables than there are: {', '.join(others)}; run `dvc repro`",
                      part.name)


def _of_other_files(root: Path) -> Iterator[Problem]:
    """Damaged files of the model and of its results."""
    paths = Paths(root)
    if paths.model.is_dir():
        for found in sums.damages(paths.model):
            yield Problem("model", str(found), found.path.name)
    for place in sorted(paths.results.glob("*.json")):
        for path in damage.damages(place):
            yield Problem("results", f"{path} is damaged; `python -m pipelines repair` mends it", path.name)
