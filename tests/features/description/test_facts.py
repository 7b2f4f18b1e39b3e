from typing import Any

import pyarrow as pa
import pytest

from features import crystal, descriptions
from features.descriptions import DescribeParams


@pytest.fixture(scope="module")
def rows(structures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    ids = ["mp-22862", "mp-5229", "mp-48", "mp-149"]
    units = pa.table({"material_id": ids, "cif": [crystal.to_cif(crystal.canonical_structure(structures[i]))
                                                   for i in ids]})
    return {row["material_id"]: row for row in descriptions.compute(units, DescribeParams()).rows.to_pylist()}


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


def test_sql_asks_for_coordination(rows: dict[str, dict[str, Any]]) -> None:
    """The question of docs/text.md: corner-sharing octahedra of Ti with Ti–O below 2 Å."""
    import duckdb

    descriptions_table = pa.Table.from_pylist(list(rows.values()), schema=descriptions.SCHEMA)
    with duckdb.connect() as connection:
        connection.register("descriptions", descriptions_table)
        found = connection.sql("""
            select material_id from descriptions, unnest(sites) as u(site)
            where site.element = 'Ti' and site.geometry = 'octahedral'
              and len(list_filter(site.connections, lambda c: c.kind = 'corner' and c.element = 'Ti')) > 0
              and len(list_filter(site.neighbours, lambda n: n.element = 'O' and n.shortest < 2.0)) > 0
        """).fetchall()
    assert found == [("mp-5229",)]
