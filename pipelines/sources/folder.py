"""A folder of crystal files, with an optional `properties.csv` beside them.

Every file of a format that `features.crystal_files` knows by its name, in the folder or below, is one crystal, whatever
its content then turns out to be; its name without suffixes is its id. POSCAR and CONTCAR have the name of their folder,
and of both in one folder CONTCAR counts, which holds the relaxed crystal. `properties.csv` has a column `material_id`
and numeric columns. What is hidden is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from features.columns import ID, numeric_properties, read_columns
from features.crystal_files import TAKEN, crystal_files, id_of, read_text, shown, stem_of
from features.errors import RowError, UserError
from features.progress import say
from features.reading import MB
from pipelines.params import IngestParams
from pipelines.sources import Entry
from pipelines.sources.own import own_crystal, parts


def read(params: IngestParams, root: Path) -> Iterator[Entry]:
    """Entries of a folder, in the order of their paths."""
    folder = root / params.path
    if not os.path.isdir(folder):
        raise UserError(f"ingest.path: {folder} is not a folder")
    files = crystal_files(folder)
    if not files:
        raise UserError(f"ingest.path: {folder} holds no crystal file ({TAKEN})")
    properties = _properties(folder / "properties.csv", params.table_mb * MB)
    first: dict[str, Path] = {}
    blocks: dict[str, list[str]] = {}
    for path in files:
        try:
            crystals, error = parts(id_of(path), path.name, read_text(path, params.file_mb * MB), params.blocks), None
        except RowError as reason:
            crystals, error = [(id_of(path), "")], f"{reason.kind}: {reason}"
        if len(crystals) > 1:
            blocks[id_of(path)] = [material_id for material_id, _ in crystals]
        for material_id, text in crystals:
            earlier = first.setdefault(material_id, path)
            if earlier != path:
                yield own_crystal("folder", material_id, path.name, text, {}, _duplicate(path, earlier, folder))
            else:
                yield own_crystal("folder", material_id, path.name, text, properties.pop(material_id, {}), error)
    yield from _without_structure(properties, blocks)


def _duplicate(path: Path, earlier: Path, folder: Path) -> str:
    one, other = (shown(str(p.relative_to(folder))) for p in (path, earlier))
    if path.parent == earlier.parent and (stem_of(path).lower(), stem_of(earlier).lower()) == ("poscar", "contcar"):
        return f"duplicate: {other} of the same folder holds the relaxed crystal and is taken, not {one}"
    return f"duplicate: {one} has the same id as {other}, which is taken"


def _without_structure(properties: Mapping[str, Mapping[str, float | None]],
                       blocks: Mapping[str, list[str]]) -> Iterator[Entry]:
    """What `properties.csv` says of crystals that are not there: a reject each, and a line."""
    if properties:
        say(f"ingest: ids of properties.csv that no crystal of the folder has, whose properties are not used: "
            f"{len(properties)}, the first is '{next(iter(properties))}'")
    for material_id, values in properties.items():
        why = (f"its file holds several crystals, which have the ids {', '.join(blocks[material_id])}"
               if material_id in blocks else "there is no such file")
        yield own_crystal("folder", material_id, "", "", values, f"no_structure: properties.csv names it, but {why}")


def _properties(path: Path, most: int) -> dict[str, Mapping[str, float | None]]:
    if not os.path.lexists(path):
        return {}
    table = read_columns(path, most)
    ids = table.ids()
    numeric = numeric_properties(table, (ID,))
    found: dict[str, Mapping[str, float | None]] = {}
    for row, material_id in enumerate(ids):
        if not material_id:
            raise UserError(f"{table.place(row)} has no {ID}")
        if material_id in found:
            raise UserError(f"{table.place(row)} names '{material_id}' a second time")
        found[material_id] = numeric[row]
    return found
