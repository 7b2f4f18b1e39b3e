"""Contracts of tables: what their rows promise, and whether they keep it.

`rules` says in words what holds of a table; `checked` looks at rows on their way to disk, so that a table which breaks
a rule is never published; `Checker` looks at any rows.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import other_tables, registry
from features.errors import UserError
from features.progress import say
from features.rules import Mask, Rule, shown
from features.store import tables
from features.store.sums import Damaged
from features.terminal import printable
from features.view import FeatureView

SCHEMAS = Path(__file__).parent / "views" / "schemas.json"
"""Names and types of the columns of each version of each view. A version never changes but by new columns that may be
missing; a new version gets an entry of its own. A test compares it with the views."""
SAMPLES = 3
"""Ids that a violation names."""
FEW = 10
"""With fewer values than this nobody can tell another unit from odd values."""


@dataclass(frozen=True)
class Contract:
    """What identifies a row of a table, and what holds of its rows."""

    key: tuple[str, ...]
    rules: tuple[Rule, ...]


def of(name: str) -> Contract | None:
    """The contract of a table; None if nobody has made one."""
    if (view := registry.view_named(name)) is not None:
        return of_view(view)
    return Contract(*other_tables.TABLES[name]) if name in other_tables.TABLES else None


def of_view(view: FeatureView[Any]) -> Contract:
    """The contract of a view's table."""
    upstream = [Rule(column=None, needs=view.key, refers="",
                     rule=f"each row comes from a row of {' or '.join(view.inputs)}")] if view.inputs else []
    return Contract(view.key, (*view.contract, *upstream))


def rules(name: str) -> list[Rule]:
    """All that is promised of a table, in words; empty for a table that nobody has made a contract for."""
    contract = of(name)
    return [] if contract is None else [_unique(contract.key), *contract.rules]


@functools.cache
def _unique(key: tuple[str, ...]) -> Rule:
    return Rule(column=key[0] if len(key) == 1 else None, rule=f"no two rows have the same {' and '.join(key)}",
                needs=key)


@dataclass(frozen=True)
class Violation:
    """A rule that some rows break."""

    table: str
    rule: str
    count: int
    ids: tuple[str, ...]
    """Keys of the first ones."""
    hard: bool
    part: str = ""
    """File of the first one, where rows were read from files."""
    row: int = 0
    """Its number in that file, from 0."""

    @property
    def what(self) -> str:
        """In words, without its place."""
        return f"{'1 row breaks' if self.count == 1 else f'{self.count:,} rows break'} the rule that {self.rule}"

    def __str__(self) -> str:
        first = "" if not self.ids else f": {', '.join(self.ids)}" if self.count <= len(self.ids) else \
            f", the first are {', '.join(self.ids)}"
        where = f" ({self.part}, row {self.row})" if self.part else ""
        return printable(f"{self.table}: {self.what}{first}{where}")


@dataclass
class _Found:
    count: int = 0
    ids: list[str] = field(default_factory=list)
    part: str = ""
    row: int = 0


