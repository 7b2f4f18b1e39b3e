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

TEXTS = "descriptions"
WORDED = (TEXTS, "paraphrases")
"""Views whose column `text` says what a description says."""
ENCODED = ("text_embeddings", "text_tokens")
"""Views all of which say so."""
RANK = 0.99
"""Rank correlation with the target from which a column counts as the target in other words."""
ENOUGH = 10
"""Crystals that a correlation needs to say anything."""
STATED = 0.1
"""By how large a share of the crystals a text states its own target's value more often than another crystal's text
does: numbers such as 2.31 stand in texts by chance, as bond lengths."""
SEARCHED = 10_000
"""Crystals whose descriptions are searched for their values. They are the first by the hashes of their ids, so any."""
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


@dataclass(frozen=True)
class Seen:
    """What the rows of a window say."""

    numbers: list[tuple[str, Ints, Floats]]
    """Of each numeric column its name, the crystals and their values."""
    texts: Texts | None
    """Of descriptions."""


@dataclass(frozen=True)
class Texts:
    """What some descriptions say of a target."""

    place: Ints
    digests: list[bytes]
    named: list[int]
    """Crystals whose description speaks of the target."""
    asked: int
    """Descriptions that were searched for the value of the target."""
    own: int
    """Those of them that state the value of their crystal."""
    others: int
    """Those that state the value of another one."""


class Inputs:
    """What the views of a set say of its crystals: numbers, NaN where there is none, and descriptions."""

    def __init__(self, target: str, values: Floats) -> None:
        """`values`: the target of each crystal."""
        self.target, self.values = target, values
        self.columns: dict[str, Floats] = {}
        self.reads_text = False
        self.texts: list[Texts] = []

    def of(self, view: str, columns: Sequence[str]) -> Callable[[Rows], Seen]:
        """What looks at rows of a view that are at hand."""
        self.reads_text |= view in ENCODED or (view in WORDED and "text" in columns)

        def seen(rows: Rows) -> Seen:
            texts = _texts(self.target, self.values, rows) if view == TEXTS and "text" in columns else None
            table, place = rows.table, rows.place
            if VARIANT in table.column_names:
                table, place = _first_variant(table, place)
            return Seen([(f"{view}.{name}", where, values) for column in columns
                         for name, where, values in _numbers(column, table[column].combine_chunks(), place)], texts)

        return seen

    def take(self, told: Sequence[Seen]) -> None:
        """Put together what was seen of all windows."""
        for one in told:
            for name, place, values in one.numbers:
                if name not in self.columns:
                    self.columns[name] = np.full(len(self.values), np.nan)
                self.columns[name][place] = values
            self.texts += [one.texts] if one.texts is not None else []


def check(folder: Path, crystals: Crystals, rows: pa.Table, inputs: Inputs) -> list[Finding]:
    """All that a set gives away.

    Args:
        folder: the project folder whose tables are read.
        crystals: of the set.
        rows: `features.training_sets.ROWS` of each.
        inputs: what its views say.
    """
    splits: list[str] = rows["split"].to_pylist()
    groups: list[str | None] = rows["group"].to_pylist()
    formulas, hashes = _columns(folder, "materials", ["reduced_formula", "structure_hash"], crystals)
    found: list[Finding] = []
    if groups != formulas:
        found += _on_two_sides("group_on_two_sides", "group", groups, splits, crystals)
    found += _on_two_sides("formula_on_two_sides", "reduced formula", formulas, splits, crystals)
    found += _on_two_sides("crystal_on_two_sides", "crystal", hashes, splits, crystals)
    found += _in_inputs(inputs)
    if TEXTS in tables.names(folder) and inputs.reads_text:
        texts = inputs.texts or [_texts(inputs.target, inputs.values, chosen.read(window, ["text"], crystals))
                                 for window in chosen.windows(folder, TEXTS)]
        found += _in_texts(texts, inputs.target, splits, crystals)
    return found


def left_out(counts: Mapping[str, int]) -> list[Finding]:
    """What is said of crystals that are no part of a set, by the reason."""
    words = {"without_target": "target", "without_split": "split"}
    return [Finding(kind, False, f"{_counted(count, 'crystal')} {'has' if count == 1 else 'have'} no "
                    f"{words.get(kind, 'row in ' + kind.removeprefix('without_'))}", count, [])
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


def _in_inputs(inputs: Inputs) -> Iterator[Finding]:
    target, values = inputs.target, inputs.values
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


def _texts(target: str, values: Floats, rows: Rows) -> Texts:
    """Look at the column `text` of some rows. Values are looked for in the first `SEARCHED` crystals of all."""
    texts = rows.table["text"].combine_chunks()
    named = pa.array(np.zeros(len(texts), bool))
    for word in _words_for(target):
        named = pc.or_(named, pc.match_substring(texts, word, ignore_case=True))
    written = texts.to_pylist()
    asked = own = others = 0
    for number in np.flatnonzero(rows.place < SEARCHED).tolist():
        if numbers := _written(values[rows.place[number]]):
            asked += 1
            own += any(one in written[number] for one in numbers)
            others += any(one in written[number - 1] for one in numbers)  # of the first it is the last one
    return Texts(rows.place, [hashlib.sha256(text.encode()).digest()[:16] for text in written],
                 rows.place[named.to_numpy(zero_copy_only=False)].tolist(), asked, own, others)


def _in_texts(texts: Sequence[Texts], target: str, splits: Sequence[str], crystals: Crystals) -> Iterator[Finding]:
    """Equal descriptions on two sides, and descriptions that name the target or state its value."""
    digests: list[bytes | None] = [None] * len(crystals)
    for some in texts:
        for number, digest in zip(some.place.tolist(), some.digests, strict=True):
            digests[number] = digest
    yield from _on_two_sides("text_on_two_sides", "description", digests, splits, crystals)
    if named := [number for some in texts for number in some.named]:
        yield Finding("target_in_text", True, f"{_counted(len(named), 'description')} "
                      f"speak{'s' * (len(named) == 1)} of {_words_for(target)[0]}",
                      len(named), [str(crystals.ids[number]) for number in named[:EXAMPLES]])
    asked, own, others = (sum(getattr(some, name) for some in texts) for name in ("asked", "own", "others"))
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
