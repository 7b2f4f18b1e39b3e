"""Parts of a description that can be made without each other: where one fails, the others stay as they are."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from features.view import ENVIRONMENT

T = TypeVar("T")


class Pieces:
    """Which parts of one crystal's description stock Robocrystallographer cannot make."""

    def __init__(self) -> None:
        self.replaced: list[str] = []
        """Made in another way, or needed by no sentence."""
        self.left_out: list[str] = []
        """Missing in the text."""

    def first_of(self, name: str, *ways: Callable[[], T]) -> T:
        """What the first of `ways` gives that does not fail; the error of the last one is the caller's."""
        return _first(ways, name, self.replaced)

    def unless_it_fails(self, name: str, way: Callable[[], T], instead: T) -> T:
        """What `way` gives; where it fails, `instead`, and `name` is missing in the text."""
        return _first((way, lambda: instead), name, self.left_out)


def _first(ways: Sequence[Callable[[], T]], name: str, failed: list[str]) -> T:
    """What the first of `ways` gives that does not fail; `name` is added to `failed` for each that does."""
    for way in ways[:-1]:
        try:
            return way()
        except Exception as error:
            if not of_the_crystal(error):
                raise
            failed.append(name)
    return ways[-1]()


def of_the_crystal(error: Exception) -> bool:
    """Whether a library was not made for this crystal, which any error in its own code says.

    One in ours is a bug, and one of `ENVIRONMENT` the machine's.
    """
    innermost, _ = list(traceback.walk_tb(error.__traceback__))[-1]
    return not isinstance(error, ENVIRONMENT) and not innermost.f_globals["__name__"].startswith("features.")
