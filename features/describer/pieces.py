"""Parts of a description that can be made without each other: where one fails, the others stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import spglib

from features.view import ENVIRONMENT

T = TypeVar("T")
OF_A_CRYSTAL = (ValueError, LookupError, ArithmeticError, RuntimeError, spglib.SpglibError)
"""What libraries raise at a crystal that they did not expect. Any other exception is a mistake in the code, and stays
one: a part is not left out for a misspelt name."""


class Pieces:
    """Which parts of one crystal's description stock Robocrystallographer cannot make."""

    def __init__(self) -> None:
        self.replaced: list[str] = []
        """Made in another way, or needed by no sentence."""
        self.left_out: list[str] = []
        """Missing in the text."""

    def first_of(self, name: str, *ways: Callable[[], T]) -> T:
        """What the first of `ways` gives that does not fail; the error of the last one is the caller's."""
        for way in ways[:-1]:
            try:
                return way()
            except ENVIRONMENT:
                raise
            except OF_A_CRYSTAL:
                self.replaced.append(name)
        return ways[-1]()

    def unless_it_fails(self, name: str, way: Callable[[], T], instead: T) -> T:
        """What `way` gives; where it fails, `instead`, and `name` is missing in the text."""
        try:
            return way()
        except ENVIRONMENT:
            raise
        except OF_A_CRYSTAL:
            self.left_out.append(name)
            return instead
