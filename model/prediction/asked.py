"""What is asked of each crystal beside its value."""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import UserError
from model.uncertainty import CONFIDENCE

LEFT_OUT = {"global": "global", "semi-global": "semiglobal", "semiglobal": "semiglobal", "local": "local",
            "text": "text"}
"""What `without` may name → the region."""


@dataclass(frozen=True)
class Asked:
    """What is asked of each crystal."""

    confidence: float = CONFIDENCE
    """How often an interval is to hold the true value."""
    text: str | None = None
    """A description to predict with, in place of the crystal's own."""
    without: tuple[str, ...] = ()
    """Regions of the description that are left out, or `text` for all of it."""
    contributions: bool = True
    """Whether it is told what structure and regions contribute."""

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise UserError(f"confidence {self.confidence:g}: a number between 0 and 1, such as 0.9")
        unknown = [one for one in self.without if one not in LEFT_OUT]
        if unknown:
            raise UserError(f"without '{unknown[0]}': there are global, semi-global, local and text")

    @property
    def change(self) -> str | None:
        """In words, what is changed of the descriptions; None if nothing is."""
        parts = ["with an edited description"] if self.text is not None else []
        parts += [f"without {' and '.join(self.without)}"] if self.without else []
        return " ".join(parts) or None
