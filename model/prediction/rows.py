"""Predictions as rows of tables: for polars, for files, for people."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from features.printing import print_table
from features.progress import say
from features.store.files import beside
from features.terminal import no_formula
from features.view import column
from model.records import Predicted

if TYPE_CHECKING:
    import polars as pl

LEARNED = ("value", "low", "high", "structure_only", "text_only")
CONTRIBUTIONS = ("reference", "structure", "global", "semi-global", "local")
ROWS_AT_ONCE = 256
"""Of a Parquet file, written together."""
SHOWN_AT_ONCE = 20
"""Rows of the table for people whose widths are found together; what follows is set in the same columns."""


class Asks(Protocol):
    """What a row says of its model."""

    @property
    def target(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def learned_unit(self) -> str: ...


_NEAR = pa.list_(pa.struct([("material_id", pa.string()), ("formula", pa.string()), ("space_group", pa.string()),
                            ("value", pa.float64()), ("distance", pa.float64())]))
SCHEMA = pa.schema([
    column("name", pa.string(), "file, row or place that the crystal came from"),
    column("error", pa.string(), "why there is no prediction, as kind: message; null if there is one"),
    column("formula", pa.string(), "reduced formula"),
    column("space_group", pa.string(), "Hermann-Mauguin symbol"),
    column("property", pa.string(), "what is predicted"),
    column("value", pa.float64(), "prediction in the property's own unit"),
    column("low", pa.float64(), "lower end of its interval; null where too few crystals validated for one"),
    column("high", pa.float64(), "upper end of it"),
    column("unit", pa.string(), "of these and of structure_only and text_only"),
    column("confidence", pa.float64(), "how often such an interval is to hold the true value"),
    column("structure_only", pa.float64(), "prediction from the structure alone"),
    column("text_only", pa.float64(), "prediction from the description alone"),
    *(column(f"learned_{name}", pa.float64(), f"{name} in the learned unit") for name in LEARNED),
    column("learned_unit", pa.string(), "unit of what the model learned, such as log10(GPa)"),
    *(column(f"contribution_{name.replace('-', '_')}", pa.float64(), "Shapley value in the learned unit; with the "
             "reference they add up to learned_value") for name in CONTRIBUTIONS),
    column("trained_on", pa.string(), "id of the training crystal that this crystal is; null if it is none"),
    column("near_by_structure", _NEAR, "nearest training crystals by structure"),
    column("near_by_text", _NEAR, "nearest training crystals by description"),
    column("warnings", pa.list_(pa.string()), "why the prediction may not be relied on, in sentences"),
    column("flags", pa.list_(pa.string()), "what the file says that may matter beside the crystal"),
    column("text", pa.string(), "the description that was read"),
    column("own_value", pa.float64(), "of a prediction with a changed description: that with the crystal's own"),
    column("difference", pa.float64(), "value - own_value"),
    column("learned_difference", pa.float64(), "the same in the learned unit"),
    column("change", pa.string(), "what was changed of the description"),
])


def row(of: Asks, one: Predicted) -> dict[str, Any]:
    """A prediction as a row of `SCHEMA`."""
    what_if = one.what_if or {}
    difference = what_if.get("difference", {})
    there = one.error is None
    return {
        "name": one.name, "error": one.error, "formula": one.formula, "space_group": one.space_group,
        "property": of.target, "value": one.value, "low": one.low, "high": one.high,
        "unit": of.unit, "confidence": one.confidence, "structure_only": one.structure_only,
        "text_only": one.text_only, **{f"learned_{name}": one.learned.get(name) for name in LEARNED},
        "learned_unit": of.learned_unit,
        **{f"contribution_{name.replace('-', '_')}": one.contributions.get(name) for name in CONTRIBUTIONS},
        "trained_on": one.trained_on,
        "near_by_structure": [asdict(near) for near in one.near_by_structure] if there else None,
        "near_by_text": [asdict(near) for near in one.near_by_text] if there else None,
        "warnings": list(one.warnings) if there else None,
        "flags": [f"{kind}: {message}" for kind, message in one.flags.items()] if there else None,
        "text": one.text, "own_value": what_if.get("value"), "difference": difference.get("value"),
        "learned_difference": difference.get("learned"), "change": what_if.get("change"),
    }


def frame(of: Asks, predicted: Iterable[Predicted]) -> pl.DataFrame:
    """Predictions as a polars frame with the columns of `SCHEMA`."""
    import polars as pl

    made = pl.from_arrow(pa.Table.from_pylist([row(of, one) for one in predicted], schema=SCHEMA))
    assert isinstance(made, pl.DataFrame)  # noqa: S101 (of a table it is one)
    return made


def as_json(of: Asks, one: Predicted) -> dict[str, Any]:
    """A prediction as a JSON object, without what there is not."""
    content = {"name": one.name, "property": of.target, "unit": of.unit, "learned_unit": of.learned_unit,
               **asdict(one)}
    return {name: value for name, value in content.items() if value not in (None, {}, (), [])}


def cells(of: Asks, one: Predicted) -> list[Any]:
    """A prediction as cells of a CSV file under the names of `SCHEMA`; lists are JSON."""
    return [json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
            for value in row(of, one).values()]


class Writer(Protocol):
    """Where predictions go as they come."""

    def write(self, one: Predicted) -> None:
        """One more."""

    def close(self) -> None:
        """There are no more."""


@contextlib.contextmanager
def _put(place: AbstractContextManager[Path]) -> Iterator[None]:
    """Put what was written beside its place there, unless its last part cannot be written: then nothing stays."""
    with contextlib.ExitStack() as stack:
        stack.push(place.__exit__)
        yield


class JsonWriter:
    """One JSON array on standard output, an object a line."""

    def __init__(self, of: Asks) -> None:
        self.of, self.count = of, 0

    def write(self, one: Predicted) -> None:
        said = json.dumps(as_json(self.of, one), ensure_ascii=False, allow_nan=False)
        print(("[" if self.count == 0 else ",\n ") + said, end="", flush=True)
        self.count += 1

    def close(self) -> None:
        print("]" if self.count else "[]", flush=True)


class CsvWriter:
    """CSV in a file or, for None, on standard output, a row as it comes. Lists are JSON in their cells, and a text that
    a spreadsheet would take for a formula has an apostrophe in front.

    A file is written beside its place and put there by `close`; what an error breaks off is put there too, since rows
    that are there are whole.
    """

    def __init__(self, of: Asks, path: Path | None) -> None:
        self.of, self.path = of, path
        self._place = beside(path) if path else None
        self._draft = self._place.__enter__() if self._place else None
        self._file = self._draft.open("w", encoding="utf-8", newline="") if self._draft else sys.stdout
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(SCHEMA.names)

    def write(self, one: Predicted) -> None:
        self._rows.writerow([no_formula(cell) for cell in cells(self.of, one)])
        self._file.flush()

    def close(self) -> None:
        if self._place is not None:
            with _put(self._place):
                self._file.close()


class ParquetWriter:
    """A Parquet file with `SCHEMA`, which says what each column means and in which unit; `close` puts it in place."""

    def __init__(self, of: Asks, path: Path) -> None:
        own, learned = ({"unit": unit} if unit else {} for unit in (of.unit, of.learned_unit))
        unit_of = dict.fromkeys(("value", "low", "high", "structure_only", "text_only", "own_value", "difference"), own)
        fields = [one.with_metadata({**(one.metadata or {}), **(
            learned if one.name.startswith(("learned_", "contribution_")) and one.type == pa.float64()
            else unit_of.get(one.name, {}))}) for one in SCHEMA]
        self.of, self.schema = of, pa.schema(fields)
        self._place = beside(path)
        self._file = pq.ParquetWriter(self._place.__enter__(), self.schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, one: Predicted) -> None:
        self._rows.append(row(self.of, one))
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._file.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
        self._rows = []

    def close(self) -> None:
        with _put(self._place):
            self._flush()
            self._file.close()


class TableWriter:
    """The table for people on standard output; warnings, flags and errors on standard error, each once."""

    def __init__(self, of: Asks, cautions: Sequence[str]) -> None:
        self.of, self.cautions = of, cautions
        self._waiting: list[Predicted] = []
        self._widths: list[int] | None = None
        for caution in cautions:
            say(f"CAUTION. {caution}")

    def write(self, one: Predicted) -> None:
        if one.error is None:
            self._waiting.append(one)
            if len(self._waiting) >= SHOWN_AT_ONCE:
                self._show()
        for message in one.warnings if one.error is None else [one.error]:
            if message not in self.cautions:
                say(f"{one.name}: {message}")
        for message in one.flags.values():
            say(f"{one.name}: {message}")

    def close(self) -> None:
        if self._waiting:
            self._show()

    def _show(self) -> None:
        names, rows = _for_people(self.of, self._waiting)
        self._widths = print_table(names, rows, [name not in WORDS for name in names], self._widths)
        sys.stdout.flush()
        self._waiting = []


WORDS = ("crystal", "formula", "space group", "trained on", "nearest by structure", "change")
"""Columns of the table that are no numbers."""


def _for_people(of: Asks, several: Sequence[Predicted]) -> tuple[list[str], list[list[str]]]:
    name = f"{of.target} / {of.unit}" if of.unit else of.target
    cells: Mapping[str, Callable[[Predicted], str | None]] = {
        "crystal": lambda one: one.name,
        "formula": lambda one: one.formula,
        "space group": lambda one: one.space_group,
        name: lambda one: _number(one.value),
        f"{100 * (several[0].confidence or 0):g}% within": lambda one: "–" if one.low is None
        else f"{_number(one.low)}–{_number(one.high)}",
        "structure": lambda one: _number(one.structure_only),
        "text": lambda one: _number(one.text_only),
        "trained on": lambda one: one.trained_on or "–",
        "nearest by structure": lambda one: _nearest(one),
    }
    if any(one.what_if for one in several):
        cells = {**cells, "own text": lambda one: _number((one.what_if or {}).get("value")),
                 "difference": lambda one: _signed(((one.what_if or {}).get("difference") or {}).get("value")),
                 "change": lambda one: (one.what_if or {}).get("change")}
    return list(cells), [[cell(one) or "–" for cell in cells.values()] for one in several]


def _nearest(one: Predicted) -> str:
    if not one.near_by_structure:
        return "–"
    near = one.near_by_structure[0]
    return f"{near.formula} {near.material_id} ({near.distance:.2g})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3g}"
