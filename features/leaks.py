"""What a training set gives away: crystals on two sides of the split, and the target among the inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.store import chosen, tables
from features.store.chosen import VARIANT, Crystals, Ints, Rows
from features.views.materials import PROPERTIES

OF_TEXTS = ("descriptions", "paraphrases", "text_embeddings", "text_tokens")
"""Views that say what a description says."""
RANK = 0.99
"""Rank correlation with the target from which a column counts as the target in other words."""
ENOUGH = 10
"""Crystals that a correlation needs to say anything."""
STATED = 0.1
"""By how large a share of the crystals a text states its own target's value more often than another crystal's text
does: numbers such as 2.31 stand in texts by chance, as bond lengths."""
EXAMPLES = 5
KEYS = 256
"""Properties of a map column that are looked at."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """Something that whoever trains on a set should know."""

    kind: str
    """`group_on_two_sides`, `formula_on_two_sides`, `crystal_on_two_sides`, `text_on_two_sides`, `target_in_inputs`,
    `target_in_text`; or `without_target`, `without_split`, `without_<view>` for crystals that are left out."""
    leak: bool
    """Whether a test error may be too good for it."""
    message: str
    count: int
    """How many groups, crystals or texts it is true of."""
    examples: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


class Inputs:
    """The numeric columns of the views of a set, NaN where a crystal has no value."""

    def __init__(self, crystals: int) -> None:
        self.crystals = crystals
        self.columns: dict[str, Floats] = {}
        self.views: list[str] = []

    def of(self, view: str, columns: Sequence[str]) -> Callable[[Rows], list[tuple[str, Ints, Floats]]]:
        """What takes the numbers out of rows of a view that are at hand."""
        self.views.append(view)

        def seen(rows: Rows) -> list[tuple[str, Ints, Floats]]:
            table, place = rows.table, rows.place
            if VARIANT in table.column_names:
                table, place = _first_variant(table, place)
            return [(f"{view}.{name}", where, values) for column in columns
                    for name, where, values in _numbers(column, table[column].combine_chunks(), place)]

        return seen

    def take(self, told: Sequence[list[tuple[str, Ints, Floats]]]) -> None:
        """Put together what was seen of all windows."""
        for some in told:
            for name, place, values in some:
                if name not in self.columns:
                    self.columns[name] = np.full(self.crystals, np.nan)
                self.columns[name][place] = values


def check(folder: Path, target: str, crystals: Crystals, rows: pa.Table, inputs: Inputs) -> list[Finding]:
    """All that a set gives away.

    Args:
        folder: the project folder whose tables are read.
        target: name of the property.
        crystals: of the set.
        rows: `features.training_sets.ROWS` of each.
        inputs: the numbers of its views.
    """
    splits: list[str] = rows["split"].to_pylist()
    groups: list[str | None] = rows["group"].to_pylist()
    formulas, hashes = _columns(folder, "materials", ["reduced_formula", "structure_hash"], crystals)
    found: list[Finding] = []
    if groups != formulas:
        found += _on_two_sides("group_on_two_sides", "group", groups, splits, crystals)
    found += _on_two_sides("formula_on_two_sides", "reduced formula", formulas, splits, crystals)
    found += _on_two_sides("crystal_on_two_sides", "crystal", hashes, splits, crystals)
    values = rows["target"].to_numpy()
    found += _in_inputs(target, values, inputs)
    if "descriptions" in tables.names(folder) and any(view in OF_TEXTS for view in inputs.views):
        found += _texts(folder, target, values, splits, crystals)
    return found


def left_out(counts: Mapping[str, int]) -> list[Finding]:
    """What is said of crystals that are no part of a set, by the reason."""
    words = {"without_target": "have no target", "without_split": "have no split"}
    return [Finding(kind, False, f"{_counted(count, 'crystal')} {words.get(kind, 'have no row in ' + kind[8:])}"
                    .replace("1 crystal have", "1 crystal has"), count, [])
            for kind, count in counts.items() if count]


def _on_two_sides(kind: str, what: str, keys: Sequence[str | bytes | None], splits: Sequence[str],
                  crystals: Crystals) -> Iterator[Finding]:
    first: dict[str | bytes, int] = {}
    both: dict[str | bytes, tuple[int, int]] = {}
    for number, key in enumerate(keys):
        if key is not None and splits[first.setdefault(key, number)] != splits[number]:
            both.setdefault(key, (first[key], number))
    if both:
        names = crystals.ids
        examples = [f"{names[one]} ({splits[one]}) and {names[other]} ({splits[other]})"
                    for one, other in list(both.values())[:EXAMPLES]]
        yield Finding(kind, True, f"{_counted(len(both), what)} on two sides of the split: {examples[0]}", len(both),
                      examples)


def _in_inputs(target: str, values: Floats, inputs: Inputs) -> Iterator[Finding]:
    known = np.isfinite(values)
    for name, column in inputs.columns.items():
        both = known & np.isfinite(column)
        count = int(both.sum())
        if count < 2:
            continue
        mine, goal = column[both], values[both]
        if (mine == goal).all():
            how = f"is {target} itself"
        elif count < ENOUGH or (abs(rank := rank_correlation(mine, goal)) < RANK):
            continue
        else:
            how = f"follows {target} with a rank correlation of {rank:.4f}"
        yield Finding("target_in_inputs", True, f"{name} {how}, over {count} crystals", count, [name])


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's; 0 for a column of one value."""
    ranks = [_ranks(values) for values in (one, other)]
    spread = [values.std() for values in ranks]
    if min(spread) == 0:
        return 0.0
    return float(np.mean(np.prod([(values - values.mean()) / std for values, std in zip(ranks, spread, strict=True)],
                                 axis=0)))


