"""What is near what: vectors of structures, of crystals that are drawn here."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from features import vectors
from features.views.structures import SCHEMA, TensorizeParams, structure_tensors

PARAMS = TensorizeParams()


def vector_of(*crystals: Any) -> np.ndarray:
    rows = [{"material_id": str(number), **structure_tensors(crystal, PARAMS)}
            for number, crystal in enumerate(crystals)]
    columns = [pa.array([np.asarray(row[field.name]) if pa.types.is_list(field.type) else row[field.name]
                         for row in rows], field.type) for field in SCHEMA]
    return vectors.structure_vectors(pa.Table.from_arrays(columns, schema=SCHEMA), PARAMS.reach)


def test_isotypic_crystals_are_near_whatever_their_elements_and_size(structures: dict[str, Any]) -> None:
    silicon, salt = structures["mp-149"], structures["mp-22862"]
    germanium = silicon.copy()
    germanium.replace_species({"Si": "Ge"})
    germanium.scale_lattice(germanium.volume * 1.13)
    zinc_blende = silicon.copy()
    zinc_blende.replace(0, "Ga")
    zinc_blende.replace(1, "As")
    cube = salt.copy()
    cube.replace_species({"Na": "Po", "Cl": "Po"})
    of_silicon, of_germanium, of_arsenide, of_salt, of_cube = vector_of(silicon, germanium, zinc_blende, salt, cube)
    assert of_germanium == pytest.approx(of_silicon, abs=1e-4)
    assert np.linalg.norm(of_arsenide - of_silicon) > 0.3  # the same places, but other atoms alike
    assert np.linalg.norm(of_cube - of_salt) > 0.3
    assert np.linalg.norm(of_salt - of_silicon) > np.linalg.norm(of_arsenide - of_silicon)


def test_first_numbers_are_known_distances(structures: dict[str, Any]) -> None:
    (of_silicon,) = vector_of(structures["mp-149"])
    mean, spread = np.split(of_silicon, 2)
    # diamond: √3/4 a to 4 atoms, √½ a to 12, √11/4 a to 12; eight atoms fill a³
    expected = np.repeat([np.sqrt(3) / 4, np.sqrt(1 / 2), np.sqrt(11) / 4], [4, 12, 12])[:vectors.NEIGHBOURS] * 2
    assert mean[:vectors.NEIGHBOURS] == pytest.approx(expected, abs=1e-3)
    assert mean[vectors.NEIGHBOURS:] == pytest.approx(expected[:vectors.ALIKE], abs=1e-3)
    assert spread == pytest.approx(0, abs=1e-3)


def test_cell_orientation_and_small_moves(structures: dict[str, Any]) -> None:
    perovskite = structures["mp-5229"]
    doubled = perovskite * (2, 1, 1)
    moved = perovskite.copy()
    moved.translate_sites([0], [0.002, 0, 0])
    plain, of_doubled, of_moved = vector_of(perovskite, doubled, moved)
    assert of_doubled == pytest.approx(plain, abs=1e-4)
    assert 0 < np.linalg.norm(of_moved - plain) < 0.05
