"""The CSV files that follow from the stored predictions: how they are written, read and compared."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence


def written(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The content of a file."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return table.getvalue()


def read(text: str) -> list[dict[str, str]]:
    """The lines of a file, by column."""
    return [{name: value or "" for name, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def differing(text: str, other: str, key: Sequence[str]) -> list[str]:
    """In words, where two files do not say the same; the last digit may be rounded otherwise.

    `text` is that of the file, `other` what the predictions say; the columns `key` identify a line.
    """
    there, now = ({tuple(row.get(name, "") for name in key): row for row in read(one)} for one in (text, other))
    result = [f"{' '.join(one)}: only in {'the file' if one in there else 'the stored predictions'}"
              for one in sorted(there.keys() ^ now.keys())]
    for one in sorted(there.keys() & now.keys()):
        result += [f"{' '.join(one)}: {name} is {there[one].get(name)} in the file and {value} from the predictions"
                   for name, value in now[one].items() if not _same(there[one].get(name, ""), value)]
    return result


def _same(text: str, other: str) -> bool:
    if text == other:
        return True
    try:
        return abs(float(text) - float(other)) < 1.5e-5
    except ValueError:
        return False
