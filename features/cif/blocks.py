"""The blocks of a file that hold a structure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from gemmi import cif

from features.cif import grammar
from features.errors import RowError

POSITIONS = ("_atom_site_fract_x", "_atom_site_cartn_x")


def structure_blocks(text: str) -> dict[str, str]:
    """Name → text of each block that has atom sites; of two with one name the second is called `name_2`.

    Raises `RowError` if the file is no CIF (`unreadable`) or has no sites (`no_sites`).
    """
    blocks = _with_sites(grammar.parse(text))
    names = different([block.name.strip() or "data" for block in blocks])
    return {name: block.as_string() for name, block in zip(names, blocks, strict=True)}


def different(names: Sequence[str]) -> list[str]:
    """The names, with `_2`, `_3` … behind those that were there before; none becomes one that another has."""
    result: dict[str, None] = {}
    written = set(names)
    numbers: dict[str, Iterator[int]] = {}
    for name in names:
        if name in result:
            others = (f"{name}_{number}" for number in numbers.setdefault(name, itertools.count(2)))
            name = next(other for other in others if other not in written and other not in result)
        result[name] = None
    return list(result)


def only_structure(text: str) -> grammar.Block:
    """The block of a file with one structure.

    Raises `RowError`: `unreadable`, `no_sites`, or `several_structures` with their number and names.
    """
    blocks = _with_sites(grammar.parse(text))
    if len(blocks) > 1:
        names = ", ".join(block.name for block in blocks[:5]) + (", …" if len(blocks) > 5 else "")
        raise RowError("several_structures", f"the file holds {len(blocks)} structures ({names}); one is expected: "
                                             "name one as FILE.cif#BLOCK, or take all (ingest.blocks or --blocks: all)")
    return grammar.Block(blocks[0])


def _with_sites(document: cif.Document) -> list[cif.Block]:
    blocks = [block for block in document if _has_sites(block)]
    if not blocks:
        raise RowError("no_sites", "no block of the file lists atom sites with fractional coordinates "
                                   "(_atom_site_fract_x)")
    return blocks


def _has_sites(block: cif.Block) -> bool:
    return any(grammar.normal(tag) in POSITIONS and not all(cif.is_null(value) for value in values[offset::len(tags)])
               for tags, values in grammar.items(block) for offset, tag in enumerate(tags))
