"""How large a crystal may be that a file describes: the file of one may say that it has a million atoms."""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import RowError


@dataclass(frozen=True)
class Bounds:
    """Of what is read from one file."""

    sites: int = 3000
    """Atoms of its cell, which need not be the primitive one."""
    operations: int = 2000
    """Symmetry operations that it lists."""

    def check_sites(self, count: int) -> None:
        """Raises `RowError` (`over_bound`) for more atoms."""
        if count > self.sites:
            raise RowError("over_bound", f"the cell holds {count} atoms, more than {self.sites}")

    def check_operations(self, count: int) -> None:
        """Raises `RowError` (`over_bound`) for more operations."""
        if count > self.operations:
            raise RowError("over_bound", f"the file lists {count} symmetry operations, more than {self.operations}")


BOUNDS = Bounds()
"""Where nobody says otherwise."""
