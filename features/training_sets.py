"""Training sets: which crystals a model learns, validates and is tested on, from which rows of which tables, under one
name.

    import features

    chosen = features.training_set("k_vrh", ["structures", "descriptions.text"])
    chosen.name        # k_vrh@5f3a…: the same name means the same rows
    chosen.findings    # what of the test crystals may be known from training
    chosen.table()     # the rows joined, as a polars frame
    chosen.save("k_vrh.json")

A set holds its crystals with their targets and splits, and of each view a digest of exactly the rows that belong to it,
from the values alone (`features.store.canonical`). So a set can be found again in another version of the tables, and
what is different there has a name (`TrainingSet.differences`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from features import joined, leaks, selection
from features.errors import RowError, UserError
from features.leaks import Finding
from features.paths import Paths
from features.reading import TABLE_BYTES, read_bytes
from features.selection import SPLITS
from features.store import chosen, git, revisions, tables, versions
from features.store.files import write_text
from features.view import column
from features.views import materials

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor

FORMAT = 1
VIEWS = ("structures", "descriptions")
"""What a set has by default: each crystal as tensors and in words."""
ROWS = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("group", pa.string(), "what is kept together (table splits)"),
    column("fold", pa.int32(), "number of the fold in k-fold cross-validation"),
    column("split", pa.string(), "train, validation or test"),
    column("target", pa.float64(), "the property to learn, in its own unit; null for a training crystal that has a "
           "further target alone"),
])


@dataclass(frozen=True)
class ViewRows:
    """What of a table belongs to a set."""

    columns: tuple[str, ...]
    """Besides the key."""
    version: int
    """Of the view when the rows were made; 0 for a table that does not say."""
    optional: bool
    """Whether crystals without a row of it belong to the set."""
    rows: int
    digest: str
    """sha256 over the values of these rows, in the order of `features.store.chosen`."""
    buckets: str
    """The first bytes of the digest of each range of crystals, which tell where rows differ."""


@dataclass(frozen=True, eq=False, repr=False)
class TrainingSet:
    """A named set of crystals with their targets, splits and rows of several views."""

    target: str
    unit: str
    """Of the target; empty if it has none or nobody has said it."""
    also: tuple[str, ...]
    """Further targets: columns of `rows`."""
    split: str
    """Where the splits come from: `splits`, the table; `fold-N`; `given`."""
    filter: str
    """Condition on `materials` in SQL that the crystals fulfil; empty if there is none."""
    rows: pa.Table
    """Columns `ROWS` and `also`, a row for each crystal, in the order of `features.store.chosen`."""
    views: Mapping[str, ViewRows]
    findings: tuple[Finding, ...] = ()
    """What the leak check says; no part of the digest."""
    version: str | None = None
    """The published version that it was made from, if it was one; no part of the digest."""
    revision: str | None = None
    """The commit that it was made from, if a revision was asked for; no part of the digest."""
    root: Path = Path()
    """The project whose tables it is read from."""
    _where: Path | None = None
    """The folder whose tables were last found to hold it."""

    def __repr__(self) -> str:
        return f"<TrainingSet {self.name}: {self.in_words()}>"

    def __len__(self) -> int:
        """Number of crystals."""
        return len(self.rows)

    def in_words(self) -> str:
        """How many crystals it has, as in `31 crystals (train 20, validation 8, test 3)`."""
        return f"{len(self)} crystals ({', '.join(f'{split} {count}' for split, count in self.sizes.items())})"

    @cached_property
    def digest(self) -> str:
        """sha256 over all that decides what is learned from what: target, splits, filter, and the rows of each view."""
        content = {"format": FORMAT, "target": self.target, "unit": self.unit, "also": self.also, "split": self.split,
                   "filter": self.filter, "rows": self._columns(), "views": {
                       name: [view.version, view.columns, view.optional, view.rows, view.digest]
                       for name, view in self.views.items()}}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The target and the first digits of the digest, such as `k_vrh@8159fb32258a04ef`."""
        return f"{self.target}@{self.digest[:16]}"

    @property
    def sizes(self) -> dict[str, int]:
        """Number of crystals of each split."""
        counts = dict(zip(*(part.to_pylist() for part in self.rows["split"].combine_chunks().value_counts().flatten()),
                          strict=True))
        return {split: counts.get(split, 0) for split in SPLITS}

    @property
    def split_of(self) -> dict[str, str]:
        """The split of each crystal, by its id."""
        return dict(zip(self.rows["material_id"].to_pylist(), self.rows["split"].to_pylist(), strict=True))

    # the rows, joined

    def batches(self, split: str | None = None, variants: bool = False) -> Iterator[pa.Table]:
        """The joined rows, part by part, as `arrow` has them: in memory is never more than a part of each table.

        Raises `UserError` where the project's tables do not hold this set.
        """
        if split not in (None, *SPLITS):
            raise UserError(f"no split '{split}'; there are: {', '.join(SPLITS)}")
        where = self.find()
        columns = {name: view.columns for name, view in self.views.items()}
        yield from joined.batches(where, self.crystals, self.rows, columns, split, variants)

    def arrow(self, split: str | None = None, variants: bool = False) -> pa.Table:
        """The joined rows: the columns of `rows`, then those of the views; a name that two of them have stands behind
        the view's, as in `descriptions.space_group`.

        Args:
            split: train, validation or test; all by default.
            variants: one row for each wording of a crystal's text, with a column `variant`; else one for each crystal,
                with the description itself (variant 0).
        """
        return pa.concat_tables(self.batches(split, variants))

    def table(self, split: str | None = None, variants: bool = False) -> pl.DataFrame:
        """The same as a polars frame."""
        import polars as pl

        frame = pl.from_arrow(self.arrow(split, variants))
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 (of a table it makes no series)
        return frame

    def torch(self, split: str | None = None, variants: bool = False) -> dict[str, Tensor]:
        """The numbers of the joined rows as tensors, by column.

        `[rows]` for a number and `[rows, n]` for lists of one length; other lists end to end, `[values]`, with
        `<column>.starts`, `[rows + 1]`, where each row begins. Missing numbers are NaN, as floats; texts are left out.
        """
        return joined.tensors(self.arrow(split, variants))

    # the same rows elsewhere

    def find(self) -> Path:
        """The project folder that has its rows: of `revision`, of `version` where that is on this machine, or else of
        what is published now.

        Raises `UserError` if the tables there do not hold this set.
        """
        if self._where is None:
            version = self.version or ""  # of a file that anybody may have written
            here = versions.ID.fullmatch(version) and Paths(self.root).version(version).is_dir()
            where = revisions.at(self.root, self.revision or (version if here else None))
            if differences := self.differences(where):
                raise UserError(f"the tables are not those of {self.name}: {differences[0]}"
                                + (f" ({len(differences)} differences)" if len(differences) > 1 else ""))
            object.__setattr__(self, "_where", where)
        return self._where  # type: ignore[return-value]

    def differences(self, where: Path) -> list[str]:
        """In words, what of a project folder's tables is not what this set was made from; nothing if it is all there.

        It reads all rows of the set once.
        """
        there = tables.names(where)
        if gone := [f"there is no table {name}" for name in ("materials", *self.views) if name not in there]:
            return gone
        return [*chain.from_iterable(self._other_targets(where, name) for name in (self.target, *self.also)),
                *chain.from_iterable(self._other_rows(where, name) for name in self.views)]

    def _other_targets(self, where: Path, name: str) -> Iterator[str]:
        now = selection.read_targets(where, name)
        before = self.rows["target" if name == self.target else name].to_pylist()
        for i, value in zip(self.rows["material_id"].to_pylist(), before, strict=True):
            if now.get(i) != value:
                yield f"{name} of {i} is {now.get(i)} in materials, and was {value}"

    def _other_rows(self, where: Path, name: str) -> Iterator[str]:
        view, version = self.views[name], selection.version_of(where, name)
        names = tables.schema(where, name).names
        if missing := [one for one in view.columns if one not in names]:
            yield f"{name} has no column {missing[0]}"
            return
        rows, buckets, _ = chosen.measured(where, name, view.columns, self.crystals)
        if version != view.version:
            yield f"{name} has version {version}, and had {view.version}"
        if rows != view.rows:
            yield f"{name} has {rows} rows of these crystals, and had {view.rows}"
        if chosen.total(buckets) != view.digest:
            for ids in chosen.differing(view.buckets, chosen.short(buckets, self.crystals), self.crystals):
                few = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
                of = f"the row of {few}" if len(ids) == 1 else f"the row of one of {len(ids)} crystals ({few})"
                yield f"{of} in {name} is another one"

    @cached_property
    def crystals(self) -> chosen.Crystals:
        """The crystals in their order."""
        return chosen.Crystals(self.rows["material_id"].to_pylist())

    # as JSON

    def _columns(self) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = self.rows.to_pydict()
        return columns

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "format": FORMAT, "name": self.name, "digest": self.digest, "target": self.target, "unit": self.unit,
            "also": list(self.also), "split": self.split, "filter": self.filter,
            "made_from": {"version": self.version, "revision": self.revision},
            "views": {name: {**vars(view), "columns": list(view.columns)} for name, view in self.views.items()},
            "findings": [finding.to_dict() for finding in self.findings],
            "rows": self._columns(),
        }

    def text(self) -> str:
        """As it stands in a file."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":")) + "\n"

    def save(self, path: str | Path) -> None:
        """Write it as JSON; `load` reads it."""
        write_text(Path(path), self.text())

    @classmethod
    def load(cls, path: str | Path, root: str | Path = ".", at: str | None = None) -> Self:
        """Read a set that `save` wrote. Its rows are looked for in the project below `root`, when they are first asked
        for: at the revision `at` or, by default, where it was made from.

        Raises `UserError` if there is none, or if the file does not hold what was written.
        """
        try:
            return cls.parse(read_bytes(Path(path), TABLE_BYTES), str(path), root, at)
        except RowError as error:
            raise UserError(f"{path}: {error}") from None

    @classmethod
    def parse(cls, raw: bytes, called: str, root: str | Path = ".", at: str | None = None) -> Self:
        """The same of the bytes of a file that is called so in errors."""
        try:
            content = json.loads(raw)
            if content["format"] != FORMAT:
                raise UserError(f"{called} is a training set of format {content['format']}, this version reads "
                                f"{FORMAT}")
            also = tuple(content["also"])
            made = cls(
                target=content["target"], unit=content["unit"], also=also, split=content["split"],
                filter=content["filter"], rows=pa.Table.from_pydict(content["rows"], schema=_rows_schema(also)),
                views={name: ViewRows(**{**view, "columns": tuple(view["columns"])})
                       for name, view in content["views"].items()},
                findings=tuple(Finding(**one) for one in content["findings"]),
                version=content["made_from"]["version"], revision=at or content["made_from"]["revision"],
                root=Path(root))
            whole = made.digest == content["digest"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, pa.ArrowException) as error:
            raise UserError(f"{called} is no training set, or is damaged ({error})") from None
        if not whole:
            raise UserError(f"{called} is damaged: it does not hold the set that it names")
        return made


def training_set(target: str, views: Sequence[str] = VIEWS, split: str | Mapping[str, str] | None = None,
                 at: str | None = None, root: str | Path = ".", *, optional: Sequence[str] = (),
                 also: Sequence[str] = (), where: str = "", strict: bool = False) -> TrainingSet:
    """The crystals that have a target, a split and a row in each view, as one named set, checked for leaks.

    Args:
        target: a numeric property: a column of `materials`, or a key of its `other_properties`.
        views: tables with all their columns, or columns as `table.column`: `["structures", "materials.density"]`.
        split: None is the table `splits`; `fold-N` tests fold N of it, validates on the next and trains on the others;
            or the split of each crystal by its id (train, validation, test).
        at: a git revision or tag; the published version by default.
        root: the project folder.
        optional: those of `views` that a crystal of the set may have no row in.
        also: further targets. A training crystal needs any one of the targets, the others need `target`.
        where: a condition in SQL on the columns of `materials`, such as `nsites <= 50`.
        strict: raise for a leak instead of only naming it.

    Raises:
        UserError: if there is no such table, column, property or revision; if no crystal is left in one of the three
            splits; with `strict`, if a finding is a leak.
    """
    folder = revisions.at(Path(root), at)
    version = folder.name if folder.absolute().parent == Paths(Path(root)).versions.absolute() else None
    revision = None
    if at not in (None, revisions.PUBLISHED, revisions.WORK, version):
        revision = git.resolve(Path(root), str(at))
    return made_from(folder, target, views, split, optional=optional, also=also, where=where, strict=strict,
                     version=version, revision=revision, root=Path(root))


def made_from(folder: Path, target: str, views: Sequence[str], split: str | Mapping[str, str] | None = None, *,
              optional: Sequence[str] = (), also: Sequence[str] = (), where: str = "", strict: bool = False,
              version: str | None = None, revision: str | None = None, root: Path | None = None) -> TrainingSet:
    """The same from the tables below a folder as they are: for stages, which read the work tree."""
    wanted = selection.columns_of(folder, views)
    if unknown := sorted(set(optional) - set(wanted)):
        raise UserError(f"'{unknown[0]}' is optional, but no view of the set; these are: {', '.join(wanted)}")
    if taken := next((name for name in also if name in (target, *ROWS.names)), None):
        raise UserError(f"'{taken}' is no further target: the rows of a set have it already")
    values = {name: selection.read_targets(folder, name) for name in (target, *also)}
    splits = selection.splits_of(folder, split)
    ids = selection.fulfilling(folder, where)
    training = {i for i, (_, _, part) in splits.items() if part == "train"}
    labelled = [i for i in ids if i in values[target]
                or (i in training and any(i in values[further] for further in also))]
    placed = pa.array([i for i in labelled if i in splits], pa.string())
    left_out = {"without_target": len(ids) - len(labelled), "without_split": len(labelled) - len(placed)}
    for name in wanted:
        if name not in optional:
            there = chosen.present(folder, name, placed)
            left_out[f"without_{name}"], placed = len(placed) - len(there), there
    crystals = chosen.Crystals(placed.to_pylist())
    order = crystals.ids.to_pylist()
    for name in SPLITS:
        if not any(splits[i][2] == name for i in order):
            lacking = [finding.message for finding in leaks.left_out(left_out)]
            raise UserError(f"no crystal with {target} is left in the split {name}"
                            + (f" ({', '.join(lacking)})" if lacking else "")
                            + ": take more crystals, other views or another split")
    rows = pa.table([crystals.ids, *(pa.array([splits[i][number] for i in order], ROWS.field(number + 1).type)
                                     for number in range(3)),
                     *(pa.array([one.get(i) for i in order], pa.float64()) for one in values.values())],
                    schema=_rows_schema(tuple(also)))
    inputs = leaks.Inputs(target, rows["target"].to_numpy())
    measured = {}
    for name, columns in wanted.items():
        count, buckets, told = chosen.measured(folder, name, columns, crystals, inputs.of(name, columns))
        inputs.take(told)
        measured[name] = ViewRows(tuple(columns), selection.version_of(folder, name), name in optional, count,
                                  chosen.total(buckets), chosen.short(buckets, crystals))
    findings = (*leaks.check(folder, crystals, rows, inputs), *leaks.left_out(left_out))
    if strict and (found := [finding for finding in findings if finding.leak]):
        raise UserError(f"the training set leaks: {found[0].message}"
                        + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""))
    unit = materials.unit_of(target, tables.footer(tables.files(folder, "materials")[0]))
    how = "splits" if split is None else split if isinstance(split, str) else "given"
    return TrainingSet(target, unit, tuple(also), how, where, rows, measured, findings, version, revision,
                       folder if root is None else root, folder)


def _rows_schema(also: Sequence[str]) -> pa.schema:
    return pa.schema([*ROWS, *(column(name, pa.float64(), "a further target, in its own unit") for name in also)])