class Checker:
    """Looks at the rows of one table, a part at a time, and remembers which rules they break."""

    def __init__(self, table: str, contract: Contract) -> None:
        self.table, self.contract = table, contract
        self._found: dict[int, _Found] = {}
        self._values: dict[int, int] = {}
        """Of each rule that may say that most values are in another unit: how many values there are."""
        self._sizes: dict[int, dict[int, _Found]] = {}
        """Of each rule on lengths: the rows of each length."""
        self._all = (_unique(contract.key), *contract.rules)

    def see(self, rows: pa.Table, part: str = "") -> None:
        """Check some rows, which must be all of the table that share an id. `part`: the file that they come from."""
        if not len(rows):
            return
        there = set(rows.column_names)
        numbered = [(number, rule) for number, rule in enumerate(self._all) if there.issuperset(rule.needs)]
        if there.issuperset(self.contract.key):  # a table of an earlier version may not have all of it
            self._note(0, _repeated(rows, self.contract.key), rows, part)
        plain = {number: rule.holds for number, rule in numbered if rule.holds}
        needed = {name: None for number, rule in numbered if rule.holds for name in rule.needs}
        if plain:
            for number, wrong in _by_dataframely(rows.select(list(needed)), plain).items():
                self._note(number, wrong, rows, part)
        whole: dict[str, pa.Array] = {}
        for number, rule in numbered:
            if rule.broken or rule.size:
                for name in rule.needs:
                    whole[name] = whole[name] if name in whole else _one_array(rows[name])
                batch = pa.RecordBatch.from_arrays([whole[name] for name in rule.needs], list(rule.needs))
                if rule.broken:
                    self._note(number, rule.broken(batch), rows, part)
                if rule.size:
                    self._note_sizes(number, rule.size(batch), rows, part)
        for number, rule in numbered:
            if rule.mostly:
                column = rows[rule.needs[0]]
                self._values[number] = self._values.get(number, 0) + len(column) - column.null_count

    def violations(self) -> list[Violation]:
        """What was found so far, in the order of the rules."""
        result = []
        others = {number: other for number, sizes in self._sizes.items() if (other := _other_sizes(sizes)).count}
        for number, found in sorted((self._found | others).items()):
            rule, values = self._all[number], self._values.get(number, 0)
            unit = rule.mostly and values >= FEW and 2 * found.count > values
            words = f"{rule.rule} (most of {values:,} values are beyond, as in another unit)" if unit else rule.rule
            result.append(Violation(self.table, words, found.count, tuple(found.ids), rule.hard or unit, found.part,
                                    found.row))
        return result

    def _note_sizes(self, number: int, sizes: NDArray[np.int64], rows: pa.Table, part: str) -> None:
        seen = self._sizes.setdefault(number, {})
        for size in dict.fromkeys(sizes[sizes != -1].tolist()):
            self._add(seen.setdefault(size, _Found()), sizes == size, rows, part)

    def _note(self, number: int, wrong: Mask, rows: pa.Table, part: str) -> None:
        if wrong.any():
            self._add(self._found.setdefault(number, _Found()), wrong, rows, part)

    def _add(self, found: _Found, wrong: Mask, rows: pa.Table, part: str) -> None:
        places = np.flatnonzero(wrong)
        if not found.count:
            found.part, found.row = part, int(places[0])
        found.count += len(places)
        for place in places[:SAMPLES - len(found.ids)]:
            found.ids.append(shown([rows[name][int(place)].as_py() for name in self.contract.key]))


def _other_sizes(sizes: Mapping[int, _Found]) -> _Found:
    """Rows whose vectors have not the usual length, which is the most frequent one, or the first of several."""
    usual = max((size for size in sizes if size >= 0), key=lambda size: sizes[size].count, default=None)
    others = [found for size, found in sizes.items() if size != usual]
    if not others:
        return _Found()
    return _Found(sum(found.count for found in others), [name for found in others for name in found.ids][:SAMPLES],
                  others[0].part, others[0].row)


