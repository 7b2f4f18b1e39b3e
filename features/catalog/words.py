"""Words of DuckDB, as users of these tables are told them."""

from __future__ import annotations

import re

from features.store.sums import Damaged


def in_one_line(message: str) -> str:
    """DuckDB's words with its hints (`Did you mean …`, candidates), without the picture of the place in the query."""
    words, *place = re.split(r"\n+LINE (\d+):", message, maxsplit=1)
    words = words.strip() + (f" (line {place[0]})" if place and place[0] != "1" else "")
    if "Traceback" in words:  # an error of Python inside a query: its last line says what was wrong
        return words.splitlines()[-1].removeprefix(f"{Damaged.__name__}: ")
    return " ".join(re.sub(r"(?<=[^:.!\s])\s*\n\t", "; ", words).split())
