"""The contract of a feature view: a pure function with a schema."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic

import pyarrow as pa

from features.errors import RowError, UserError
from features.libraries import BASELINE, installed
from features.params import S
from features.rules import Rule
from features.terminal import printable

FINGERPRINT = "_fingerprint"
ENVIRONMENT = (UserError, OSError, MemoryError, ImportError)
"""Errors that belong to the machine or the set-up, not to a row: they stop a run and never become a reject.

Every `OSError` is one, since `compute` opens no file of a row: a full disk, a failing one, too many open files. The one
place where a row's own file is opened says which errors are that file's (`features.crystal_files`). A package that
cannot be imported is missing for every row.
"""

TRANSIENT = ("timeout", "crash", "memory", "over_bound")
"""Rejects that say something of the machine, or of bounds that may be set higher: the next run tries them again."""

begins: ContextVar[Callable[[int], None]] = ContextVar("begins", default=lambda _index: None)
"""What a `compute` calls with the index of each unit as it begins it: a worker's time-out is that of one unit."""


@dataclass(frozen=True)
class Reject:
    """A row that cannot be computed: `error` is its kind, `message` says why in words."""

    material_id: str
    error: str
    message: str


@dataclass(frozen=True)
class Batch:
    """What `compute` returns for a table of units: finished rows and rejects. Every unit has one or the other."""

    rows: pa.Table
    """In the view's schema."""
    owners: list[int]
    """For each row, the index of the unit it was made from."""
    rejects: dict[int, Reject]
    """By index of the unit."""


