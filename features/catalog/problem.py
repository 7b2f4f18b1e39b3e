"""What is said of something on disk that is not as it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.store import placement
from features.terminal import printable


@dataclass(frozen=True)
class Problem:
    """Something on disk that is not as it should be."""

    table: str
    what: str
    """In words."""
    part: str = ""
    """The file."""
    row: int | None = None
    """The first row of it, counted from 0; None where it is no row's."""
    ids: tuple[str, ...] = ()
    """Keys of the first rows."""
    is_error: bool = True
    """Whether it must not be; else it is odd, and may be what a source says."""

    def __str__(self) -> str:
        where = ", ".join([*([self.part] if self.part else []), *([] if self.row is None else [f"row {self.row}"]),
                           *self.ids])
        return printable(f"{'' if self.is_error else 'warning: '}{self.table}: {self.what}"
                         f"{f' ({where})' if where else ''}")


def of_parts(name: str, wrong: Mapping[str, list[str]], mended_by: str = "") -> Iterator[Problem]:
    """One problem for all parts that have it, and what to do about it."""
    for what, parts in wrong.items():
        others = f", and so with {counted(len(parts) - 1, 'more part', 'more parts')}" if len(parts) > 1 else ""
        yield Problem(name, f"{what}{others}{mended_by}", parts[0])


def counted(number: int, one: str, more: str) -> str:
    """A number with its words."""
    return f"{number:,} {one if number == 1 else more}"


def parts_promised(files: Sequence[Path], footers: Sequence[Mapping[str, Any]]) -> int:
    """How many parts there should be: as most footers say, where they make sense."""
    counts = Counter(count for footer in footers if isinstance(count := footer.get("parts"), int)
                     and 0 < count <= placement.MAX_PARTS)
    return counts.most_common(1)[0][0] if counts else len(files)