def checked(table: str, contract: Contract | None, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same parts, once each of them was looked at. Raises `UserError` behind the last one if a row breaks a rule,
    with all such rules, so that a publish that reads these parts leaves the table as it was.
    """
    if contract is None:
        yield from parts
        return
    checker = Checker(table, contract)
    for rows in parts:
        checker.see(rows)
        yield rows
    found = checker.violations()
    if wrong := [str(violation) for violation in found if violation.hard]:
        raise UserError(f"nothing is published, and what was published stays: {'; '.join(wrong)}")
    for violation in found:
        say(f"warning: {violation}")


def compatible(view: FeatureView[Any], root: Path) -> None:
    """Raise `UserError` if the view would take the place of a table of its own version in which columns mean something
    else: one that is gone, of another type, or never missing before. Readers go by the version.
    """
    if not tables.exists(root, view.name):
        return
    try:
        (first, *_) = tables.files(root, view.name)
        before, version = tables.schema_of(first), tables.footer(first).get("version")
    except Damaged:
        return  # it is about to be replaced
    if version == view.version and (changes := breaking(before, view.schema, required(view))):
        raise UserError(f"{view.name}: nothing is published, since columns have changed ({'; '.join(changes)}) and the "
                        f"view's version has not; raise `version` in features/views/{view.name}.py, now {version}")


def required(view: FeatureView[Any]) -> set[str | None]:
    """Columns that the contract of a view wants in each row."""
    return {rule.column for rule in view.contract if rule.presence}


def newer_columns(name: str, part: Path) -> list[pa.Field]:
    """Columns that a table's view has got since a part was written, without a new version: they are missing in each of
    its rows. Nothing is imported unless there are some. Raises `Damaged`.
    """
    there = set(tables.schema_of(part).names)
    version = tables.footer(part).get("version")
    if not _recorded().get(name, {}).get(str(version), {}).keys() - there:
        return []
    view = registry.view_named(name)
    if view is None or view.version != version:
        return []
    return [column for column in view.schema if column.name not in there and column.name not in required(view)]


def with_newer_columns(name: str, part: Path, rows: pa.Table) -> pa.Table:
    """Rows of a part with such columns, behind the others."""
    for column in newer_columns(name, part):
        rows = rows.append_column(column, pa.nulls(len(rows), column.type))
    return rows


@functools.cache
def _recorded() -> dict[str, dict[str, dict[str, str]]]:
    content: dict[str, dict[str, dict[str, str]]] = json.loads(SCHEMAS.read_text(encoding="utf-8"))
    return content


def breaking(old: pa.Schema, new: pa.Schema, needed: Collection[str | None] = ()) -> list[str]:
    """What keeps tables of one version with the old and the new columns from being read as one, in words. New columns
    that may be missing do not, and neither do descriptions of columns.

    `needed`: columns of the new schema that must be there in each row.
    """
    changes = [f"{was.name} is gone" for was in old if was.name not in new.names]
    for now in new:
        if now.name not in old.names:
            if now.name in needed or not now.nullable:
                changes.append(f"{now.name} is new and must not be missing")
        elif (was := old.field(now.name)).type != now.type:
            changes.append(f"{now.name} was {was.type} and is {now.type}")
        elif was.nullable and not now.nullable:
            changes.append(f"{now.name} must not be missing any more")
    return changes


def _by_dataframely(rows: pa.Table, numbered: Mapping[int, Callable[[Any], Any]]) -> dict[int, Mask]:
    """For each expression that is false somewhere, the rows where it is."""
    import dataframely as dy
    import polars as pl

    frame = pl.DataFrame(pl.from_arrow(rows)).with_row_index("_row")
    body: dict[str, Any] = {name: dy.Any() for name in frame.columns}
    for number, holds in numbered.items():
        body[f"_{number}"] = dy.rule()(functools.partial(_given, holds(pl).fill_null(True)))
    schema: Any = type("Contract", (dy.Schema,), body)
    _, failures = schema.filter(frame)
    if not len(failures):
        return {}
    details = failures.details()
    result = {}
    for name in failures.counts():
        mask = np.zeros(len(frame), bool)
        mask[details.filter(pl.col(name) == "invalid")["_row"].to_numpy()] = True
        result[int(name[1:])] = mask
    return result


def _given(expression: Any, _schema: Any) -> Any:
    return expression


def _repeated(rows: pa.Table, key: tuple[str, ...]) -> Mask:
    """Which rows have a key that an earlier one has too."""
    keys = rows.select(list(key)).append_column("_row", pa.array(np.arange(len(rows))))
    firsts = keys.group_by(list(key)).aggregate([("_row", "min")])["_row_min"].to_numpy()
    result = np.ones(len(rows), bool)
    result[firsts] = False
    return result


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