def column(name: str, dtype: pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    """A table column. Description and unit travel in the field's metadata, into Parquet and the catalog."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, dtype, metadata=metadata)


def only_input(tables: Mapping[str, pa.Table]) -> pa.Table:
    """The usual case: one unit of work per row of the one upstream table."""
    (table,) = tables.values()
    return table


def _no_digest(_params: Any) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class FeatureView(Generic[S]):
    """What a feature is. The engine in `pipelines.engine.materialize` does everything else.

    A *unit* is one row of work: `compute` turns a table of units into rows of `schema`, one or more per unit, or
    a reject. It is pure: no files, no network, no clock, no global state, and a unit's rows do not depend on the
    other units of the table.
    """

    name: str
    """Table name = output folder = SQL view."""
    stage: str
    """Name of the stage that makes it = its section in `params.yaml`."""
    key: tuple[str, ...]
    """Columns that identify a row; the first is always `material_id`."""
    inputs: Mapping[str, tuple[str, ...]]
    """Upstream tables and the columns read from each. Other columns may change without recomputing anything."""
    schema: pa.Schema
    """Every field carries a description and, where it has one, a unit."""
    version: int
    """Raised by hand when the meaning of a value changes."""
    contract: tuple[Rule, ...] = ()
    """What holds of the values beyond their types: checked before a table is published, and by `features validate`."""
    params: type[S]
    """The frozen model of this stage's section."""
    compute: Callable[[pa.Table, S], Batch]
    """Units in, (rows, rejects) out."""
    units: Callable[[Mapping[str, pa.Table]], pa.Table] = only_input
    """Joins the upstream tables into units."""
    libraries: tuple[str, ...] = ()
    """Distributions whose version decides the value, and stands in the header."""
    baselined: tuple[str, ...] = ()
    """Further ones, whose version stands in the header only where it is not that of `BASELINE`. Headers did not name
    them at first, and the rows of that time stay valid. A library that is new belongs in `libraries`."""
    digest: Callable[[S], str] = _no_digest
    """Digest of anything else that decides the value, such as network weights."""
    resolve: Callable[[S], S] = lambda params: params
    """Gives the parameters with a note of what they stand for exactly, such as the commit of a hub id. Called once
    before the first row, by the process that starts a run: no other asks a server, and all workers use the same.
    """
    notes: Callable[[S], Mapping[str, Any]] = lambda _params: {}
    """What of the resolved parameters is written into the footers of the table, and is no part of a fingerprint."""
    absent: Callable[[S], str] = lambda _params: ""
    """What a run would fetch before `digest` can be told, in words; empty if all of it is on this machine."""
    batch_size: int = 64
    """Units per call of `compute`."""
    timeout_s: Callable[[S], float | None] = lambda _params: None
    """Longest time for one unit, enforced by executors that have worker processes."""
    memory_bytes: Callable[[S], int | None] = lambda _params: None
    """Most memory of a worker process, enforced by executors that have some: what needs more is a reject."""
    wanted: Callable[[S], bool] = lambda _params: True
    """Whether the section asks for the view at all; if not, its table is empty."""
    parallel: Callable[[S], bool] = lambda _params: True
    """Whether worker processes help; if not, the default executor is `serial`."""
    gpu: Callable[[S], bool] = lambda _params: False
    """Whether it needs a GPU; a cluster then gives it only to workers that have one."""
    preload: tuple[str, ...] = field(default=())
    """Modules that a worker imports before its first unit."""

    def params_type_check(self, params: S) -> None:
        """Raise `TypeError` if `params` is not this view's model."""
        if not isinstance(params, self.params):
            raise TypeError(f"view {self.name} takes {self.params.__name__}, not {type(params).__name__}")

    def header(self, params: S) -> dict[str, Any]:
        """What decides a value besides the unit itself: the common part of all row fingerprints."""
        self.params_type_check(params)
        return {
            "view": self.name,
            "version": self.version,
            "params": params.deciding(),
            "libraries": {name: version for name, version in self.versions().items()
                          if name in self.libraries or version != BASELINE[name]},
            "digest": self.digest(params),
        }

    def versions(self) -> dict[str, str]:
        """Versions of all libraries that decide the value. Raises `UserError` if one is not installed."""
        return {name: installed(name) for name in (*self.libraries, *self.baselined)}

    def fingerprints(self, units: pa.Table, params: S) -> list[bytes]:
        """sha256 of header and unit, for each unit: the only cache key anywhere."""
        return fingerprints_of(self.header(params), units)


def fingerprints_of(header: Mapping[str, Any], units: pa.Table) -> list[bytes]:
    """sha256 of a header and each of some units."""
    prefix = hashlib.sha256(_canonical_json(header))
    result = []
    for batch in units.to_batches(max_chunksize=4096):
        for unit in batch.to_pylist():
            digest = prefix.copy()
            digest.update(_canonical_json(unit))
            result.append(digest.digest())
    return result


class Rowwise(Generic[S]):
    """Makes a `compute` out of a function of one unit: one row or several, each a dict; an exception is a reject."""

    def __init__(self, function: Callable[[dict[str, Any], S], dict[str, Any] | list[dict[str, Any]]],
                 schema: pa.Schema) -> None:
        self.function = function
        self.schema = schema
        functools.update_wrapper(self, function)

    def __call__(self, units: pa.Table, params: S) -> Batch:
        rows: list[dict[str, Any]] = []
        owners: list[int] = []
        rejects: dict[int, Reject] = {}
        begin = begins.get()
        for index, unit in enumerate(units.to_pylist()):
            begin(index)
            try:
                with row_errors(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what a library remarks on a crystal is for no terminal
                    made = self.function(unit, params)
            except RowError as error:
                rejects[index] = reject(unit["material_id"], error)
            else:
                several = [made] if isinstance(made, dict) else made
                rows += several
                owners += [index] * len(several)
        return Batch(rows_to_table(rows, self.schema), owners, rejects)

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers find the decorated function where it is defined; its undecorated self has no importable name.
        return (_find, (self.function.__module__, self.function.__qualname__))


def _find(module: str, name: str) -> Any:
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def rowwise(schema: pa.Schema) -> Callable[[Callable[[dict[str, Any], S], Any]], Rowwise[S]]:
    """Decorator form of `Rowwise`."""
    return lambda function: Rowwise(function, schema)


@contextlib.contextmanager
def row_errors(kind: str | None = None, prefix: str = "") -> Iterator[None]:
    """The one rule for exceptions: those of `ENVIRONMENT` stop the run, any other is the row's: a `RowError`.

    So one bad crystal never stops a run, and a full disk is never taken for a property of a crystal.

    Args:
        kind: of the `RowError`; the name of the exception's class if None, else that name begins the message.
        prefix: begins the message.
    """
    try:
        yield
    except (*ENVIRONMENT, RowError):
        raise
    except Exception as error:
        name = type(error).__name__
        raise RowError(kind or name, f"{prefix}{f'{name}: ' if kind else ''}{error}") from error


def reject(material_id: str, error: BaseException) -> Reject:
    """A reject with the exception's own words."""
    kind = error.kind if isinstance(error, RowError) else type(error).__name__
    return Reject(material_id, kind, printable(" ".join(str(error).split()))[:500] or kind)


def rows_to_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table. A missing or an extra key is a bug in the view, and says so."""
    rows = list(rows)
    names = set(schema.names)
    for row in rows:
        if row.keys() != names:
            raise TypeError(f"row keys differ from the schema: {sorted(row.keys() ^ names)}")
    columns = [pa.array([row[f.name] for row in rows], type=f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True)
"""Made once: `json.dumps` would make one for each unit."""


def _canonical_json(value: object) -> bytes:
    return _CANONICAL.encode(value).encode()
