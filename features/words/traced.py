"""A text that is rewritten piece by piece and still knows where in the original each of its characters came from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

Span = tuple[int, int]
"""Half-open range of characters."""


@dataclass(frozen=True)
class Traced:
    """A text as it is now."""

    text: str
    origin: list[Span]
    """Of each character, the range of the original that it stands for."""

    @classmethod
    def of(cls, text: str, start: int, end: int) -> Self:
        """The piece `text[start:end]`; its origins are places in the whole text."""
        return cls(text[start:end], [(place, place + 1) for place in range(start, end)])

    def span(self, start: int, end: int) -> Span:
        """Where the characters from `start` to before `end`, at least one, came from."""
        return self.origin[start][0], self.origin[end - 1][1]

    def replaced(self, start: int, end: int, by: str) -> Traced:
        """With other characters in place of those from `start` to before `end`, which all of them stand for."""
        return Traced(self.text[:start] + by + self.text[end:],
                      self.origin[:start] + [self.span(start, end)] * len(by) + self.origin[end:])

    def sub(self, pattern: re.Pattern[str], by: str | Callable[[re.Match[str]], str]) -> Traced:
        """As `pattern.sub(by, text)`, for patterns that never find an empty piece."""
        result: Traced = self
        for match in reversed(list(pattern.finditer(self.text))):  # from the right, so that places stay what they are
            result = result.replaced(*match.span(), match.expand(by) if isinstance(by, str) else by(match))
        return result
