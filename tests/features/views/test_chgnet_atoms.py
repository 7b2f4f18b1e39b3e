"""Atom vectors of the pretrained network: frozen, of the right crystal, marked for what they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features import crystal
from features.errors import RowError, UserError
from features.store import tables
from features.views import chgnet_atoms
from features.views.chgnet_atoms import ChgnetParams
from pipelines.engine import stages
from tests.conftest import make_project, set_params


def test_vectors_of_real_crystals(structures: dict[str, Any]) -> None:
    silicon, salt = (crystal.canonical_structure(structures[i]) for i in ("mp-149", "mp-22862"))
    vectors = chgnet_atoms.atom_vectors(silicon, "0.3.0")
    assert vectors.shape == (2, 64)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)  # alike by symmetry
    other = chgnet_atoms.atom_vectors(salt, "0.3.0")
    assert np.abs(other[0] - other[1]).max() > 0.1
    assert np.abs(chgnet_atoms.atom_vectors(silicon, "r2scan") - vectors).max() > 1e-3


def test_an_atom_without_neighbours_is_a_reject() -> None:
    from pymatgen.core import Lattice, Structure

    lonely = Structure(Lattice.cubic(12.0), ["He"], [[0, 0, 0]])
    with pytest.raises(RowError, match="isolated"):
        chgnet_atoms.atom_vectors(lonely, "0.3.0")


def test_the_stage_makes_nothing_unless_asked(tmp_path: Path) -> None:
    root = make_project(tmp_path, only=["mp-149", "mp-22862", "mp-30"])
    stages.run("ingest", root, "serial")
    assert stages.run("chgnet", root, "serial").wanted == 0
    assert len(tables.read(root, "chgnet_atoms")) == 0
    set_params(root, chgnet={"model": "0.3.0"})
    assert stages.run("chgnet", root, "serial").computed == 3
    row = tables.read(root, "chgnet_atoms", ids=["mp-149"]).to_pylist()[0]
    assert len(row["atom_vectors"]) == 2 * chgnet_atoms.DIM
    assert row["pretrained_on"].startswith("CHGNet 0.3.0: energies")
    footer = tables.footer(tables.files(root, "chgnet_atoms")[0])
    assert footer["digest"] == chgnet_atoms.digest(ChgnetParams(model="0.3.0"))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match="chgnet"):
        chgnet_atoms.digest(ChgnetParams(model="0.3.0"))
