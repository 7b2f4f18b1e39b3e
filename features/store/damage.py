"""Which files of an output are not what was written, whatever kind of output it is."""

from __future__ import annotations

from pathlib import Path

from features.store import documents, sums, tables


def damages(place: Path) -> list[Path]:
    """The damaged files of an output, a folder or a file; none where it bears nothing to compare with."""
    if place.is_dir():
        is_table = place.parent.name == "features"
        found = tables.damages(place.parents[2], place.name) if is_table else sums.damages(place)
        return sorted({damage.path for damage in found})
    try:
        if place.suffix == ".parquet":
            with sums.parquet(place) as file:
                file.read()
        elif place.suffix == ".json":
            documents.read(place)
    except sums.Damaged:
        return [place]
    return []