def _ranks(values: Floats) -> Floats:
    """Of equal values the mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: Floats = np.cumsum(counts) - (counts - 1) / 2
    return means[which]


def _texts(folder: Path, target: str, values: Floats, splits: Sequence[str], crystals: Crystals) -> Iterator[Finding]:
    """Equal descriptions on two sides, and descriptions that name the target or state its value."""
    digests: list[bytes | None] = [None] * len(crystals)
    named: list[str] = []
    own = others = asked = 0
    words = _words_for(target)
    previous = ""
    for window in chosen.windows(folder, "descriptions"):
        rows = chosen.read(window, ["text"], crystals)
        for number, text in zip(rows.place.tolist(), rows.table["text"].to_pylist(), strict=True):
            digests[number] = hashlib.sha256(text.encode()).digest()[:16]
            lower = text.lower()
            if any(word in lower for word in words):
                named.append(str(crystals.ids[number]))
            if numbers := _written(values[number]):
                asked += 1
                own += any(one in text for one in numbers)
                others += any(one in previous for one in numbers)
            previous = text
    yield from _on_two_sides("text_on_two_sides", "description", digests, splits, crystals)
    if named:
        yield Finding("target_in_text", True, f"{_counted(len(named), 'description')} speak of {words[0]}", len(named),
                      named[:EXAMPLES])
    if asked >= ENOUGH and own - others > STATED * asked:
        yield Finding("target_in_text", True, f"{own} of {asked} descriptions state their crystal's {target}; that of "
                      f"another crystal stands in {others}", own, [])


def _words_for(target: str) -> list[str]:
    """What a text calls a property; the names of one or two letters stand for anything."""
    means = PROPERTIES[target][0].partition(",")[0].removeprefix("electronic part of the ") if target in PROPERTIES \
        else target
    return [word.lower() for word in dict.fromkeys([means, target, target.replace("_", " ")]) if len(word) > 3]


def _written(value: float) -> list[str]:
    """How a text would write a value: with three digits or more, since shorter numbers stand for anything."""
    if not np.isfinite(value):
        return []
    ways = {f"{value:.{places}f}" for places in (1, 2, 3, 4)} | {repr(float(value))}
    return [way for way in ways if len(way.strip("-0.").replace(".", "")) >= 3]


def _columns(folder: Path, table: str, names: Sequence[str], crystals: Crystals) -> list[list[Any]]:
    """Columns of a table that has one row of each crystal, in the order of these."""
    made: list[list[Any]] = [[None] * len(crystals) for _ in names]
    for window in chosen.windows(folder, table):
        rows = chosen.read(window, names, crystals)
        for column, name in zip(made, names, strict=True):
            for number, value in zip(rows.place.tolist(), rows.table[name].to_pylist(), strict=True):
                column[number] = value
    return made


def _first_variant(table: pa.Table, place: Ints) -> tuple[pa.Table, Ints]:
    first = np.flatnonzero(table[VARIANT].to_numpy() == 0)
    return table.take(pa.array(first)), place[first]


def _numbers(name: str, array: pa.Array, place: Ints) -> Iterator[tuple[str, Ints, Floats]]:
    """The numbers of a column; of a map to numbers those of each key."""
    kind = array.type
    if pa.types.is_map(kind) and pa.types.is_floating(kind.item_type):
        keys = pc.unique(array.keys).to_pylist()
        for key in keys[:KEYS]:
            values = pc.map_lookup(array, pa.scalar(key), "first")
            yield f"{name}.{key}", place, values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        yield name, place, array.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _counted(count: int, what: str) -> str:
    several = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count} {what if count == 1 else several}"
