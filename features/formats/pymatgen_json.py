"""The JSON that pymatgen writes of a `Structure`.

pymatgen's own way back would import and call whatever class a file names; only numbers and symbols are taken here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from features.bounds import Bounds
from features.errors import RowError
from features.formats.lines import listed, periodic_structure

FULL = 1e-3
"""How far an occupancy of one element may be from 1 by rounding."""


def read(text: str, bounds: Bounds) -> Any:
    """The pymatgen `Structure` of a JSON text, which is a structure or has one as `structure`."""
    try:
        content = json.loads(text, object_pairs_hook=_object, parse_int=float)
    except json.JSONDecodeError as error:
        raise RowError("unreadable", f"line {error.lineno}: this is no valid JSON ({error.msg})") from None
    except RecursionError:
        raise RowError("unreadable", "this is no JSON of a structure: it is nested too deeply") from None
    structure = _structure(content)
    lattice, sites = structure["lattice"], structure["sites"]
    if not isinstance(sites, list):
        raise RowError("unreadable", "'sites' is no list")
    bounds.check_sites(len(sites))
    places, species = [], []
    for nth, site in enumerate(sites, start=1):
        where = f"site {nth} of {len(sites)}"
        if not isinstance(site, Mapping):
            raise RowError("unreadable", f"{where} is no object with 'species' and 'abc'")
        species.append(_species(site.get("species"), where))
        places.append(_numbers(site.get("abc"), 3, f"{where}: 'abc'"))
    return periodic_structure(_matrix(lattice), species, places, cartesian=False)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowError("unreadable", f"an object of this JSON has the key '{twice[:40]}' twice")
    return content


def _structure(content: Any) -> Mapping[str, Any]:
    """The object with `lattice` and `sites`."""
    if isinstance(content, list):
        raise RowError("unreadable", f"this JSON is a list of {len(content)}; one structure is expected")
    if not isinstance(content, Mapping):
        raise RowError("unreadable", "this JSON is no object with 'lattice' and 'sites'")
    if _has_both(content):
        return content
    inner = [name for name, value in content.items() if isinstance(value, Mapping) and _has_both(value)]
    if inner == ["structure"]:
        return content["structure"]
    if inner:
        raise RowError("unreadable", f"this JSON holds structures under {listed(inner)}; one is expected, alone or as "
                                     "'structure'")
    if isinstance(content.get("sites"), list) or content.get("@class") in ("Molecule", "IMolecule"):
        raise RowError("not_periodic", "this JSON is a molecule, or has no 'lattice': no periodic crystal")
    names = listed(list(content)) or "none"
    raise RowError("unreadable", f"this JSON is no pymatgen Structure, which has lattice and sites; its keys: {names}")


def _has_both(content: Mapping[str, Any]) -> bool:
    return content.get("lattice") is not None and content.get("sites") is not None


def _matrix(lattice: Any) -> Any:
    """Cell vectors as rows, Å, from a matrix or from edges and angles."""
    from pymatgen.core import Lattice

    if not isinstance(lattice, Mapping):
        raise RowError("unreadable", "'lattice' is no object with 'matrix'")
    pbc = lattice.get("pbc")
    if pbc is not None and not (isinstance(pbc, list) and len(pbc) == 3 and all(pbc)):
        raise RowError("not_periodic", f"'lattice' says pbc {pbc}: the structure is not periodic in three dimensions")
    matrix = lattice.get("matrix")
    if matrix is not None:
        if not isinstance(matrix, list) or len(matrix) != 3:
            raise RowError("unreadable", "'matrix' of 'lattice' is no list of three cell vectors")
        return [_numbers(vector, 3, f"cell vector {name}") for name, vector in zip("abc", matrix, strict=True)]
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    parameters = _numbers([lattice.get(name) for name in names], 6, f"'lattice': 'matrix', or {', '.join(names)}")
    if min(parameters) <= 0 or max(parameters[3:]) >= 180:
        raise RowError("unreadable", "'lattice' has an edge or an angle that no cell has; found "
                                     f"{', '.join(f'{value:g}' for value in parameters)} for {', '.join(names)}")
    return Lattice.from_parameters(*parameters).matrix


def _numbers(values: Any, count: int, what: str) -> list[float]:
    good = [value for value in values if isinstance(value, float) and math.isfinite(value)] \
        if isinstance(values, list) else []
    if len(good) != count or len(values) != count:
        shown = "nothing" if values is None else json.dumps(values)[:60]
        raise RowError("unreadable", f"{what}: {count} finite numbers are expected; found {shown}")
    return good


def _species(entries: Any, where: str) -> Any:
    """What occupies a site: a pymatgen species, or amounts of several.

    Ions of one element that fill a site together (Fe²⁺ and Fe³⁺) are that element.
    """
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, Mapping) for entry in entries):
        raise RowError("unreadable", f"{where}: 'species' must be a list of objects with 'element' and 'occu'")
    amounts: dict[Any, float] = {}
    for entry in entries:
        (amount,) = _numbers([entry.get("occu")], 1, f"{where}: 'occu'")
        if amount < 0:
            raise RowError("unreadable", f"{where}: the occupancy is {amount:g}")
        specie = _specie(entry, where)
        amounts[specie] = amounts.get(specie, 0.0) + amount
    total = sum(amounts.values())
    if total > 1 + FULL:
        raise RowError("unreadable", f"{where}: the occupancies add up to {total:g}")
    elements = {getattr(specie, "element", specie) for specie in amounts}
    if abs(total - 1) <= FULL and len(elements) == 1:
        return next(iter(amounts)) if len(amounts) == 1 else elements.pop()
    return amounts


def _specie(entry: Mapping[str, Any], where: str) -> Any:
    from pymatgen.core import DummySpecies, Element, Species

    symbol, charge = entry.get("element"), entry.get("oxidation_state")
    known = isinstance(symbol, str) and Element.is_valid_symbol(symbol)
    try:
        if charge is None and known:
            return Element(symbol)
        if charge is not None and isinstance(symbol, str):
            return (Species if known else DummySpecies)(symbol, *_numbers([charge], 1, f"{where}: 'oxidation_state'"))
    except ValueError:  # a dummy's name must not begin like that of an element
        known = False
    raise RowError("unreadable", f"{where}: {json.dumps(symbol)[:30]} is no chemical element")
