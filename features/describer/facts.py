"""What a description states, as nested columns: components, sites, neighbours, connections."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

import pyarrow as pa

DECIMALS = 4  # of lengths in Å, angles in °, and order parameters

NEIGHBOURS = pa.list_(pa.struct([
    pa.field("element", pa.string()),
    pa.field("labels", pa.list_(pa.int32())),
    pa.field("count", pa.int32()),
    pa.field("shortest", pa.float64()),
    pa.field("longest", pa.float64()),
    pa.field("distances", pa.list_(pa.float64())),
]))
CONNECTIONS = pa.list_(pa.struct([
    pa.field("kind", pa.string()),
    pa.field("element", pa.string()),
    pa.field("geometry", pa.string()),
    pa.field("count", pa.int32()),
    pa.field("angles", pa.list_(pa.float64())),
]))
SITES = pa.list_(pa.struct([
    pa.field("element", pa.string()),
    pa.field("oxidation_state", pa.float64()),
    pa.field("labels", pa.list_(pa.int32())),
    pa.field("atoms", pa.list_(pa.int32())),  # that it stands for, in the order of the cif column, from 0
    pa.field("component", pa.int32()),  # its index in `components`
    pa.field("geometry", pa.string()),
    pa.field("likeness", pa.float64()),
    pa.field("coordination_number", pa.int32()),
    pa.field("polyhedron", pa.string()),
    pa.field("neighbours", NEIGHBOURS),
    pa.field("connections", CONNECTIONS),
]))
COMPONENTS = pa.list_(pa.struct([
    pa.field("formula", pa.string()),
    pa.field("dimensionality", pa.int32()),
    pa.field("orientation", pa.list_(pa.int32())),
    pa.field("count", pa.int32()),
]))


def columns(condensed: dict[str, Any]) -> dict[str, Any]:
    """The columns of `descriptions` that hold facts, from Robocrystallographer's condensed structure."""
    mineral = condensed["mineral"]
    return {
        "mineral": mineral["type"],
        "mineral_match": _match(mineral),
        "mineral_distance": None if mineral["type"] is None or mineral["distance"] < 0
        else round(float(mineral["distance"]), DECIMALS),
        "dimensionality": None if condensed["dimensionality"] is None else int(condensed["dimensionality"]),
        "space_group": condensed["spg_symbol"],
        "crystal_system": condensed["crystal_system"],
        "components": [_component(condensed, number) for number in sorted(condensed["components"])],
        "sites": [_site(condensed, index) for index in sorted(condensed["sites"])],
    }


def _match(mineral: dict[str, Any]) -> str | None:
    if mineral["type"] is None:
        return None
    if not mineral["n_species_type_match"]:
        return "derived"
    return "like" if mineral["distance"] >= 0 else "structured"


def _component(condensed: dict[str, Any], number: int) -> dict[str, Any]:
    component = condensed["components"][number]
    orientation = component["orientation"]
    return {
        "formula": component["formula"],
        "dimensionality": int(component["dimensionality"]),
        "orientation": None if orientation is None else [int(step) for step in orientation],
        "count": condensed["component_makeup"].count(number),
    }


def _site(condensed: dict[str, Any], index: int) -> dict[str, Any]:
    """One inequivalent site; for sites that only look the same, the bonds are those of the first of them."""
    site = condensed["sites"][index]
    element, oxidation_state = species(site["element"])
    geometry = site["geometry"]["type"] if site["nn"] else None
    unlike = geometry is None or geometry.endswith("-coordinate")  # no motif fits: stock's 1.0 is no likeness
    return {
        "element": element,
        "oxidation_state": oxidation_state,
        "labels": sorted(site["sym_labels"]),
        "atoms": condensed["atoms"].get(index),
        # null for a site that stock counts with no inequivalent component
        "component": next((number for number, part in sorted(condensed["components"].items())
                           if index in part["sites"]), None),
        "geometry": geometry,
        "likeness": None if unlike else round(float(site["geometry"]["likeness"]), DECIMALS),
        "coordination_number": len(site["nn"]),
        "polyhedron": element + site["poly_formula"] if site["poly_formula"] else None,
        "neighbours": _neighbours(condensed, index),
        "connections": _connections(condensed, index),
    }


def _neighbours(condensed: dict[str, Any], index: int) -> list[dict[str, Any]]:
    """One entry for each inequivalent neighbour, the nearest first."""
    entries = []
    for other, lengths in condensed["distances"][index].items():
        distances = sorted(round(float(length), DECIMALS) for length in lengths)
        neighbour = condensed["sites"][other]
        entries.append({"element": species(neighbour["element"])[0], "labels": sorted(neighbour["sym_labels"]),
                      "count": len(distances), "shortest": distances[0], "longest": distances[-1],
                      "distances": distances})
    return sorted(entries, key=lambda entry: (entry["shortest"], entry["element"], entry["labels"]))


def _connections(condensed: dict[str, Any], index: int) -> list[dict[str, Any]]:
    """One entry for each way of sharing with each kind of next neighbour: corner, edge or face."""
    counts: Counter[tuple[str, str, str]] = Counter()
    angles: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for kind, others in condensed["sites"][index]["nnn"].items():
        for other, number in Counter(others).items():
            neighbour = condensed["sites"][other]
            key = (kind, species(neighbour["element"])[0], neighbour["geometry"]["type"])
            counts[key] += number
            angles[key] += [round(float(a), DECIMALS) for a in condensed["angles"][index][other][kind]]
    return [{"kind": kind, "element": element, "geometry": geometry, "count": counts[kind, element, geometry],
             "angles": sorted(angles[kind, element, geometry])} for kind, element, geometry in sorted(counts)]


_SPECIES = re.compile(r"([A-Z][a-z]?)(?:([\d.]*)([+-]))?")


def species(name: str) -> tuple[str, float | None]:
    """Element and oxidation state of a species as Robocrystallographer writes it: Ti, Ti4+, Cl-."""
    match = _SPECIES.fullmatch(name)
    if match is None:
        raise ValueError(f"'{name}' is no species")
    element, charge, sign = match.groups()
    return element, None if sign is None else float(sign + (charge or "1"))
