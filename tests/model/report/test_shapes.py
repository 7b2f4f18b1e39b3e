"""Bonds are those that the description means, for every atom and in every direction."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.records import Shape
from model.report.shapes import shape_of
from tests.model.report.example import structure_row

DESCRIBED = json.loads((Path(__file__).parent / "descriptions.json").read_text())


def lengths(shape: Shape, atom: int) -> list[float]:
    lattice, fractions = np.array(shape.lattice), np.array(shape.frac_coords)
    return sorted(float(np.linalg.norm((fractions[other] + step - fractions[atom]) @ lattice))
                  for one, other, *step in shape.bonds if one == atom)


@pytest.mark.parametrize("name", DESCRIBED)
def test_an_atom_has_the_bonds_of_its_site(name: str) -> None:
    sites = DESCRIBED[name]["sites"]
    shape = shape_of(structure_row(name), sites)
    for atom, element in enumerate(shape.elements):
        (site,) = (site for site in sites if site["element"] == element)
        listed = sorted(length for entry in site["neighbours"] for length in entry["distances"])
        assert lengths(shape, atom) == pytest.approx(listed, abs=1e-3)
        around = Counter(shape.elements[other] for one, other, *_ in shape.bonds if one == atom)
        assert around == {entry["element"]: entry["count"] for entry in site["neighbours"]}
    called = {site["element"] for site in sites if site["polyhedron"]}
    assert {shape.elements[atom] for atom in shape.polyhedra} == called


def test_bonds_are_mutual() -> None:
    """Each bond is listed from the other end, too."""
    shape = shape_of(structure_row("mp-938"), DESCRIBED["mp-938"]["sites"])
    there = set(shape.bonds)
    assert {(other, one, -a, -b, -c) for one, other, a, b, c in there} == there


def test_sites_that_name_their_atoms_are_taken_at_their_word() -> None:
    """Of two oxygens that differ in name only, each has the neighbours of its own site."""
    row = structure_row("mp-5229")
    strontium, titanium, oxygen = DESCRIBED["mp-5229"]["sites"]
    atoms = {name: [atom for atom, number in enumerate(row["atomic_numbers"]) if number == z]
             for name, z in (("Sr", 38), ("Ti", 22), ("O", 8))}
    bare = {**oxygen, "labels": [2], "neighbours": [], "coordination_number": 0, "atoms": atoms["O"][:1]}
    sites: list[dict[str, Any]] = [{**strontium, "atoms": atoms["Sr"]}, {**titanium, "atoms": atoms["Ti"]},
                                   {**oxygen, "atoms": atoms["O"][1:]}, bare]
    shape = shape_of(row, sites)
    bonded = Counter(one for one, *_ in shape.bonds)
    assert [bonded[atom] for atom in atoms["O"]] == [0, 6, 6]
    assert bonded[atoms["Ti"][0]] == 4  # titanium's bonds go to the oxygens that are called O(1), and they are four


def test_without_sites_there_are_no_bonds() -> None:
    shape = shape_of(structure_row("mp-149"), None)
    assert (shape.elements, shape.bonds, shape.polyhedra) == (["Si", "Si"], [], ())
