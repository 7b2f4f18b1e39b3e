"""What the values of a table may be: rules in words, each with the check that it stands for.

A view declares its rules beside its schema, and `features.contract` checks them. Those on plain values are expressions
of polars, which dataframely evaluates; those on vectors, where there are billions of numbers, are vectorised here over
Arrow's own buffers. Nothing slow is imported before a rule is checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
CRYSTAL_SYSTEMS = {"triclinic": (1, 2), "monoclinic": (3, 15), "orthorhombic": (16, 74), "tetragonal": (75, 142),
                   "trigonal": (143, 167), "hexagonal": (168, 194), "cubic": (195, 230)}
"""First and last number of the space groups of each crystal system."""
_SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh "
    "Fl Mc Lv Ts Og")
SYMBOLS = _SYMBOLS.split()
"""Of the elements, by atomic number from 1."""
BLOCK = 1 << 22
"""Numbers that are looked at together."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that holds of every row. A missing value breaks no rule but that it be there."""

    column: str | None
    """The column that it speaks of; None where it is about several."""
    rule: str
    """The rule as a plain sentence."""
    hard: bool = True
    """Whether a row that breaks it stops the publish. What only a source can know, as an energy, is remarked on."""
    mostly: bool = False
    """Whether a rule that is not hard becomes so where most rows break it: then the whole column is in another unit."""
    presence: bool = False
    """Whether it says that the column is never missing."""
    needs: tuple[str, ...] = ()
    """Columns that the check reads."""
    holds: Callable[[Any], Any] | None = None
    """Given the module polars: an expression that is true where the rule holds; null counts as true."""
    broken: Callable[[pa.RecordBatch], Mask] | None = None
    """Of rows: which of them break the rule."""
    size: Callable[[pa.RecordBatch], NDArray[np.int64]] | None = None
    """Of rows: a number that is the same in all rows of the table; those that have none say -1."""
    refers: str | None = None
    """The table of which a row must exist with these columns (`needs`); checked where that table lies too."""


def present(*columns: str) -> tuple[Rule, ...]:
    """These columns have a value in each row."""
    def rule(name: str) -> Rule:
        return Rule(column=name, rule=f"{name} is never missing", presence=True, needs=(name,),
                    holds=lambda pl: pl.col(name).is_not_null())

    return tuple(map(rule, columns))


def no_gaps(*columns: str) -> tuple[Rule, ...]:
    """Lists, and lists in them, in which no entry is missing."""
    def rule(name: str) -> Rule:
        return Rule(column=name, rule=f"no entry of {name} is missing", needs=(name,),
                    broken=lambda rows: has_gap(rows.column(name)))

    return tuple(map(rule, columns))


def within(column: str, low: float | None = None, high: float | None = None, unit: str = "", *, said: bool = False,
           open_low: bool = False) -> Rule:
    """A number's range, ends included unless `open_low`. `said`: by a source, so that a value beyond is remarked on."""
    unit = f" {unit}" if unit else ""
    if low is not None and high is not None:
        words = f"{'more than' if open_low else 'from'} {low:g} to {high:g}{unit}"
    elif low is not None:
        words = f"{'more than' if open_low else 'at least'} {low:g}{unit}"
    else:
        words = f"at most {high:g}{unit}"

    def holds(pl: Any) -> Any:
        value, result = pl.col(column), pl.lit(True)
        if low is not None:
            result &= value > low if open_low else value >= low
        return result & (value <= high) if high is not None else result

    return Rule(column=column, rule=f"{column} is {words}", hard=not said, mostly=said, needs=(column,), holds=holds)


def one_of(column: str, words: Sequence[str], *, said: bool = False) -> Rule:
    """A text that is one of some words. `said`: by a source, see `within`."""
    return Rule(column=column, rule=f"{column} is one of: {', '.join(words)}", hard=not said, mostly=said,
                needs=(column,), holds=lambda pl: pl.col(column).is_in(list(words)))


def each_of(column: str, words: Sequence[str], what: str | None = None) -> Rule:
    """A list of texts, each of them one of some words."""
    return Rule(column=column, rule=f"each entry of {column} is {what or 'one of: ' + ', '.join(words)}",
                needs=(column,), holds=lambda pl: pl.col(column).list.eval(pl.element().is_in(list(words))).list.all())


def matching(column: str, pattern: str, what: str) -> Rule:
    """A text that is matched whole by a regular expression."""
    return Rule(column=column, rule=f"{column} is {what}", needs=(column,),
                holds=lambda pl: pl.col(column).str.contains(f"^(?:{pattern})$"))


def relation(rule: str, needs: Sequence[str], holds: Callable[[Any], Any], column: str | None = None,
             hard: bool = True) -> Rule:
    """What holds between columns, as an expression of polars."""
    return Rule(column=column, rule=rule, hard=hard, needs=tuple(needs), holds=holds)


def not_blank(column: str) -> Rule:
    """A text that says something."""
    return Rule(column=column, rule=f"{column} is not blank", needs=(column,),
                holds=lambda pl: pl.col(column).str.contains(r"\S"))


def finite(*columns: str) -> tuple[Rule, ...]:
    """Numbers, in lists and structs too, none of which is NaN or infinite."""
    def rule(name: str) -> Rule:
        return Rule(column=name, rule=f"every number of {name} is finite", needs=(name,),
                    broken=lambda rows: not_finite(rows.column(name)))

    return tuple(map(rule, columns))


def not_zero(column: str) -> Rule:
    """A vector that points somewhere."""
    return Rule(column=column, rule=f"{column} is not zero in all its numbers", needs=(column,),
                broken=lambda rows: _all_zero(rows.column(column)))


