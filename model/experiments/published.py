"""The summary as the table `experiments` of the catalog, beside those of the features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from features import contract
from features.paths import Paths
from features.store import tables, versions
from features.view import column, rows_to_table
from model.experiments.summary import KEY, Row

TABLE = "experiments"
SCHEMA = pa.schema([
    column("dataset", pa.string(), "data set of the matrix"),
    column("target", pa.string(), "property that is learned"),
    column("arm", pa.string(), "arm or mixture of the matrix"),
    column("control", pa.string(), "what was taken from it in training and test; none: nothing"),
    column("n_train", pa.int32(), "training crystals of a fold, mean"),
    column("members", pa.int32(), "networks (or fits) whose predictions are averaged"),
    column("seeds", pa.int32(), "seeds that there are of each part"),
    column("folds", pa.int32(), "folds that are finished"),
    column("mae", pa.float64(), "mean absolute error out of fold, of the transformed target"),
    column("low", pa.float64(), "lower end of its interval"),
    column("high", pa.float64(), "upper end of its interval"),
    column("minus_dedicated", pa.float64(), "mae minus that of as many networks of the reference; null for itself"),
    column("minus_low", pa.float64(), "lower end of the interval of the difference"),
    column("minus_high", pa.float64(), "upper end of the interval of the difference"),
    column("detectable", pa.float64(), "difference that four of five repetitions would show"),
    column("commit", pa.string(), "commits of the code; + where files differed from one"),
])


def publish(root: Path, rows: Sequence[Row]) -> None:
    """Write the table whole; it is small, and no row is one of a crystal, so that it has one part."""
    content = []
    for row in rows:
        plain = asdict(row)
        less = plain.pop("minus") or (None, None, None)
        content.append(plain | dict(zip(("minus_dedicated", "minus_low", "minus_high"), less, strict=True)))
    checked = contract.checked(TABLE, contract.of(TABLE), [rows_to_table(content, SCHEMA)])
    tables.publish(Paths(root).table(TABLE), SCHEMA, KEY, checked,
                   iter([{"view": TABLE, "version": 1, "parts": 1}]))
    versions.show_apart(root)
