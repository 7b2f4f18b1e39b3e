"""Crystals of the user's own, whose text is at hand: their format, their blocks, their version."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Literal

from features.cif.blocks import different, structure_blocks
from features.errors import RowError
from features.formats import format_of
from pipelines.sources import Entry

NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9._+-]")


def own_crystal(source: str, material_id: str, name: str, text: str, properties: Mapping[str, float | None],
                error: str | None = None) -> Entry:
    """An entry of a text: its version is the digest of the text, its licence is not ours to know.

    Args:
        source: name of the source.
        name: of the file, or what else says a format where the text does not.
        error: `kind: message` if it is known already that there is no crystal.
    """
    form = ""
    if error is None:
        try:
            form = format_of(name, text)
        except RowError as reason:
            error = f"{reason.kind}: {reason}"
    version = f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Entry(material_id, text, form, source, version, license="unknown", citation="", properties=properties,
                 error=error)


def parts(material_id: str, name: str, text: str, blocks: Literal["one", "all"]) -> list[tuple[str, str]]:
    """Id and text of each crystal of a text: of every block with sites of a CIF, if all blocks are asked for.

    A single crystal keeps the id as it is; of several each has the name of its block behind it.
    """
    try:
        if blocks == "all" and format_of(name, text) == "cif":
            found = structure_blocks(text)
            if len(found) > 1:
                names = different([NOT_OF_AN_ID.sub("_", block) for block in found])
                return [(f"{material_id}+{name}", part) for name, part in zip(names, found.values(), strict=True)]
    except RowError:
        return [(material_id, text)]  # whoever reads the whole says what is wrong with it
    return [(material_id, text)]
