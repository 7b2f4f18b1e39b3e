"""Which files of an output are not what was written, whatever kind of output it is."""

from __future__ import annotations

from pathlib import Path

from features.store import documents, sums, tables


def damages(place: Path) -> list[Path]:
    """The damaged files of an output, a folder or a file; none where it bears nothing to compare with."""
    if place.is_dir():
        found = [damage.path for folder in (place, *place.glob("*/")) for damage in sums.damages(folder)]
        if place.parent.name == "features":
            found += [damage.path for damage in tables.damages(place.parents[2], place.name)]
        return sorted(set(found))
    try:
        if place.suffix == ".parquet":
            with sums.parquet(place) as file:
                file.read()
        elif place.suffix == ".json":
            documents.read(place)
    except sums.Damaged:
        return [place]
    return []
