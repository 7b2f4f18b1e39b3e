"""What is to be done for a view: its units' fingerprints, and what the row store has of them."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import UserError
from features.params import Section
from features.paths import Paths
from features.store import placement
from features.store.rowstore import RowStore, marks
from features.view import TRANSIENT, FeatureView, Reject
from pipelines.engine.units import Units

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Work:
    """The units of a view by their index in the order of positions: some 50 bytes each, whatever is in them."""

    units: Units
    starts: Indices
    """Index of each window's first unit, and the number of units."""
    positions: Indices
    fingerprints: pa.Array
    are_rows: Mask
    """Whether the row store has a unit's rows."""
    rejects: list[Reject]
    """All that the row store has."""
    reject_of: NDArray[np.int32]
    """Place of each unit's reject in that list; -1 where it has none."""

    def __len__(self) -> int:
        return len(self.positions)

    def missing(self, retry_rejected: bool) -> Indices:
        """The units to compute; equal units only once."""
        settled = np.array([reject.error not in TRANSIENT and not retry_rejected for reject in self.rejects] + [False])
        return self._once(~self.are_rows & ~settled[self.reject_of])  # the last one is that of -1

    def lost(self) -> Indices:
        """The units that are neither rows nor rejects; equal units only once."""
        return self._once(~self.are_rows & (self.reject_of < 0))

    def rejected(self) -> Iterator[Reject]:
        """The rejects of all units that are no rows."""
        return (self.rejects[number] for number in self.reject_of[~self.are_rows].tolist())

    def renewed(self, store: RowStore) -> Work:
        """The same with what the row store has now."""
        return dataclasses.replace(self, **_stored(store, self.fingerprints))

    def batches(self, chosen: Indices, size: int) -> Iterator[tuple[Indices, pa.Table]]:
        """Chosen units, some at a time, with their indices."""
        for window, (first, end) in enumerate(itertools.pairwise(self.starts.tolist())):
            inside = chosen[slice(*np.searchsorted(chosen, (first, end)))]
            for start in range(0, len(inside), size):
                group = inside[start:start + size]
                yield group, self.units.window(window).take(pa.array(group - first))

    def marks_by_part(self, are_rows: Mask) -> Iterator[pa.Array]:
        """Fingerprints of the rows of each part file, if these units are rows."""
        parts = placement.number_of_parts(int(are_rows.sum()))
        bounds = np.searchsorted(self.positions, [placement.part_range(part, parts)[0] for part in range(parts)])
        for first, end in itertools.pairwise([*bounds.tolist(), len(self)]):
            yield self.fingerprints[first:end].filter(pa.array(are_rows[first:end]))

    def part_digests(self, are_rows: Mask) -> Iterator[str]:
        """What the footer of each part file says of its inputs."""
        for part in self.marks_by_part(are_rows):
            yield hashlib.sha256(b"".join(sorted(part.to_pylist()))).hexdigest()

    def _once(self, chosen: Mask) -> Indices:
        indices = np.flatnonzero(chosen)
        codes = self.fingerprints.filter(pa.array(chosen)).dictionary_encode()
        if len(codes.dictionary) < len(indices):
            indices = indices[np.unique(codes.indices.to_numpy(), return_index=True)[1]]  # in order: codes are
        return indices


def survey(view: FeatureView[Any], params: Section, root: Path, units: Units | pa.Table,
           store: RowStore | None = None) -> Work:
    """Fingerprint every unit and look up which of them are finished. Rows that lie damaged in the store are not."""
    units = units if isinstance(units, Units) else Units.of(units)
    starts, positions, fingerprints = [0], [np.zeros(0, np.int64)], [marks([])]
    for window in units:
        positions.append(placement.positions(window["material_id"].to_pylist()))
        fingerprints.append(marks(view.fingerprints(window, params)))
        starts.append(starts[-1] + len(window))
    every = pa.concat_arrays(fingerprints)
    return Work(units, np.array(starts), np.concatenate(positions), every,
                **_stored(store or store_of(view, root), every))


def store_of(view: FeatureView[Any], root: Path) -> RowStore:
    """The row store of a view."""
    return RowStore(Paths(root).rowstore(view.name), view.schema, view.version)


def check_unchanged(view: FeatureView[Any], params: Section, work: Work, group: Indices, units: pa.Table) -> None:
    """Raise `UserError` if units that were read again are not those that were fingerprinted."""
    if work.units.windows > 1 and not marks(view.fingerprints(units, params)).equals(
            work.fingerprints.take(pa.array(group))):
        raise UserError(f"{view.name}: its inputs were changed while this run read them; run it again")


def _stored(store: RowStore, fingerprints: pa.Array) -> dict[str, Any]:
    """What the row store has of these units: the last fields of `Work`."""
    rows, rejects = store.finished()
    places = pc.fill_null(pc.index_in(fingerprints, value_set=marks(list(rejects))), -1)
    return {"are_rows": pc.is_in(fingerprints, value_set=rows).to_numpy(zero_copy_only=False),
            "rejects": list(rejects.values()), "reject_of": places.to_numpy()}