def same_length(column: str, *, inner: bool = False) -> Rule:
    """Vectors that are equally long in all rows; `inner`: those within a list of them."""
    if inner:
        return Rule(column=column, rule=f"all vectors of {column} have one length in the whole table", needs=(column,),
                    size=lambda rows: _inner_length(rows.column(column)))
    return Rule(column=column, rule=f"{column} has one length in the whole table", needs=(column,),
                size=lambda rows: lengths(rows.column(column)))


def as_many(columns: Sequence[str], least: int = 0) -> Rule:
    """Lists of one row that are equally long, those that are not missing."""
    more = f", at least {least}" if least else ""
    return Rule(column=None, rule=f"{', '.join(columns)} have as many entries as each other{more}",
                needs=tuple(columns), broken=lambda rows: _unequal([rows.column(name) for name in columns], least))


def refers(columns: Sequence[str], table: str) -> Rule:
    """A row of another table that must exist."""
    return Rule(column=columns[0], rule=f"{' and '.join(columns)} are those of a row of {table}"
                if len(columns) > 1 else f"{columns[0]} is that of a row of {table}", needs=tuple(columns),
                refers=table)


def arrays(rule: str, needs: Sequence[str], broken: Callable[[pa.RecordBatch], Mask]) -> Rule:
    """What holds between lists of one row, as a vectorised function of many rows."""
    return Rule(column=None, rule=rule, needs=tuple(needs), broken=broken)


def lengths(array: pa.Array) -> NDArray[np.int64]:
    """Entries of each list; -1 for a missing one."""
    return pc.fill_null(pc.list_value_length(array), -1).to_numpy(zero_copy_only=False).astype(np.int64)


def largest(array: pa.Array, of: np.ufunc = np.maximum, empty: int = -1) -> NDArray[np.int64]:
    """Largest (or with `np.minimum` smallest) integer of each list; `empty` for a list without any."""
    values = array.flatten().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return of_lists(array, values, of, empty)


def of_lists(array: pa.Array, values: NDArray[Any], of: np.ufunc, empty: float) -> NDArray[Any]:
    """What a function makes of the values of each list, of which there is one for each entry; `empty` for a list
    without any."""
    counts = lengths(array).clip(0)
    result = np.full(len(array), empty, values.dtype)
    there = np.flatnonzero(counts)
    if len(there):
        starts = np.cumsum(counts[there]) - counts[there]
        result[there] = of.reduceat(values, starts)
    return result


def has_gap(array: pa.Array) -> Mask:
    """Which lists of an array have an entry that is missing, however deep in lists of lists."""
    result: Mask = np.zeros(len(array), bool)
    if _is_list(array.type):
        entries = array.flatten()
        inner = has_gap(entries)
        if entries.null_count:
            inner |= entries.is_null().to_numpy(zero_copy_only=False)
        if inner.any():
            result[pc.list_parent_indices(array).to_numpy()[inner]] = True
    return result


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def not_finite(array: pa.Array) -> Mask:
    """Which elements of an array hold a number that is NaN or infinite, however deep. What is missing holds none."""
    kind = array.type
    if pa.types.is_floating(kind):
        return _not_finite_numbers(array)
    if pa.types.is_map(kind):
        array = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        kind = array.type
    result: Mask = np.zeros(len(array), bool)
    if _is_list(kind):
        inner = not_finite(array.flatten())
        if inner.any():
            result[pc.list_parent_indices(array).to_numpy()[inner]] = True
    elif pa.types.is_struct(kind):
        for field in array.flatten():
            result |= not_finite(field)
    return result


def _not_finite_numbers(array: pa.Array) -> Mask:
    values = (array.fill_null(0) if array.null_count else array).to_numpy(zero_copy_only=False)
    if values.dtype == np.float16:  # numpy takes ten times as long over halves as over their bits
        result = np.empty(len(values), bool)
        for start in range(0, len(values), BLOCK):
            bits = values[start:start + BLOCK].view(np.uint16)
            np.equal(bits & 0x7C00, 0x7C00, out=result[start:start + BLOCK])
        return result
    wrong: Mask = ~np.isfinite(values)
    return wrong


def _all_zero(array: pa.Array) -> Mask:
    values = array.flatten().fill_null(0).to_numpy(zero_copy_only=False)
    if values.dtype == np.float16:  # by their bits, as above; the sign counts for nothing
        values = values.view(np.uint16) & 0x7FFF
    wrong: Mask = (lengths(array) > 0) & ~of_lists(array, values != 0, np.logical_or, False)
    return wrong


def _inner_length(array: pa.Array) -> NDArray[np.int64]:
    """The length of the vectors of each list of them; -1 for one without any, -2 where they differ."""
    counts, inner = lengths(array).clip(0), lengths(array.flatten())
    result = np.full(len(array), -1, np.int64)
    there = np.flatnonzero(counts)
    if len(there):
        starts = np.cumsum(counts[there]) - counts[there]
        low, high = np.minimum.reduceat(inner, starts), np.maximum.reduceat(inner, starts)
        result[there] = np.where(low == high, low, -2)
    return result


def _unequal(columns: Sequence[pa.Array], least: int) -> Mask:
    counts = np.stack([lengths(column) for column in columns])
    there = counts >= 0
    high = counts.max(axis=0)
    low = np.where(there, counts, high).min(axis=0)
    wrong: Mask = (low != high) | (there.any(axis=0) & (high < least))
    return wrong


def shown(values: Sequence[object]) -> str:
    """A key in words: `mp-149` or `mp-149/1`."""
    return "/".join("–" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
                    for value in values)
