"""What a terminal, or a spreadsheet, may be shown of texts that come from files: names, cells, words of errors."""

from __future__ import annotations

import re
from typing import Any

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
                       "\ud800-\udfff]")
"""Controls of C0 and C1 except tab and line feed, with which a text could clear the screen, set the title of a window
or write into the keyboard's input; marks that turn the direction of what follows; and halves of characters, which no
encoding can write."""
_FORMULA = re.compile(r"[=+@\t\r]|-.")
HIDDEN = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """The text with � for each character that would do something to a terminal instead of being shown."""
    return _COMMANDS.sub(HIDDEN, text)


def no_formula(cell: Any) -> Any:
    """A cell of CSV as it is, and a text that a spreadsheet would compute (`=…`, `+…`, `-…`, `@…`), such as the name of
    a file, with an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell
