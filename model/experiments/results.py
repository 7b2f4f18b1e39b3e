"""Finished cells on disk: one small Parquet file for each data set, target, arm and control, below `docs/experiments/`.

A file has one row a cell, so that work goes on where it stopped on any machine that has the repository. Beside them lie
the crystals of each data set and target with their groups, folds and targets: a summary needs nothing else.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.errors import UserError
from features.paths import Paths
from features.store.files import beside, write_beside
from features.view import column
from model.experiments.folds import Population
from model.experiments.matrix import Cell

SCHEMA = pa.schema([
    column("dataset", pa.string(), "data set of the matrix"),
    column("target", pa.string(), "target of the matrix"),
    column("arm", pa.string(), "arm of the matrix"),
    column("control", pa.string(), "control of the matrix; none for the arm itself"),
    column("fold", pa.int32(), "the fold that was tested"),
    column("seed", pa.int32(), "seed"),
    column("fingerprint", pa.string(), "digests of what was asked for, of the tables and of the code"),
    column("crystals", pa.string(), "digest of the data set's crystals, groups, folds and targets"),
    column("n_train", pa.int32(), "number of training crystals"),
    column("commit", pa.string(), "commit of the code; + where files differed from it"),
    column("arithmetic", pa.string(), "machine, instructions, device, threads: where these agree, so do the bytes"),
    column("seconds", pa.float32(), "how long the cell took"),
    column("material_id", pa.list_(pa.string()), "the crystals of the fold, sorted"),
    column("predicted", pa.list_(pa.float32()), "their predictions, transformed"),
    column("validated", pa.list_(pa.float32()), "predictions of the validation crystals, sorted by id"),
    column("digest", pa.string(), "of crystals and predictions"),
])


@dataclass(frozen=True)
class Finished:
    """A cell that has been run."""

    cell: Cell
    fingerprint: str
    crystals: str
    n_train: int
    commit: str
    arithmetic: str
    seconds: float
    ids: list[str]
    predicted: NDArray[np.float32]
    """Of the crystals of the fold."""
    validated: NDArray[np.float32]
    """Of the crystals that stopped the training, sorted by id."""

    @property
    def digest(self) -> str:
        """Of crystals and predictions."""
        return hashlib.sha256("\n".join(self.ids).encode() + self.predicted.tobytes()
                              + self.validated.tobytes()).hexdigest()[:16]


class Results:
    """The finished cells of a project."""

    def __init__(self, root: Path) -> None:
        self.folder = Paths(root).experiments

    def path(self, cell: Cell) -> Path:
        """The file of a cell."""
        return self.folder / f"{cell.dataset}.{cell.target}.{cell.arm}.{cell.control}.parquet"

    def all(self) -> list[Finished]:
        """Every finished cell. Raises `UserError` for a damaged file or a prediction that is not what was stored."""
        return [one for path in sorted(self.folder.glob("*.parquet")) for one in self.read(path)]

    def read(self, path: Path) -> list[Finished]:
        """The cells of one file; none if there is no such file."""
        if not path.exists():
            return []
        try:
            rows = pq.read_table(path, schema=SCHEMA).to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}); take it from the repository again, or "
                            "delete it to run its cells anew") from None
        result = []
        for row in rows:
            cell = Cell(**{name: row[name] for name in Cell.__dataclass_fields__})
            one = Finished(cell, row["fingerprint"], row["crystals"], row["n_train"], row["commit"], row["arithmetic"],
                           row["seconds"], row["material_id"], np.array(row["predicted"], np.float32),
                           np.array(row["validated"], np.float32))
            if one.digest != row["digest"]:
                raise UserError(f"{path}: the predictions of {cell} are not those that were stored; take the file from "
                                "the repository again, or delete it to run its cells anew")
            result.append(one)
        return result

    def add(self, finished: Finished) -> None:
        """Store a cell in the place of the one that was there. One process may write at a time."""
        path = self.path(finished.cell)
        others = [one for one in self.read(path) if one.cell != finished.cell]
        self.write(path, [*others, finished])

    def write(self, path: Path, cells: list[Finished]) -> None:
        """Write a file whole, sorted; the bytes depend on the cells alone."""
        rows = [{**asdict(one.cell), "fingerprint": one.fingerprint, "crystals": one.crystals, "n_train": one.n_train,
                 "commit": one.commit, "arithmetic": one.arithmetic, "seconds": one.seconds, "material_id": one.ids,
                 "predicted": one.predicted, "validated": one.validated, "digest": one.digest}
                for one in sorted(cells, key=lambda one: (one.cell.fold, one.cell.seed))]
        with beside(path) as draft:
            # the same ids in the same order, seed after seed, are what zstd sees best without a dictionary
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), draft, compression="zstd", compression_level=9,
                           use_dictionary=False, write_statistics=False)

    def population(self, dataset: str, target: str) -> Population:
        """The crystals that the stored predictions are for."""
        path = self._crystals(dataset, target)
        if not path.exists():
            raise UserError(f"{path} does not exist: python -m model.experiments run writes it")
        return Population.from_table(pq.read_table(path))

    def keep(self, dataset: str, target: str, population: Population) -> None:
        """Store the crystals that predictions are for from now on; those for other crystals no longer count."""
        path = self._crystals(dataset, target)
        if not path.exists() or Population.from_table(pq.read_table(path)).digest != population.digest:
            write_beside(population.to_table(), path)

    def _crystals(self, dataset: str, target: str) -> Path:
        return self.folder / "crystals" / f"{dataset}.{target}.parquet"
