"""Mineral names as Robocrystallographer finds them, without reducing the same prototypes again and again."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
from pymatgen.core import Lattice
from robocrys.condense.mineral import MineralMatcher, ReducedAflowPrototypeMatcher

from features.describer.components import reduced_cell
from features.describer.neighbours import structure_key
from features.describer.site_fingerprints import Fingerprints


class Minerals(MineralMatcher):
    """A mineral matcher that takes fingerprints from `Fingerprints` and remembers reduced prototypes.

    The tables it shares between crystals never change; what belongs to one crystal is replaced for the next.
    """

    mineral_db: Any
    _mineral_db: Any
    _structure: Any

    def __init__(self, fingerprints: Fingerprints) -> None:
        super().__init__()
        self.fingerprints = fingerprints
        self._named: tuple[bytes, dict[str, Any]] = b"", {}
        self._matrix = np.array(self.mineral_db["fingerprint"].tolist())
        # a column, so that sorting the table moves it along: labels of the stock table are not unique
        self.mineral_db = self.mineral_db.assign(
            prototype=[Prototype(structure) for structure in self.mineral_db["structure"]])

    def get_best_mineral_name(self, structure: Any) -> dict[str, Any]:
        """Name of the mineral, see the stock method. Stock also asks for the structure that it puts together again
        from its components; where that is the same one, so is the answer."""
        key = structure_key(structure)
        if key != self._named[0]:
            self._named = key, super().get_best_mineral_name(structure)
        return dict(self._named[1])

    def get_aflow_matches(self, structure: Any) -> list[dict[str, Any]] | None:
        """Prototypes that match, nearest fingerprint first; None if there is none."""
        self._set_distance_matrix(structure)
        shares = _shares(structure)
        if not any(prototype.could_be_cell_of(structure, shares) for prototype in self._mineral_db["prototype"]):
            structure.lattice.get_niggli_reduced_lattice()  # at some lattices stock stops here
            return None
        prototypes: list[dict[str, Any]] | None = _Matcher(self).get_prototypes(structure)
        return prototypes

    def get_fingerprint_matches(self, structure: Any, max_n_matches: int | None = None, match_n_sp: bool = True,
                                mineral_name_constraint: str | None = None) -> list[dict[str, Any]] | None:
        """Minerals with a similar fingerprint, nearest first; None if there is none."""
        if mineral_name_constraint is not None:
            stock: list[dict[str, Any]] | None = super().get_fingerprint_matches(
                structure, max_n_matches, match_n_sp, mineral_name_constraint)
            return stock
        self._set_distance_matrix(structure)
        table = self._mineral_db
        if match_n_sp:
            table = table[table["n_elems"] == structure.n_elems]
        near = table[table["distance"] < self.fingerprint_distance_cutoff]
        rows = list(zip(near["mineral"], near["distance"], near["structure"], strict=True))[:max_n_matches]
        return [{"type": mineral, "distance": distance, "structure": prototype}
                for mineral, distance, prototype in rows] or None

    def _set_distance_matrix(self, structure: Any) -> None:
        if self._structure is structure:
            return
        data = self.mineral_db.copy(deep=False)
        gaps = self._matrix - self.fingerprints.structure(structure)
        data["distance"] = [np.linalg.norm(gap) for gap in gaps]
        self._mineral_db = data.sort_values(by="distance")
        self._structure = structure


class Prototype:
    """A prototype of the stock table, reduced when it is first needed."""

    def __init__(self, structure: Any) -> None:
        self.structure = structure
        self.shares = _shares(structure)

    @cached_property
    def reduced(self) -> Any:
        """Its Niggli-reduced primitive cell, as the stock matcher makes it."""
        return reduced_cell(self.structure)

    def could_be_cell_of(self, structure: Any, shares: tuple[float, ...]) -> bool:
        """Whether it `could_match` a primitive cell of the structure: the structure holds a whole number of them."""
        return self._has(shares) and len(structure) % len(self.reduced) == 0

    def could_match(self, shares: tuple[float, ...], sites: int) -> bool:
        """An anonymous match needs the same shares of elements and, in reduced cells, as many sites."""
        return self._has(shares) and len(self.structure) % sites == 0 and len(self.reduced) == sites

    def _has(self, shares: tuple[float, ...]) -> bool:
        return len(shares) == len(self.shares) and max(
            abs(a - b) for a, b in zip(shares, self.shares, strict=True)) < 1e-6


class _Matcher(ReducedAflowPrototypeMatcher):
    """The stock matcher, comparing only prototypes that could match."""

    def __init__(self, minerals: Minerals) -> None:
        super().__init__(initial_ltol=minerals.initial_ltol, initial_stol=minerals.initial_stol,
                         initial_angle_tol=minerals.initial_angle_tol, mineral_db=minerals._mineral_db)
        self._reduced: tuple[Any, Any] | None = None

    def _match_prototype(self, structure_matcher: Any, s: Any) -> list[dict[str, Any]]:
        if self._reduced is None or self._reduced[0] is not s:
            self._reduced = s, reduced_cell(s)
        reduced = self._reduced[1]
        shares = _shares(reduced)
        table = self._mineral_db
        return [
            {"type": mineral, "distance": distance, "structure": prototype.structure}
            for prototype, mineral, distance in zip(
                table["prototype"], table["mineral"], table["distance"], strict=True)
            if prototype.could_match(shares, len(reduced)) and _lattices_match(structure_matcher, prototype, reduced)
            and structure_matcher.fit_anonymous(prototype.reduced, reduced, skip_structure_reduction=True)
        ]


def _lattices_match(matcher: Any, prototype: Prototype, reduced: Any) -> bool:
    """Whether some cell of the prototype is like that of the structure, which a match needs whatever the atoms are."""
    own = prototype.reduced.lattice
    ratio = (reduced.volume / own.volume) ** (1 / 6)  # both are brought to the same volume
    ours = SimpleNamespace(lattice=Lattice(own.matrix * ratio))
    return next(matcher._get_lattices(Lattice(reduced.lattice.matrix / ratio), ours), None) is not None


def _shares(structure: Any) -> tuple[float, ...]:
    """Sorted shares of the elements."""
    composition = structure.composition
    return tuple(sorted(amount / composition.num_atoms for amount in composition.values()))
