"""Promise 4: the same crystal, however it is written down, gives the same row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

from features import crystal
from features.errors import RowError
from tests.conftest import CRYSTALS

IDS = sorted(path.stem for path in CRYSTALS.glob("*.cif"))
SUPERCELLS = ([[2, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 0], [0, 1, 0], [1, 0, 2]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
              [[1, 2, 0], [0, 1, 0], [0, 3, 1]])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(IDS), st.integers(0, 2**32 - 1), st.sampled_from(SUPERCELLS))
def test_atom_order_origin_orientation_and_cell_change_nothing(material_id: str, seed: int, cell: list[Any]) -> None:
    original = Structure.from_file(CRYSTALS / f"{material_id}.cif")
    rng = np.random.default_rng(seed)
    other = original.copy()
    other.make_supercell(cell)
    other.translate_sites(range(len(other)), rng.random(3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    other.apply_operation(SymmOp.from_rotation_and_translation(rotation, [0, 0, 0]))
    other = Structure.from_sites([other[index] for index in rng.permutation(len(other))])
    assert crystal.to_cif(crystal.canonical_structure(other)) == crystal.to_cif(crystal.canonical_structure(original))


@pytest.mark.parametrize("material_id", IDS)
def test_canonical_crystal(structures: dict[str, Any], material_id: str) -> None:
    original = structures[material_id]
    canonical = crystal.canonical_structure(original)
    text = crystal.to_cif(canonical)
    assert crystal.to_cif(crystal.from_cif(text)) == text
    assert crystal.to_cif(crystal.canonical_structure(canonical)) == text
    assert StructureMatcher(scale=False, attempt_supercell=False, ltol=0.01, stol=0.01).fit(original, canonical)
    assert abs(canonical.volume / len(canonical) - original.volume / len(original)) < 0.01
    assert list(canonical.atomic_numbers) == sorted(canonical.atomic_numbers)


def test_file_format_changes_nothing(structures: dict[str, Any]) -> None:
    original = structures["mp-22862"]
    expected = crystal.structure_hash(crystal.canonical_structure(original))
    for other in (Structure.from_str(str(CifWriter(original)), "cif"),
                  Poscar.from_str(Poscar(original).get_str(significant_figures=12)).structure,
                  Structure.from_dict(original.as_dict())):
        assert crystal.structure_hash(crystal.canonical_structure(other)) == expected


def test_mirror_images_stay_apart() -> None:
    """α-quartz in P3_1 21 and P3_2 21 are different crystals."""
    hands = [Structure.from_spacegroup(group, Lattice.hexagonal(4.913, 5.405), ["Si", "O"],
                                       [[0.4697, 0, z], [0.4135, 0.2669, sign * 0.1191 + shift]])
             for group, z, sign, shift in (("P3_121", 1 / 3, 1, 0.0), ("P3_221", 2 / 3, -1, 0.0))]
    hashes = {crystal.structure_hash(crystal.canonical_structure(hand)) for hand in hands}
    assert len(hashes) == 2


def test_different_crystals_differ(structures: dict[str, Any]) -> None:
    hashes = {crystal.structure_hash(crystal.canonical_structure(s)) for s in structures.values()}
    assert len(hashes) == len(structures)


@pytest.mark.parametrize(("structure", "kind"), [
    (Structure(Lattice.cubic(4), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]]), "disordered"),
    (Structure(Lattice.cubic(4), [{"Cu": 0.5}], [[0, 0, 0]]), "disordered"),
    (Structure(Lattice.cubic(4), ["Cu", "Cu"], [[0, 0, 0], [0.02, 0, 0]]), "overlapping"),
    (Structure(Lattice.cubic(0.9), ["Cu"], [[0, 0, 0]]), "implausible"),
    (Structure(Lattice.cubic(1.1), ["Cu"], [[0, 0, 0]]), "implausible"),
    (Structure(Lattice.cubic(361), ["Cu"], [[0, 0, 0]]), "implausible"),
    (Structure(Lattice.cubic(4), [], []), "empty"),
])
def test_what_has_no_canonical_crystal(structure: Structure, kind: str) -> None:
    with pytest.raises(RowError) as error:
        crystal.canonical_structure(structure)
    assert error.value.kind == kind
