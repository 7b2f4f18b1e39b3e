"""Which crystals a data set has, and what trains, validates and tests in each fold. No group is in two parts."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.errors import UserError
from features.store import tables
from features.view import column
from model.input import targets as labels

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("group", pa.string(), "reduced formula: what is kept in one fold"),
    column("fold", pa.int32(), "the fold that tests it"),
    column("y", pa.float64(), "what is learned: the target, transformed"),
])
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Population:
    """The crystals of a data set that have a structure and a target, sorted by id."""

    ids: list[str]
    groups: list[str]
    """Reduced formulas."""
    fold: NDArray[np.int32]
    y: NDArray[np.float64]
    """Transformed targets."""

    @classmethod
    def of(cls, root: Path, target: str, transform: str, folds: int) -> Self:
        """From the tables of a project. Raises `UserError` if its splits are others than the matrix asks for."""
        params = tables.footer(tables.files(root, "splits")[0]).get("params", {})
        if (params.get("folds"), params.get("group_by")) != (folds, "reduced_formula"):
            raise UserError(f"the experiments need {folds} folds by reduced formula, but the table splits has "
                            f"{params.get('folds')} by {params.get('group_by')}: set split.folds and split.group_by")
        targets = labels.read_targets(root, target, transform)
        there = set(tables.read(root, "structures", ["material_id"])["material_id"].to_pylist())
        rows = tables.read(root, "splits", ["material_id", "group", "fold"]).sort_by("material_id").to_pylist()
        rows = [row for row in rows if row["material_id"] in targets and row["material_id"] in there]
        result = cls([row["material_id"] for row in rows], [row["group"] for row in rows],
                     np.array([row["fold"] for row in rows], np.int32),
                     np.array([targets[row["material_id"]] for row in rows], np.float64))
        for fold in range(folds):
            if not (result.fold == fold).any():
                raise UserError(f"fold {fold} has no crystal with {target}: the data set is too small for {folds} "
                                "folds")
        return result

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """The inverse of `to_table`."""
        return cls(table["material_id"].to_pylist(), table["group"].to_pylist(), table["fold"].to_numpy(),
                   table["y"].to_numpy())

    def to_table(self) -> pa.Table:
        """As columns of `SCHEMA`."""
        return pa.table([pa.array(self.ids), pa.array(self.groups), pa.array(self.fold), pa.array(self.y)],
                        schema=SCHEMA)

    @functools.cached_property
    def digest(self) -> str:
        """Which crystals, groups, folds and targets these are.

        Of a target nine digits: in its last ones a logarithm differs between processors.
        """
        content = "\n".join(f"{i} {group} {fold} {y:.9g}" for i, group, fold, y in
                            zip(self.ids, self.groups, self.fold.tolist(), self.y.tolist(), strict=True))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def parts(self, fold: int, validation: float, crystals: int | None = None) -> dict[str, str]:
        """Part of each crystal, by its id, when `fold` is tested; a share of the other groups validates.

        A group validates by a hash of its own, so that it does whatever other crystals there are. Of `crystals` only so
        many train and validate, group by group in the order of another hash, so that fewer are a part of more. Raises
        `UserError` for an empty part.
        """
        result = {i: _part(group, mine, fold, validation)
                  for i, group, mine in zip(self.ids, self.groups, self.fold.tolist(), strict=True)}
        if crystals is not None:
            group_of = dict(zip(self.ids, self.groups, strict=True))
            drawn = sorted((i for i, part in result.items() if part != "test"),
                           key=lambda i: (uniform(f"drawn:{group_of[i]}"), i))
            stay = set(drawn[:crystals])
            result = {i: part for i, part in result.items() if part == "test" or i in stay}
        for part in PARTS:
            if part not in result.values():
                raise UserError(f"fold {fold} leaves no crystal for '{part}': the data set is too small")
        return result

    def asked(self, part: str, fold: int, validation: float, crystals: int | None = None) -> list[str]:
        """Ids of a part, sorted."""
        return sorted(i for i, mine in self.parts(fold, validation, crystals).items() if mine == part)


class Predicted(NamedTuple):
    """What a cell predicts, by id, and from how many crystals it has learned."""

    test: dict[str, float]
    validation: dict[str, float]
    n_train: int


def further(root: Path, also: Mapping[str, str], population: Population, fold: int,
            validation: float) -> dict[str, str]:
    """Reduced formula, by id, of the crystals that train, when `fold` is tested, for targets of `train.also` alone.

    They have a structure and no target, so the population does not know them. A formula that is tested or validates
    does so for them, too.
    """
    if not also:
        return {}
    there = set(tables.read(root, "structures", ["material_id"])["material_id"].to_pylist())
    there &= set().union(*labels.read_further(root, also)) - set(population.ids)
    rows = tables.read(root, "splits", ["material_id", "group", "fold"]).to_pylist()
    return {row["material_id"]: row["group"] for row in rows
            if row["material_id"] in there and _part(row["group"], row["fold"], fold, validation) == "train"}


def _part(group: str, mine: int, tested: int, validation: float) -> str:
    """Part of a crystal of the fold `mine` when the fold `tested` is."""
    if mine == tested:
        return "test"
    return "validation" if uniform(f"validation:{tested}:{group}") < validation else "train"


def uniform(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
