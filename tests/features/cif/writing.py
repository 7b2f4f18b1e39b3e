"""CIFs of well-known crystals for tests, written line by line so that each test changes what it is about."""

from __future__ import annotations

from collections.abc import Sequence

import gemmi

ROCK_SALT = (("Na1", "Na", 0, 0, 0), ("Cl1", "Cl", 0.5, 0.5, 0.5))


def operations(name: str) -> list[str]:
    """Triplets of a space group in a setting."""
    group = gemmi.find_spacegroup_by_name(name)
    assert group is not None
    return [operation.triplet() for operation in group.operations()]


def cif(*lines: str, cell: Sequence[float] = (5.64, 5.64, 5.64, 90, 90, 90), triplets: Sequence[str] = (),
        columns: Sequence[str] = ("label", "type_symbol", "fract_x", "fract_y", "fract_z"),
        sites: Sequence[Sequence[object]] = ROCK_SALT) -> str:
    """A CIF with further `lines` after the cell; `sites` are rows of the `_atom_site_` columns."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    text = ["data_x", *(f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)), *lines]
    if triplets:
        text += ["loop_", "_space_group_symop_operation_xyz", *(f"'{triplet}'" for triplet in triplets)]
    text += ["loop_", *(f"_atom_site_{name}" for name in columns)]
    text += [" ".join(str(value) for value in site) for site in sites]
    return "\n".join(text) + "\n"
