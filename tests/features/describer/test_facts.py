import re
from typing import Any

import pyarrow as pa
import pytest
from pymatgen.core import Lattice, Structure

from features import crystal
from features.describer import facts
from features.views import descriptions
from features.views.descriptions import DescribeParams
from tests.conftest import CRYSTALS


@pytest.fixture(scope="module", params=[DescribeParams(), DescribeParams(oxidation_states="guess")],
                ids=["atoms", "ions"])
def rows(structures: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    ids = ["mp-22862", "mp-5229", "mp-48", "mp-149", "anatase"]
    structures = structures | {"anatase": Structure.from_spacegroup(
        "I4_1/amd", Lattice.tetragonal(3.785, 9.514), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.2081]])}
    units = pa.table({"material_id": ids, "isotopes": [[] for _ in ids],
                      "cif": [crystal.to_cif(crystal.canonical_structure(structures[i]))
                                                   for i in ids]})
    found = descriptions.compute(units, request.param).rows.to_pylist()
    return {row["material_id"]: row for row in found}


def test_of_the_whole_crystal(rows: dict[str, dict[str, Any]]) -> None:
    salt, graphite = rows["mp-22862"], rows["mp-48"]
    assert (salt["mineral"], salt["mineral_match"], salt["mineral_distance"]) == (
        "Halite, Rock Salt", "structured", None)
    assert (salt["dimensionality"], salt["space_group"], salt["crystal_system"]) == (3, "Fm-3m", "cubic")
    assert graphite["dimensionality"] == 2
    assert graphite["components"] == [{"formula": "C", "dimensionality": 2, "orientation": [0, 0, 1], "count": 2}]


def test_of_sites_and_bonds(rows: dict[str, dict[str, Any]]) -> None:
    sodium = next(site for site in rows["mp-22862"]["sites"] if site["element"] == "Na")
    assert (sodium["geometry"], sodium["coordination_number"], sodium["polyhedron"]) == ("octahedral", 6, "NaCl6")
    assert sodium["likeness"] == pytest.approx(1.0, abs=1e-3)
    (chlorine,) = sodium["neighbours"]
    assert (chlorine["element"], chlorine["count"]) == ("Cl", 6)
    assert chlorine["shortest"] == chlorine["longest"] == pytest.approx(2.85, abs=0.02)
    assert {c["kind"]: c["count"] for c in sodium["connections"]} == {"corner": 6, "edge": 12}
    corner = next(c for c in sodium["connections"] if c["kind"] == "corner")
    assert corner["angles"] == pytest.approx([180.0] * 6)


@pytest.mark.parametrize("material_id", ["mp-22862", "mp-1135", "mp-1825", "mp-30850", "mp-611426", "mp-20066"])
def test_sites_name_their_atoms(structures: dict[str, Any], low_dimensional: dict[str, Any], material_id: str) -> None:
    """Each atom of the cell belongs to one site, has its surroundings, and stands in the text under its label."""
    structure, row = _described((structures | low_dimensional)[material_id])
    assert sorted(atom for site in row["sites"] for atom in site["atoms"]) == list(range(len(structure)))
    atoms_of = {}
    for site in row["sites"]:
        assert {structure[atom].specie.symbol for atom in site["atoms"]} == {site["element"]}
        atoms_of |= {f"{site['element']}({label})": site["atoms"] for label in site["labels"]}
    told = re.findall(r"(\w+\(\d+\))-(\w+\(\d+\)) bond lengths? (?:are|is) ([\d.]+)", row["text"])
    assert told or material_id == "mp-30850"  # all of its lengths come in spreads
    for one, other, length in told:
        for atom in atoms_of[one]:
            around = structure.get_neighbors(structure[atom], float(length) + 0.006)
            assert any(near.index in atoms_of[other] and near.nn_distance > float(length) - 0.006 for near in around)


def test_where_stock_splits_images_of_an_atom_they_all_name_it() -> None:
    structure, row = _described(Structure.from_file(CRYSTALS / "split_orbits" / "mp-1018134.cif"))
    assert len(row["sites"]) > len(structure)
    assert {atom for site in row["sites"] for atom in site["atoms"]} == set(range(len(structure)))
    assert all(len(site["atoms"]) == 1 for site in row["sites"])


def _described(raw: Structure) -> tuple[Any, dict[str, Any]]:
    structure = crystal.canonical_structure(raw)
    unit = {"material_id": "x", "cif": crystal.to_cif(structure), "isotopes": []}
    return structure, descriptions.compute.function(unit, DescribeParams())


def test_facts_say_what_the_text_says(rows: dict[str, dict[str, Any]]) -> None:
    for row in rows.values():
        assert row["crystal_system"] in row["text"]
        assert row["space_group"] in row["text"]
        for site in row["sites"]:
            for neighbour in site["neighbours"]:
                if neighbour["count"] > 1 and neighbour["shortest"] == neighbour["longest"]:
                    assert f"{neighbour['shortest']:.2f} Å" in row["text"]
            if site["polyhedron"]:
                assert site["polyhedron"] in row["text"]


@pytest.mark.parametrize(("below", "expected"), [(1.9, []), (1.95, ["anatase"])])
def test_sql_asks_for_coordination(rows: dict[str, dict[str, Any]], below: float, expected: list[str]) -> None:
    """The question of docs/text.md: edge-sharing octahedra of Ti with a short Ti–O bond (SrTiO3 shares corners)."""
    import duckdb

    descriptions_table = pa.Table.from_pylist(list(rows.values()), schema=descriptions.SCHEMA)
    with duckdb.connect() as connection:
        connection.register("descriptions", descriptions_table)
        found = connection.execute("""
            select material_id from descriptions, unnest(sites) as u(site)
            where site.element = 'Ti' and site.geometry = 'octahedral'
              and len(list_filter(site.connections, lambda c: c.kind = 'edge' and c.element = 'Ti')) > 0
              and len(list_filter(site.neighbours, lambda n: n.element = 'O' and n.shortest < ?)) > 0
        """, [below]).fetchall()
    assert [row[0] for row in found] == expected
    oxidation_state = next(site["oxidation_state"] for site in rows["anatase"]["sites"] if site["element"] == "Ti")
    assert oxidation_state in (None, 4.0)


@pytest.mark.parametrize(("name", "expected"), [("Ti", ("Ti", None)), ("Ti4+", ("Ti", 4.0)), ("Cl-", ("Cl", -1.0)),
                                                ("Cu1.50+", ("Cu", 1.5))])
def test_species(name: str, expected: tuple[str, float | None]) -> None:
    assert facts.species(name) == expected


def test_an_isolated_atom_has_no_geometry(low_dimensional: dict[str, Any]) -> None:
    cif = crystal.to_cif(crystal.canonical_structure(low_dimensional["mp-10401"]))
    row = descriptions.compute.function({"material_id": "x", "cif": cif, "isotopes": []}, DescribeParams())
    alone = [site for site in row["sites"] if not site["neighbours"]]
    assert alone
    assert all((site["geometry"], site["likeness"], site["coordination_number"]) == (None, None, 0) for site in alone)
    assert row["flags"] == ["isolated_atom"]
